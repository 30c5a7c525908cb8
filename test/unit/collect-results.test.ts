import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CollectProgress, collectResults } from '../../src/application/collect-results.ts';
import type { CollectedResult } from '../../src/application/ports.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { Crash, type CrashPlan, crashAt } from '../support/fake-crash.ts';
import {
  createFakeResultFile,
  createFakeResultQueue,
  productIdsIn,
  type StoredFile,
  type StoredResults,
  storedResults,
} from '../support/fake-result-queue.ts';
import { noMore } from '../support/fake-result-queue-suite.ts';
import { type Outcome, result } from '../support/files-results.ts';

function categorized(id: string, category = 'A', confidence = 0.9): Outcome {
  return { id, category, confidence };
}

function rejected(id: string | null): Outcome {
  return { id, reject: { code: 'WRONG_WIDTH', message: 'expected 2' } };
}

function resultWith(resultId: string, runId: string | undefined, outcomes: readonly Outcome[]): CollectedResult {
  return { ...result(resultId, outcomes), runId, jobId: `job-of-${resultId}` };
}

/** A result of so many products, whose ids tell where they come from. */
function resultOf(resultId: string, runId: string | undefined, products = 2): CollectedResult {
  const outcomes = Array.from({ length: products }, (_, i) => categorized(`${resultId}-${i}`));
  return resultWith(resultId, runId, outcomes);
}

interface Stored {
  readonly results: StoredResults;
  readonly file: StoredFile;
}

function store(...results: CollectedResult[]): Stored {
  return { results: storedResults(results), file: { results: [] } };
}

interface Options {
  readonly runId?: string;
  readonly crash?: CrashPlan;
  readonly stop?: AbortSignal;
  readonly more?: (progress: CollectProgress) => Promise<boolean>;
  readonly onProgress?: (progress: CollectProgress) => void;
  readonly reviewBelow?: number;
}

function collect({ results, file }: Stored, { crash = crashAt(), ...options }: Options = {}) {
  return collectResults(
    { queue: createFakeResultQueue(results, { crash }), file: createFakeResultFile(file, crash) },
    { runId: 'run', reviewBelow: 0.5, stop: new AbortController().signal, more: noMore, ...options },
  );
}

function idsIn({ file }: Stored): (string | null)[] {
  return productIdsIn(file.results);
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
    await collect(stored, { runId: undefined });
    expect(idsIn(stored)).toHaveLength(6);
    expect(stored.results.waiting).toEqual([]);
  });

  it('counts products by category and rejects by code, and those that want a review', async () => {
    const outcomes = [
      categorized('a', 'A', 0.75),
      categorized('b', 'B', 0.25),
      categorized('c', 'A', 0.5),
      rejected(null),
    ];
    expect(await collect(store(resultWith('r-1', 'run', outcomes), resultOf('r-2', 'run', 1)))).toEqual({
      results: 2,
      products: 5,
      categorized: 4,
      rejected: 1,
      byCategory: { A: 3, B: 1 },
      rejectedByCode: { WRONG_WIDTH: 1 },
      meanConfidence: expect.closeTo((0.75 + 0.25 + 0.5 + 0.9) / 4, 5),
      toReview: 1,
      duplicates: 0,
      unreadable: 0,
    });
  });

  it('reports after each page how much it has', async () => {
    const reports: CollectProgress[] = [];
    const stored = store(resultOf('r-1', 'run'), resultOf('r-2', 'other'), resultOf('r-3', 'run'));
    await collect(stored, { onProgress: (progress) => reports.push(progress) });
    expect(reports).toEqual([
      { results: 1, products: 2 },
      { results: 2, products: 4 },
    ]);
  });

  it('of nothing leaves the file with what it held', async () => {
    const stored = { results: storedResults(), file: { results: [resultOf('r-1', 'run', 1)] } };
    expect((await collect(stored)).results).toBe(0);
    expect(idsIn(stored)).toEqual(['r-1-0']);
  });

  it('removes in pages of 500 results', async () => {
    const crash = crashAt();
    await collect(store(...Array.from({ length: 1100 }, (_, i) => resultOf(`r-${i}`, 'run', 1))), { crash });
    expect(crash.reached.filter((operation) => operation === 'remember')).toHaveLength(3);
  });
});

