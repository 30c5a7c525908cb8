import { throwIfStopped } from '../stopping.ts';
import type { CategoryStore } from './ports.ts';

/**
 * Restores what a run changed, except what changed since and what a person decided. Killed anywhere, the same call goes
 * on.
 *
 * @returns products that were restored, and products that were left as they are
 * @throws CategorizerError `RUN_STATE`, `RUN_LOCKED`, `RUN_NOT_FOUND`, `INTERRUPTED`, and what the store throws
 */
export async function revertRun(
  categories: CategoryStore,
  runId: string,
  stop: AbortSignal,
): Promise<{ readonly restored: number; readonly kept: number }> {
  for (const slice of await categories.beginRevert(runId)) {
    throwIfStopped(stop, `stopped by a signal; categorizer runs revert ${runId} goes on`);
    await categories.revert(runId, slice);
  }
  return categories.endRevert(runId);
}
