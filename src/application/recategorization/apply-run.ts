import type { Logger } from '../ports.ts';
import type { CategoryStore } from './ports.ts';
import { writeSlices } from './write-slices.ts';

/**
 * Applies what is staged of a run. Killed anywhere, the same call goes on; each product is applied, or given up, once.
 *
 * @throws CategorizerError `INTERRUPTED`, and what the store throws
 */
export async function applyRun(
  { categories, logger }: { readonly categories: CategoryStore; readonly logger: Pick<Logger, 'warn'> },
  runId: string,
  stop: AbortSignal,
): Promise<void> {
  const writer = {
    write: categories.apply.bind(undefined, runId),
    open: categories.open.bind(undefined, runId),
  };
  const locked = await writeSlices(writer, await categories.unapplied(runId), stop);
  for (const [slice, productIds] of locked) {
    logger.warn({ runId, products: productIds.length }, 'products were locked for too long and are not written');
    await categories.giveUp(runId, slice, productIds);
  }
  // Those that were written in parts have nothing left, and are marked as done.
  for (const slice of await categories.unapplied(runId)) await categories.apply(runId, slice);
}
