import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { collectResults } from '../../src/application/collect-results.ts';
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
  readonly mayBeEmpty?: boolean;
  readonly onProgress?: (products: number) => void;
  readonly reviewBelow?: number;
  /** What happens before the file is committed. */
  readonly confirm?: () => Promise<void>;
}

const noConflict = async () => undefined;

function collect({ results, file }: Stored, options: Options = {}) {
  const { crash = crashAt(), mayBeEmpty = true, confirm = noConflict, ...rest } = options;
  const queue = createFakeResultQueue(results, { crash });
  const { runId } = { runId: 'run', ...options };
  return collectResults(
    { queue, file: createFakeResultFile(file, crash), claims: { confirm } },
    {
      pages: queue.scan(runId, new Set()),
      mayBeEmpty: () => mayBeEmpty,
      reviewBelow: 0.5,
      stop: new AbortController().signal,
      ...rest,
    },
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
      models: [{ version: 'v1', sha256: 'a'.repeat(64), products: 5 }],
      duplicates: 0,
      unreadable: 0,
      foreign: 0,
      written: true,
    });
  });

  it('reports after each page how much it has', async () => {
    const reports: number[] = [];
    const stored = store(...['r-1', 'r-2', 'r-3'].map((id) => resultOf(id, 'run')), resultOf('r-4', 'other'));
    await collect(stored, { onProgress: (products) => reports.push(products) });
    expect(reports).toEqual([4, 6]);
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

describe('what is remembered of a chunk that was collected', () => {
  const chunkResult = (number: number, outcomes: readonly Outcome[]): CollectedResult => ({
    ...resultWith(`r-run-${number}`, 'run', outcomes),
    chunk: number,
    answerIds: [`r-run-${number}`, `r-run-${number}.1`],
  });

  it('is its model, and what the model rejected by code', async () => {
    const stored = store(chunkResult(0, [categorized('a'), rejected('b'), rejected('c')]), resultOf('r-x', 'run'));
    await collect(stored);
    expect([...stored.results.answers]).toEqual([
      ['r-run-0', { model: { version: 'v1', sha256: 'a'.repeat(64) }, rejected: { WRONG_WIDTH: 2 } }],
    ]);
  });

  it('is the same where an earlier call had written it to the file and was killed', async () => {
    const answer = chunkResult(0, [categorized('a'), rejected('b')]);
    const stored = store(answer);
    stored.file.results = [answer];
    expect(await collect(stored)).toMatchObject({ results: 0, duplicates: 1 });
    expect(stored.results.answers.get('r-run-0')?.rejected).toEqual({ WRONG_WIDTH: 1 });
    expect(idsIn(stored)).toEqual(['a', 'b']);
  });

  it('does not put it into the file again where it was sent, and answered, under another id since', async () => {
    const stored = store({ ...chunkResult(0, [categorized('a')]), resultId: 'r-run-0.1' });
    stored.file.results = [chunkResult(0, [categorized('a')])];
    expect(await collect(stored)).toMatchObject({ results: 0, duplicates: 1 });
    expect(idsIn(stored)).toEqual(['a']);
    expect(stored.results.waiting).toEqual([]);
  });
});

describe('a file that would be empty', () => {
  it('is not written where the run has products', async () => {
    const crash = crashAt();
    const stored = store(resultOf('r-1', 'other'));
    expect(await collect(stored, { crash, mayBeEmpty: false })).toMatchObject({ results: 0, written: false });
    expect(crash.reached).toContain('abort');
    expect(crash.reached).not.toContain('commit');
  });

  it('is written where the run has none', async () => {
    const crash = crashAt();
    expect(await collect(store(), { crash, mayBeEmpty: true })).toMatchObject({ results: 0, written: true });
    expect(crash.reached).toContain('committed');
  });

  it('is written where it holds what an earlier call collected', async () => {
    const stored = { results: storedResults(), file: { results: [resultOf('r-1', 'run')] } };
    expect(await collect(stored, { mayBeEmpty: false })).toMatchObject({ written: true });
    expect(idsIn(stored)).toHaveLength(2);
  });
});

describe('a result that cannot be read', () => {
  it('is counted and stays on the queue; the others are collected', async () => {
    const stored = store(resultOf('r-1', 'run'), resultOf('r-2', 'run'), resultOf('r-3', 'run'));
    stored.results.broken.add('r-2');
    expect(await collect(stored)).toMatchObject({ results: 2, products: 4, unreadable: 1 });
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
    const queue = createFakeResultQueue(stored.results);
    const stop = new AbortController().signal;
    const options = { pages: queue.scan('run', new Set()), mayBeEmpty: () => true, reviewBelow: 0, stop };
    await expect(collectResults({ queue, file, claims: { confirm: noConflict } }, options)).rejects.toBe(full);
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
    const onProgress = () => stopper.abort();
    await expect(collect(stored, { stop: stopper.signal, onProgress })).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(stored.results.waiting).toHaveLength(1);
    expect(idsIn(stored)).toEqual([]);
  });

  it('when another collector took the run meanwhile', async () => {
    const stored = store(resultOf('r-1', 'run'));
    const lost = new CategorizerError('RUN_HELD', 'another collector took the run');
    await expect(collect(stored, { confirm: () => Promise.reject(lost) })).rejects.toBe(lost);
    expect(stored.results.waiting).toHaveLength(1);
    expect(stored.results.collected.size).toBe(0);
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
