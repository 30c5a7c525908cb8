import { describe, expect, it } from 'vitest';
import type { CollectedResult, ResultQueue } from '../../src/application/ports.ts';

export interface OpenedResultQueue {
  readonly queue: ResultQueue;
  /** Puts results on the queue, as a worker does. */
  add(results: readonly CollectedResult[]): Promise<void>;
}

/** A result as both queues can hold it. */
export function someResult(resultId: string, runId: string | undefined = 'run', products = 1): CollectedResult {
  return {
    resultId,
    runId,
    rows: Array.from({ length: products }, (_, i) => ({
      productId: `${resultId}-${i}`,
      categoryCode: 'A',
      confidence: 0.5,
      modelVersion: '1',
      resultId,
    })),
  };
}

export async function readAll(queue: ResultQueue, runId: string | undefined): Promise<CollectedResult[]> {
  const results: CollectedResult[] = [];
  for await (const page of queue.read(runId)) results.push(...page);
  return results;
}

/** What the real results queue and its fake have in common. */
export function describeResultQueue(name: string, open: () => Promise<OpenedResultQueue>): void {
  describe(`${name}, as every results queue,`, () => {
    it('is read oldest first with all rows, and keeps what was read', async () => {
      const { queue, add } = await open();
      const results = [someResult('r-2', 'run', 3), someResult('r-1'), someResult('r-3')];
      await add(results);
      expect(await readAll(queue, 'run')).toEqual(results);
      expect(await readAll(queue, 'run')).toEqual(results);
    });

    it('gives one run, or all and those without one', async () => {
      const { queue, add } = await open();
      const results = [someResult('r-1', 'a'), someResult('r-2', 'b'), { ...someResult('r-3'), runId: undefined }];
      await add(results);
      expect(await readAll(queue, 'a')).toEqual([results[0]]);
      expect(await readAll(queue, 'nobody')).toEqual([]);
      expect(await readAll(queue, undefined)).toEqual(results);
    });

    it('may be empty', async () => {
      const { queue } = await open();
      expect(await readAll(queue, undefined)).toEqual([]);
      expect(await queue.collectedBefore([])).toEqual(new Set());
      await queue.remove([]);
    });

    it('gives results that come while it is read, and none twice', async () => {
      const { queue, add } = await open();
      await add([someResult('r-1'), someResult('r-2'), someResult('r-3')]);
      const ids: string[] = [];
      for await (const page of queue.read('run')) {
        if (ids.length === 0) await add([someResult('r-4')]);
        ids.push(...page.map(({ resultId }) => resultId));
      }
      expect(ids).toEqual(['r-1', 'r-2', 'r-3', 'r-4']);
    });

    it('no longer holds what was removed, and remembers that it was collected', async () => {
      const { queue, add } = await open();
      const [first, second] = [someResult('r-1'), someResult('r-2')];
      await add([first, second]);
      expect(await queue.collectedBefore([first, second])).toEqual(new Set());
      await queue.remove([first]);
      expect(await readAll(queue, 'run')).toEqual([second]);
      expect(await queue.collectedBefore([first, second])).toEqual(new Set(['r-1']));
    });

    it('may be told twice to remove the same, of several runs at once', async () => {
      const { queue, add } = await open();
      const results = [someResult('r-1', 'a'), someResult('r-2', 'b'), { ...someResult('r-3'), runId: undefined }];
      await add(results);
      await queue.remove(results);
      await queue.remove(results);
      expect(await readAll(queue, undefined)).toEqual([]);
      expect(await queue.collectedBefore(results)).toEqual(new Set(['r-1', 'r-2', 'r-3']));
    });

    it('knows a result that comes again after it was collected', async () => {
      const { queue, add } = await open();
      const result = someResult('r-1');
      await add([result]);
      await queue.remove([result]);
      await add([result]);
      expect(await readAll(queue, 'run')).toEqual([result]);
      expect(await queue.collectedBefore([result])).toEqual(new Set(['r-1']));
    });
  });
}
