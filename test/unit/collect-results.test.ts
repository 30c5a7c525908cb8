import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { collectResults } from '../../src/application/collect-results.ts';
import type { CollectedResult, CollectedRow } from '../../src/application/ports.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { Crash, type CrashPlan, crashAt } from '../support/fake-crash.ts';
import {
  createFakeResultFile,
  createFakeResultQueue,
  type StoredFile,
  type StoredResults,
  storedResults,
} from '../support/fake-result-queue.ts';

function categorized(productId: string, resultId: string, categoryCode = 'A'): CollectedRow {
  return { productId, categoryCode, confidence: 0.9, modelVersion: '1', resultId };
}

function rejected(productId: string | null, resultId: string): CollectedRow {
  return { productId, reject: { code: 'WRONG_WIDTH', message: 'expected 2' }, modelVersion: '1', resultId };
}

/** A result of so many products, whose ids tell where they come from. */
function resultOf(resultId: string, runId: string | undefined, products = 2): CollectedResult {
  return {
    resultId,
    runId,
    rows: Array.from({ length: products }, (_, i) => categorized(`${resultId}-${i}`, resultId)),
  };
}

interface Stored {
  readonly results: StoredResults;
  readonly file: StoredFile;
}

function store(...results: CollectedResult[]): Stored {
  return { results: storedResults(results), file: { rows: [] } };
}

function collect({ results, file }: Stored, options: { runId?: string; crash?: CrashPlan; stop?: AbortSignal } = {}) {
  const { runId = 'run', crash = crashAt(), stop = new AbortController().signal } = options;
  return collectResults(
    { queue: createFakeResultQueue(results, { crash }), file: createFakeResultFile(file, crash) },
    { runId, stop },
  );
}

function idsIn({ file }: Stored): (string | null)[] {
  return file.rows.map(({ productId }) => productId);
}

describe('a collection', () => {
  it('moves the results of its run to the file, oldest first, and leaves those of others', async () => {
    const stored = store(
      resultOf('r-1', 'run'),
      resultOf('r-2', 'other'),
      resultOf('r-3', 'run'),
      resultOf('r-4', undefined),
    );
    await collect(stored);
    expect(idsIn(stored)).toEqual(['r-1-0', 'r-1-1', 'r-3-0', 'r-3-1']);
    expect(stored.results.waiting.map(({ resultId }) => resultId)).toEqual(['r-2', 'r-4']);
  });

  it('reads and writes everything, then commits the file, and only then removes from the queue', async () => {
    const crash = crashAt();
    await collect(store(resultOf('r-1', 'run'), resultOf('r-2', 'run'), resultOf('r-3', 'run')), { crash });
    expect(crash.reached).toEqual([
      'begin',
      'read',
      'ask what was collected',
      'write',
      'write',
      'read',
      'ask what was collected',
      'write',
      'read',
      'commit',
      'committed',
      'remember',
      'remove',
      'remove',
      'remove',
      'removed',
    ]);
  });

  it('of every run takes those without one as well', async () => {
    const stored = store(resultOf('r-1', 'run'), resultOf('r-2', 'other'), resultOf('r-3', undefined));
    await collectResults(
      { queue: createFakeResultQueue(stored.results), file: createFakeResultFile(stored.file) },
      { runId: undefined, stop: new AbortController().signal },
    );
    expect(idsIn(stored)).toHaveLength(6);
    expect(stored.results.waiting).toEqual([]);
  });

  it('counts products by category and rejects by code', async () => {
    const result = {
      resultId: 'r-1',
      runId: 'run',
      rows: [
        categorized('a', 'r-1', 'A'),
        categorized('b', 'r-1', 'B'),
        categorized('c', 'r-1', 'A'),
        rejected(null, 'r-1'),
      ],
    };
    expect(await collect(store(result, resultOf('r-2', 'run', 1)))).toEqual({
      results: 2,
      products: 5,
      categorized: 4,
      rejected: 1,
      byCategory: { A: 3, B: 1 },
      rejectedByCode: { WRONG_WIDTH: 1 },
      duplicates: 0,
    });
  });

  it('reports after each page how many products it has', async () => {
    const { results, file } = store(resultOf('r-1', 'run'), resultOf('r-2', 'run'), resultOf('r-3', 'run'));
    const reports: number[] = [];
    await collectResults(
      { queue: createFakeResultQueue(results), file: createFakeResultFile(file) },
      { runId: 'run', stop: new AbortController().signal, onProgress: (products) => reports.push(products) },
    );
    expect(reports).toEqual([4, 6]);
  });

  it('of nothing leaves the file with what it held', async () => {
    const stored = { results: storedResults(), file: { rows: [categorized('a', 'r-1')] } };
    expect((await collect(stored)).results).toBe(0);
    expect(idsIn(stored)).toEqual(['a']);
  });

  it('removes in pages of 500 results', async () => {
    const crash = crashAt();
    await collect(store(...Array.from({ length: 1100 }, (_, i) => resultOf(`r-${i}`, 'run', 1))), { crash });
    expect(crash.reached.filter((operation) => operation === 'remember')).toHaveLength(3);
  });
});

