import { CategorizerError } from '../domain/errors.ts';
import { type Counts, increment } from './counts.ts';
import type { CollectedResult, CollectedRow, ResultFile, ResultQueue } from './ports.ts';

const REMOVE_PAGE = 500;

export interface CollectSummary {
  /** Result jobs that were new. */
  readonly results: number;
  /** Products in them. */
  readonly products: number;
  readonly categorized: number;
  readonly rejected: number;
  readonly byCategory: Readonly<Record<string, number>>;
  readonly rejectedByCode: Readonly<Record<string, number>>;
  /** Results that had been collected before, and were dropped. */
  readonly duplicates: number;
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
    readonly stop: AbortSignal;
    readonly onProgress?: (products: number) => void;
  },
): Promise<CollectSummary> {
  const { queue, file } = ports;
  const { runId, stop, onProgress } = options;
  const tally = createTally();
  const seen = new Map<string, CollectedResult>();
  let results = 0;
  let duplicates = 0;

  const inFile = await file.begin();
  try {
    for await (const page of queue.read(runId)) {
      if (stop.aborted)
        throw new CategorizerError('INTERRUPTED', 'stopped by a signal; nothing was taken off the queue');
      const unseen = page.filter(({ resultId }) => !seen.has(resultId));
      const before = await queue.collectedBefore(unseen);
      for (const { resultId, runId: itsRun, rows } of unseen) {
        // Its rows are not kept: only what is needed to remove it.
        seen.set(resultId, { resultId, runId: itsRun, rows: [] });
        if (inFile.has(resultId) || before.has(resultId)) {
          duplicates++;
          continue;
        }
        await file.write(rows);
        results++;
        tally.add(rows);
      }
      onProgress?.(tally.summary().products);
    }
    await file.commit();
  } catch (error) {
    await file.abort();
    throw error;
  }

  const collected = [...seen.values()];
  for (let start = 0; start < collected.length; start += REMOVE_PAGE) {
    await queue.remove(collected.slice(start, start + REMOVE_PAGE));
  }
  return { results, ...tally.summary(), duplicates };
}

/** Counts outcomes. */
export function createTally() {
  const byCategory: Counts = {};
  const rejectedByCode: Counts = {};
  let products = 0;
  let rejected = 0;
  return {
    add(rows: readonly CollectedRow[]): void {
      for (const { categoryCode, reject } of rows) {
        products++;
        if (reject) {
          rejected++;
          increment(rejectedByCode, reject.code);
        } else if (categoryCode !== undefined) {
          increment(byCategory, categoryCode);
        }
      }
    },
    summary: () => ({ products, categorized: products - rejected, rejected, byCategory, rejectedByCode }),
  };
}
