import type { Run, RunRegistry } from '../application/recategorization/ports.ts';

/** So many runs of the same name are looked through for the last that came to a report. */
const LOOKED_THROUGH = 50;

/** The run of the same name before it that ended well, to compare with. */
export async function findPrevious(registry: RunRegistry, run: Run): Promise<Run | undefined> {
  const runs = await registry.list({ limit: LOOKED_THROUGH, name: run.name });
  return runs.find(
    ({ createdAt, state, settings }) =>
      createdAt < run.createdAt && (state === 'finished' || state === 'finished_with_rejects') && !settings.dryRun,
  );
}
