/** What the commands on runs have in common: they open what they need, and close it. */
import { composeRunRecords, composeRuns, type RunRecords, type RunsApp } from '../composition/runs.ts';
import type { CommandContext } from './context.ts';

/** For commands that need the database alone. */
export async function withRecords(context: CommandContext, use: (records: RunRecords) => Promise<void>): Promise<void> {
  const records = await composeRunRecords(context.config());
  try {
    await use(records);
  } finally {
    await records.close();
  }
}

/** For commands that change what is on the queue as well. @param works whether the run is to go on in this process */
export async function withRuns(
  context: CommandContext,
  use: (app: RunsApp) => Promise<void>,
  works = false,
): Promise<void> {
  const app = await composeRuns(context.config(), context.stop, { works });
  try {
    await use(app);
  } finally {
    await app.close();
  }
}
