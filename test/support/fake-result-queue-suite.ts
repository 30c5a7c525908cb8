import { describe, expect, it } from 'vitest';
import type { CollectedResult, ResultQueue } from '../../src/application/ports.ts';
import { result } from './files-results.ts';

export interface OpenedResultQueue {
  readonly queue: ResultQueue;
  /** Puts results on the queue, as a worker does. */
  add(results: readonly CollectedResult[]): Promise<void>;
  /** Puts one there that cannot be read. */
  addBroken(result: CollectedResult): Promise<void>;
}

/** A packed result as both queues can hold it. */
export function someResult(resultId: string, runId: string | undefined = 'run', products = 1): CollectedResult {
  const outcomes = Array.from({ length: products }, (_, i) => ({
    id: `${resultId}-${i}`,
    category: 'A',
    confidence: 0.5,
  }));
  return { ...result(resultId, outcomes, true, '1'), runId, jobId: `job-of-${resultId}` };
}

/** @param met ids that were met before, to which those that are read are added */
export async function readAll(
  queue: ResultQueue,
  runId: string | undefined,
  met = new Set<string>(),
): Promise<CollectedResult[]> {
  const results: CollectedResult[] = [];
  for await (const page of queue.scan(runId, met)) results.push(...page);
  return results;
}

/** What the real results queue and its fake have in common. */
export function describeResultQueue(name: string, open: () => Promise<OpenedResultQueue>): void {
  describe(`${name}, as every results queue,`, () => {
    it('is read oldest first with all products, and keeps what was read', async () => {
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
      expect(queue.unreadable()).toBe(0);
    });

    it('passes over what was met before, and gives what came since', async () => {
      const { queue, add } = await open();
      const met = new Set<string>();
      await add([someResult('r-1'), someResult('r-2', 'other')]);
      expect((await readAll(queue, 'run', met)).map(({ resultId }) => resultId)).toEqual(['r-1']);
      expect(await readAll(queue, 'run', met)).toEqual([]);
      await add([someResult('r-3'), someResult('r-4', 'other'), someResult('r-5')]);
      expect((await readAll(queue, 'run', met)).map(({ resultId }) => resultId)).toEqual(['r-3', 'r-5']);
    });

    it('leaves what cannot be read, counts it once, and gives the others', async () => {
      const { queue, add, addBroken } = await open();
      await addBroken(someResult('r-1'));
      await add([someResult('r-2')]);
      await addBroken(someResult('r-3'));
      for (let i = 0; i < 3; i++) {
        expect((await readAll(queue, 'run')).map(({ resultId }) => resultId)).toEqual(['r-2']);
      }
      expect(queue.unreadable()).toBe(2);
    });

    it('counts none of another run that cannot be read', async () => {
      const { queue, addBroken } = await open();
      await addBroken(someResult('r-1', 'other'));
      expect(await readAll(queue, 'run')).toEqual([]);
      expect(queue.unreadable()).toBe(0);
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
      const again = someResult('r-1');
      await add([again]);
      await queue.remove([again]);
      await add([again]);
      expect(await readAll(queue, 'run')).toEqual([again]);
      expect(await queue.collectedBefore([again])).toEqual(new Set(['r-1']));
    });
  });
}
