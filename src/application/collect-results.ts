import { createCounts, increment } from './counts.ts';
import { createTally, type Tally } from './outcome-tally.ts';
import type { CollectedKey, CollectedResult, CollectorClaims, ResultFile, ResultQueue } from './ports.ts';
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
  /** Results that name a run and answer none of its jobs; they were left on the queue. */
  readonly foreign: number;
  /** Whether the file is there: an import that has products is not given a file without any. */
  readonly written: boolean;
}

/**
 * Moves results from the queue to a file. They leave the queue only when the file is safe on disk, and the file says which
 * results it holds: killed at any moment, the same call goes on and no product is there twice.
 *
 * @throws CategorizerError `INTERRUPTED`, `RUN_HELD`, and what the ports and `pages` throw; the file is as it was before then
 */
export async function collectResults(
  ports: {
    readonly queue: Pick<ResultQueue, 'collectedBefore' | 'remove' | 'unreadable' | 'foreign'>;
    readonly file: ResultFile;
    readonly claims: Pick<CollectorClaims, 'confirm'>;
  },
  options: {
    /** What to collect; a page may hold results that were collected before. */
    readonly pages: AsyncIterable<readonly CollectedResult[]>;
    /** Whether a file without products is right, where there are none. */
    readonly mayBeEmpty: () => boolean;
    /** A confidence, 0 to 1: what is below it is counted as worth a review. */
    readonly reviewBelow: number;
    readonly stop: AbortSignal;
    readonly onProgress?: (products: number) => void;
  },
): Promise<CollectSummary> {
  const { queue, file, claims } = ports;
  const { pages, mayBeEmpty, reviewBelow, stop, onProgress } = options;
  const tally = createTally(reviewBelow);
  const seen = new Map<string, CollectedKey>();
  let results = 0;
  let duplicates = 0;

  async function collect(result: CollectedResult): Promise<void> {
    await file.write(result);
    results++;
    tally.add(result);
  }

  const inFile = await file.begin();
  let written = false;
  try {
    for await (const page of pages) {
      throwIfStopped(stop, STOPPED);
      const unseen = page.filter(({ resultId }) => !seen.has(resultId));
      const before = await queue.collectedBefore(unseen);
      for (const result of unseen) {
        const { resultId, answerIds = [resultId] } = result;
        // Without its products: what is kept is what is needed to remove it.
        seen.set(resultId, keyOf(result));
        if (before.has(resultId) || answerIds.some((id) => inFile.has(id)) || result.modelVersion === '') duplicates++;
        else await collect(result);
      }
      onProgress?.(tally.products);
    }
    throwIfStopped(stop, STOPPED);
    await claims.confirm();
    written = results > 0 || inFile.size > 0 || mayBeEmpty();
    if (written) await file.commit();
    else await file.abort();
  } catch (error) {
    await file.abort();
    throw error;
  }

  const collected = [...seen.values()];
  for (let start = 0; start < collected.length; start += REMOVE_PAGE) {
    await queue.remove(collected.slice(start, start + REMOVE_PAGE));
  }
  const left = { unreadable: queue.unreadable(), foreign: queue.foreign() };
  return { results, ...tally.summary(), duplicates, ...left, written };
}

/** What is remembered of a result. */
function keyOf({ resultId, runId, chunk, modelVersion, modelSha256, products }: CollectedResult): CollectedKey {
  if (chunk === undefined || modelVersion === '') return { resultId, runId, chunk };
  const rejected = createCounts();
  for (const { code } of products.rejects) increment(rejected, code);
  return { resultId, runId, chunk, answer: { model: { version: modelVersion, sha256: modelSha256 }, rejected } };
}
