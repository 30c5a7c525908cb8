/** Waits for a run, and makes it go on meanwhile. */
import type { Command } from 'commander';
import type { RunsApp } from '../composition/runs.ts';
import { CategorizerError } from '../domain/errors.ts';
import { isWorking, type RunState } from '../domain/run.ts';
import { type CommandContext, EXIT } from './context.ts';
import { findPrevious } from './previous-run.ts';
import { formatRun } from './run-text.ts';

export interface FollowOptions {
  local?: boolean;
  detach?: boolean;
  json?: boolean;
}

const POLL_MS = 200;
const LOOKS_BEFORE_HINT = 15;

export function addFollowOptions(command: Command): Command {
  return command
    .option('--local', 'with a worker in this process; else workers must be running')
    .option('--detach', 'do not wait: a scheduler must be running, which makes it go on')
    .option('--json', 'print the run and its report as JSON');
}

/** Until it is over or waits for approval. @param startWorker for `--local` */
export async function followRun(
  app: RunsApp,
  runId: string,
  options: FollowOptions,
  context: CommandContext,
  startWorker: () => Promise<{ close(): Promise<void> }>,
): Promise<void> {
  if (!options.detach) await waitFor(app, runId, options, context, startWorker);
  const run = await app.runs.find(runId);
  const report = await app.reports.get(runId);
  context.print(
    options.json ? JSON.stringify({ ...run, report }) : formatRun(run, report, await findPrevious(app.registry, run)),
  );
  context.exitWith(options.detach ? EXIT.DONE : exitCodeOf(run.state));
}

async function waitFor(
  app: RunsApp,
  runId: string,
  options: FollowOptions,
  context: CommandContext,
  startWorker: () => Promise<{ close(): Promise<void> }>,
): Promise<void> {
  const worker = options.local ? await startWorker() : undefined;
  try {
    app.work();
    const hint = createWorkerHint(app, context.note);
    const look = createLook(app, runId, context.note);
    let state: RunState | undefined;
    for (;;) {
      const last = state;
      state = (await look()) ?? last;
      if (state !== last) context.note(`${runId}: ${state}`);
      if (state !== undefined && !isWorking(state)) return;
      if (state === 'running') await hint();
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      if (context.stop.aborted) {
        const advice = `run ${runId} is ${state ?? 'begun'}; categorizer runs resume ${runId} goes on with it`;
        throw new CategorizerError('INTERRUPTED', `stopped by a signal; ${advice}`);
      }
    }
  } finally {
    await worker?.close();
  }
}

/** Asks for the state of the run; a database that is away is waited for, as it is by what makes the run go on. */
function createLook(app: RunsApp, runId: string, note: (text: string) => void): () => Promise<RunState | undefined> {
  let away = false;
  return async () => {
    try {
      const { state } = await app.runs.find(runId);
      away = false;
      return state;
    } catch (error) {
      if (!(error instanceof CategorizerError) || !error.retryable) throw error;
      if (!away) note(`${error.code}: ${error.message}; it is waited for`);
      away = true;
      return undefined;
    }
  };
}

/** Says once that nobody categorizes. */
function createWorkerHint(app: RunsApp, note: (text: string) => void): () => Promise<void> {
  let looks = 0;
  return async () => {
    // Not at once: a worker may just have lost its connection.
    if (++looks !== LOOKS_BEFORE_HINT || (await app.countWorkers()) !== 0) return;
    note('no worker is connected: start one with: categorizer worker');
  };
}

/** What is not wholly well is not 0. */
export function exitCodeOf(state: RunState): number {
  switch (state) {
    case 'finished':
      return EXIT.DONE;
    case 'finished_with_rejects':
      return EXIT.REJECTS;
    case 'awaiting_approval':
      return EXIT.AWAITING_APPROVAL;
    default:
      return EXIT.FAILED;
  }
}