describe('a second result for the same input job', () => {
  it('is dropped where the file holds the first, and leaves the queue', async () => {
    const stored = store(resultOf('r-1', 'run'));
    await collect(stored);
    stored.results.collected.clear();
    stored.results.waiting = [resultOf('r-1', 'run'), resultOf('r-2', 'run')];
    expect(await collect(stored)).toMatchObject({ results: 1, products: 2, duplicates: 1 });
    expect(idsIn(stored)).toEqual(['r-1-0', 'r-1-1', 'r-2-0', 'r-2-1']);
    expect(stored.results.waiting).toEqual([]);
  });

  it('is dropped where the first was collected into another file long before', async () => {
    const stored = store(resultOf('r-1', 'run'));
    await collect(stored);
    const later = { results: stored.results, file: { rows: [] } };
    later.results.waiting = [resultOf('r-1', 'run')];
    expect(await collect(later)).toMatchObject({ results: 0, products: 0, duplicates: 1 });
    expect(idsIn(later)).toEqual([]);
    expect(later.results.waiting).toEqual([]);
  });

  it('is written once where both are on the queue', async () => {
    const stored = store(resultOf('r-1', 'run'), resultOf('r-2', 'run'), resultOf('r-1', 'run'));
    expect(await collect(stored)).toMatchObject({ results: 2, products: 4 });
    expect(idsIn(stored)).toEqual(['r-1-0', 'r-1-1', 'r-2-0', 'r-2-1']);
  });
});

describe('nothing leaves the queue', () => {
  it.each(['begin', 'write', 'commit'] as const)('when the file fails to %s; the file is as it was', async (method) => {
    const stored = { ...store(resultOf('r-1', 'run')), file: { rows: [categorized('a', 'r-0')] } };
    const full = new CategorizerError('OUTPUT_NOT_WRITABLE', 'no space left on device');
    const file = { ...createFakeResultFile(stored.file), [method]: () => Promise.reject(full) };
    const ports = { queue: createFakeResultQueue(stored.results), file };
    await expect(collectResults(ports, { runId: 'run', stop: new AbortController().signal })).rejects.toBe(full);
    expect(stored.results.waiting).toHaveLength(1);
    expect(stored.results.collected.size).toBe(0);
    expect(idsIn(stored)).toEqual(['a']);
  });

  it('when a signal ends the collection', async () => {
    const stored = store(resultOf('r-1', 'run'));
    await expect(collect(stored, { stop: AbortSignal.abort() })).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(stored.results.waiting).toHaveLength(1);
    expect(idsIn(stored)).toEqual([]);
  });
});

describe('a collector that is killed', () => {
  const results = fc.array(
    fc.record({ runId: fc.constantFrom('run', 'run', 'other'), products: fc.integer({ min: 1, max: 3 }) }),
    { maxLength: 7 },
  );

  it('at any operations, any number of times, loses no row and writes none twice when it is started again', async () => {
    await fc.assert(
      fc.asyncProperty(
        results.map((all) => all.map(({ runId, products }, i) => resultOf(`r-${i}`, runId, products))),
        fc.array(fc.nat(40), { maxLength: 4 }),
        fc.nat(7),
        async (all, crashes, redelivered) => {
          const stored = store(...all);
          const wanted = all.filter(({ runId }) => runId === 'run');
          for (const point of crashes) {
            await collect(stored, { crash: crashAt(point) }).catch((error: unknown) => {
              expect(error).toBeInstanceOf(Crash);
            });
            // A job that was redelivered publishes once more where its first result is gone.
            const again = all[redelivered];
            if (again && !stored.results.waiting.includes(again)) stored.results.waiting.push(again);
          }
          await collect(stored);

          const expected = wanted.flatMap(({ rows }) => rows.map(({ productId }) => productId));
          expect(idsIn(stored).toSorted()).toEqual(expected.toSorted());
          expect(stored.results.waiting).toEqual(all.filter(({ runId }) => runId === 'other'));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('at each single operation in turn goes on with the next call', async () => {
    const all = [resultOf('r-1', 'run'), resultOf('r-2', 'run'), resultOf('r-3', 'run')];
    const whole = crashAt();
    await collect(store(...all), { crash: whole });
    for (const point of whole.reached.keys()) {
      const stored = store(...all);
      await expect(collect(stored, { crash: crashAt(point) })).rejects.toBeInstanceOf(Crash);
      await collect(stored);
      expect(idsIn(stored), whole.reached[point]).toEqual(['r-1-0', 'r-1-1', 'r-2-0', 'r-2-1', 'r-3-0', 'r-3-1']);
      expect(stored.results.waiting, whole.reached[point]).toEqual([]);
    }
  });
});
