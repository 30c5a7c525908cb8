import { createTally, type Tally } from './outcome-tally.ts';
import type { CollectedResult, ResultFile, ResultKey, ResultQueue } from './ports.ts';
import { throwIfStopped } from './stopping.ts';

const REMOVE_PAGE = 500;
const STOPPED = 'stopped by a signal; nothing was taken off the queue';

export interface CollectSummary extends Tally {
  /** Result jobs that were new. */
  readonly results: number;
  /** Results that had been collected before, and were dropped. */
  readonly duplicates: number;
  /** Results that cannot be read and were left on the queue. */
  readonly unreadable: number;
}

export interface CollectProgress {
  /** Results on the queue that were not collected before. */
  readonly results: number;
  readonly products: number;
}

/**
 * Moves the results of a run from the queue to a file. They leave the queue only when the file is safe on disk, and
 * the file says which results it holds: killed at any moment, the same call goes on and no product is there twice.
 *
 * @throws CategorizerError `INTERRUPTED`, and what the ports throw; the file is as it was before then
 */
export async function collectResults(
  ports: { readonly queue: ResultQueue; readonly file: ResultFile },
  options: {
    /** All runs where none is named. */
    readonly runId: string | undefined;
    /** A confidence, 0 to 1: what is below it is counted as worth a review. */
    readonly reviewBelow: number;
    readonly stop: AbortSignal;
    /** Whether more is to come; asked each time when all was read. It may take its time. */
    readonly more: (progress: CollectProgress) => Promise<boolean>;
    readonly onProgress?: (progress: CollectProgress) => void;
  },
): Promise<CollectSummary> {
  const { queue, file } = ports;
  const { runId, reviewBelow, stop, more, onProgress } = options;
  const tally = createTally(reviewBelow);
  const seen = new Map<string, ResultKey>();
  let results = 0;
  let duplicates = 0;
  let collectedBefore = 0;

  const progress = (): CollectProgress => ({
    results: seen.size - collectedBefore + queue.unreadable(),
    products: tally.products,
  });

  async function collect(result: CollectedResult): Promise<void> {
    await file.write(result);
    results++;
    tally.add(result.products);
  }

  const inFile = await file.begin();
  try {
    for await (const page of queue.read(runId, () => more(progress()))) {
      throwIfStopped(stop, STOPPED);
      const unseen = page.filter(({ resultId }) => !seen.has(resultId));
      const before = await queue.collectedBefore(unseen);
      collectedBefore += before.size;
      for (const result of unseen) {
        const { resultId } = result;
        // Without its products: what is kept is what is needed to remove it.
        seen.set(resultId, { resultId, runId: result.runId });
        if (inFile.has(resultId) || before.has(resultId)) duplicates++;
        else await collect(result);
      }
      onProgress?.(progress());
    }
    throwIfStopped(stop, STOPPED);
    await file.commit();
  } catch (error) {
    await file.abort();
    throw error;
  }

  const collected = [...seen.values()];
  for (let start = 0; start < collected.length; start += REMOVE_PAGE) {
    await queue.remove(collected.slice(start, start + REMOVE_PAGE));
  }
  return { results, ...tally.summary(), duplicates, unreadable: queue.unreadable() };
}
