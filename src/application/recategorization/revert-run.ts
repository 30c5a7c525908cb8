import type { CategoryStore, RevertCounts } from './ports.ts';
import { writeSlices } from './write-slices.ts';

/**
 * Restores what a run changed, except what changed since and what a person decided. Killed anywhere, the same call goes
 * on; so it does with products whose rows were locked.
 *
 * @returns products that were restored, and products that were left as they are
 * @throws CategorizerError `RUN_STATE`, `RUN_LOCKED`, `RUN_NOT_FOUND`, `INTERRUPTED`, and what the store throws
 */
export async function revertRun(categories: CategoryStore, runId: string, stop: AbortSignal): Promise<RevertCounts> {
  const writer = {
    write: categories.revert.bind(undefined, runId),
    open: categories.revertible.bind(undefined, runId),
  };
  const slices = await categories.beginRevert(runId);
  await writeSlices(writer, slices, stop, `stopped by a signal; categorizer runs revert ${runId} goes on`);
  return categories.endRevert(runId);
}