describe('a collection that waits', () => {
  it('asks when all was read whether more is to come, with what it has, and takes what came meanwhile', async () => {
    const stored = store(resultOf('r-1', 'run'), resultOf('r-2', 'other'));
    const toCome = [[resultOf('r-3', 'run', 3), resultOf('r-4', 'run')], []];
    const asked: CollectProgress[] = [];
    const more = async (progress: CollectProgress) => {
      asked.push(progress);
      const next = toCome.shift();
      stored.results.waiting.push(...(next ?? []));
      return next !== undefined;
    };
    expect(await collect(stored, { more })).toMatchObject({ results: 3, products: 7 });
    expect(asked).toEqual([
      { results: 1, products: 2 },
      { results: 3, products: 7 },
      { results: 3, products: 7 },
    ]);
    expect(idsIn(stored)).toHaveLength(7);
    expect(stored.results.waiting.map(({ resultId }) => resultId)).toEqual(['r-2']);
  });

  it('takes nothing off the queue and changes no file until it is over', async () => {
    const stored = store(resultOf('r-1', 'run'));
    const seen: unknown[] = [];
    const more = async () => {
      seen.push({ waiting: stored.results.waiting.length, inFile: stored.file.results.length });
      return seen.length < 3;
    };
    await collect(stored, { more });
    expect(seen).toEqual(Array(3).fill({ waiting: 1, inFile: 0 }));
  });

  it('has those for its progress which were not collected before: the others are counted elsewhere', async () => {
    const stored = store(resultOf('r-1', 'run'), resultOf('r-2', 'run'), resultOf('r-3', 'run'));
    stored.results.collected.add('r-2');
    const asked: CollectProgress[] = [];
    const more = async (progress: CollectProgress) => {
      asked.push(progress);
      return false;
    };
    expect(await collect(stored, { more })).toMatchObject({ results: 2, duplicates: 1 });
    expect(asked).toEqual([{ results: 2, products: 4 }]);
  });

  it('has those which its file holds and which are still on the queue for its progress', async () => {
    const stored = store(resultOf('r-1', 'run'), resultOf('r-2', 'run'));
    stored.file.results = [resultOf('r-1', 'run')];
    const asked: CollectProgress[] = [];
    const more = async (progress: CollectProgress) => {
      asked.push(progress);
      return false;
    };
    await collect(stored, { more });
    expect(asked.map(({ results }) => results)).toEqual([2]);
  });

  it('that is ended by a signal while it waits leaves everything as it was', async () => {
    const stored = store(resultOf('r-1', 'run'));
    const interrupted = new CategorizerError('INTERRUPTED', 'stopped by a signal');
    await expect(collect(stored, { more: () => Promise.reject(interrupted) })).rejects.toBe(interrupted);
    expect(stored.results.waiting).toHaveLength(1);
    expect(stored.results.collected.size).toBe(0);
    expect(idsIn(stored)).toEqual([]);
  });
});

describe('a result that cannot be read', () => {
  it('is counted, stays on the queue, and is finished for who waits; the others are collected', async () => {
    const stored = store(resultOf('r-1', 'run'), resultOf('r-2', 'run'), resultOf('r-3', 'run'));
    stored.results.broken.add('r-2');
    const asked: CollectProgress[] = [];
    const more = async (progress: CollectProgress) => {
      asked.push(progress);
      return asked.length < 2;
    };
    expect(await collect(stored, { more })).toMatchObject({ results: 2, products: 4, unreadable: 1 });
    expect(asked).toEqual(Array(2).fill({ results: 3, products: 4 }));
    expect(stored.results.waiting.map(({ resultId }) => resultId)).toEqual(['r-2']);
    expect(stored.results.collected).toEqual(new Set(['r-1', 'r-3']));
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
    const later = { results: stored.results, file: { results: [] } };
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
    const stored = { ...store(resultOf('r-1', 'run')), file: { results: [resultOf('r-0', 'run', 1)] } };
    const full = new CategorizerError('OUTPUT_NOT_WRITABLE', 'no space left on device');
    const file = { ...createFakeResultFile(stored.file), [method]: () => Promise.reject(full) };
    const ports = { queue: createFakeResultQueue(stored.results), file };
    const stop = new AbortController().signal;
    await expect(collectResults(ports, { runId: 'run', reviewBelow: 0, stop, more: noMore })).rejects.toBe(full);
    expect(stored.results.waiting).toHaveLength(1);
    expect(stored.results.collected.size).toBe(0);
    expect(idsIn(stored)).toEqual(['r-0-0']);
  });

  it('when a signal ends the collection', async () => {
    const stored = store(resultOf('r-1', 'run'));
    await expect(collect(stored, { stop: AbortSignal.abort() })).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(stored.results.waiting).toHaveLength(1);
    expect(idsIn(stored)).toEqual([]);
  });

  it('when a signal comes as the last was read', async () => {
    const stored = store(resultOf('r-1', 'run'));
    const stopper = new AbortController();
    const more = async () => {
      stopper.abort();
      return false;
    };
    await expect(collect(stored, { stop: stopper.signal, more })).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(stored.results.waiting).toHaveLength(1);
    expect(idsIn(stored)).toEqual([]);
  });
});

describe('a collector that is killed', () => {
  const results = fc.array(
    fc.record({ runId: fc.constantFrom('run', 'run', 'other'), products: fc.integer({ min: 1, max: 3 }) }),
    { maxLength: 7 },
  );

  it('at any operations, any number of times, loses no product and writes none twice when it is started again', async () => {
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

          expect(idsIn(stored).toSorted()).toEqual(productIdsIn(wanted).toSorted());
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
