import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMicroBatcher, type MicroBatcher } from '../../src/application/micro-batcher.ts';
import type { BatchObserver, BatchStart } from '../../src/application/ports.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { createFakeClock, type FakeClock, settle } from '../support/fake-clock.ts';
import {
  categoryOf,
  confidenceOf,
  createFakePredictor,
  type FakePredictor,
  fakeFeatures,
  logitsOf,
  type RowKind,
} from '../support/fake-predictor.ts';

interface ObservedBatch extends BatchStart {
  readonly startedAt: number;
  finishedAt?: number;
  error?: Error;
}

function recordBatches(clock: FakeClock): { observer: BatchObserver; batches: ObservedBatch[] } {
  const batches: ObservedBatch[] = [];
  const observer: BatchObserver = {
    started(start) {
      const batch: ObservedBatch = { ...start, startedAt: clock.now() };
      batches.push(batch);
      return {
        predict: (_rows, run) => run(),
        finished(outcome) {
          batch.finishedAt = clock.now();
          if (outcome instanceof Error) batch.error = outcome;
        },
        publish: (_jobs, run) => run(),
      };
    },
  };
  return { observer, batches };
}

interface Setup {
  readonly clock: FakeClock;
  readonly predictor: FakePredictor;
  readonly batcher: MicroBatcher;
  readonly batches: ObservedBatch[];
}

function setUp(options: { maxRows?: number; maxWaitMs?: number; runMs?: number } = {}): Setup {
  const clock = createFakeClock();
  const predictor = createFakePredictor({ clock, runMs: options.runMs });
  const { observer, batches } = recordBatches(clock);
  const { maxRows = 4, maxWaitMs = 10 } = options;
  return { clock, predictor, batches, batcher: createMicroBatcher({ predictor, observer, clock, maxRows, maxWaitMs }) };
}

async function finishAll(clock: FakeClock): Promise<void> {
  while (await clock.advanceToNext());
}

describe('for any arrival of rows, chunks, failures and times', () => {
  const kinds = fc.constantFrom<RowKind>('good', 'good', 'good', 'good', 'poison', 'notFinite');
  const arrival = fc.record({
    pauseMs: fc.integer({ min: 0, max: 15 }),
    rows: fc.array(kinds, { minLength: 0, maxLength: 12 }),
    alone: fc.constantFrom(false, false, false, true),
  });
  const scenario = fc.record({
    arrivals: fc.array(arrival, { minLength: 1, maxLength: 15 }),
    maxRows: fc.integer({ min: 1, max: 8 }),
    maxWaitMs: fc.integer({ min: 0, max: 12 }),
    runMs: fc.integer({ min: 0, max: 9 }),
    drainAt: fc.option(fc.integer({ min: 0, max: 14 }), { nil: undefined }),
  });

  interface Submitted {
    readonly ids: readonly number[];
    readonly kinds: readonly RowKind[];
    readonly arrivedAt: number;
    outcomes: Outcome[][];
  }

  interface Outcome {
    readonly category: number;
    readonly confidence: number;
    readonly logits: readonly number[];
  }

  async function play({
    arrivals,
    maxRows,
    maxWaitMs,
    runMs,
    drainAt,
  }: typeof scenario extends fc.Arbitrary<infer T> ? T : never) {
    const { clock, batcher, batches } = setUp({ maxRows, maxWaitMs, runMs });
    const submitted: Submitted[] = [];
    let nextId = 1;
    for (const [i, { pauseMs, rows, alone }] of arrivals.entries()) {
      await clock.advance(pauseMs);
      if (i === drainAt) void batcher.drain();
      const ids = rows.map(() => nextId++);
      const entry: Submitted = { ids, kinds: rows, arrivedAt: clock.now(), outcomes: [] };
      submitted.push(entry);
      const features = fakeFeatures(ids.map((id, row) => ({ id, kind: rows[row] })));
      void batcher.submit(features, { alone, origin: { jobId: String(i) } }).then(({ predictions }) => {
        const { categories, categoryIndexes, confidences, logits } = predictions;
        entry.outcomes.push(
          ids.map((_, row) => ({
            category: categoryIndexes[row],
            confidence: confidences[row],
            logits: [...logits.subarray(row * categories, (row + 1) * categories)],
          })),
        );
        expect(predictions.rows).toBe(ids.length);
      });
    }
    await finishAll(clock);
    return { submitted, batches };
  }

  it('every row gets exactly one outcome, its own, in order; poison and non-finite rows fail alone', async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (run) => {
        const { submitted } = await play(run);
        for (const { ids, kinds: rowKinds, outcomes } of submitted) {
          const expected = ids.map((id, row) =>
            rowKinds[row] === 'good'
              ? { category: categoryOf(id), confidence: confidenceOf(id), logits: logitsOf(id).map(Math.fround) }
              : { category: NO_CATEGORY, confidence: Number.NaN, logits: Array(3).fill(Number.NaN) },
          );
          expect(outcomes).toEqual([expected]);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('no batch is larger than maxRows, and the batches hold every row once', async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (run) => {
        const { submitted, batches } = await play(run);
        expect(Math.max(0, ...batches.map(({ rows }) => rows))).toBeLessThanOrEqual(run.maxRows);
        const rowsIn = submitted.reduce((sum, { ids }) => sum + ids.length, 0);
        expect(batches.reduce((sum, { rows }) => sum + rows, 0)).toBe(rowsIn);
      }),
      { numRuns: 200 },
    );
  });

  it('no row waits longer than maxWait while the predictor is free', async () => {
    await fc.assert(
      fc.asyncProperty(scenario, async (run) => {
        const { batches } = await play(run);
        for (const [i, { startedAt, waitSeconds }] of batches.entries()) {
          const oldestArrival = startedAt - waitSeconds * 1000;
          const predictorFree = batches[i - 1]?.finishedAt ?? 0;
          expect(startedAt).toBeLessThanOrEqual(Math.max(oldestArrival + run.maxWaitMs, predictorFree) + 1e-6);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('a batch leaves', () => {
  it('when maxRows are there', async () => {
    const { clock, batcher, batches } = setUp({ maxRows: 2 });
    void batcher.submit(fakeFeatures([{ id: 1 }]));
    expect(batches).toHaveLength(0);
    void batcher.submit(fakeFeatures([{ id: 2 }]));
    await clock.advance(0);
    expect(batches).toMatchObject([{ rows: 2, reason: 'full' }]);
  });

  it('maxWait after its oldest row came', async () => {
    const { clock, batcher, batches } = setUp({ maxWaitMs: 10 });
    void batcher.submit(fakeFeatures([{ id: 1 }]));
    await clock.advance(6);
    void batcher.submit(fakeFeatures([{ id: 2 }]));
    await clock.advance(3.9);
    expect(batches).toHaveLength(0);
    await clock.advance(0.1);
    expect(batches).toMatchObject([{ rows: 2, reason: 'wait', waitSeconds: 0.01 }]);
  });

  it('at once while draining, also what comes later', async () => {
    const { clock, batcher, batches } = setUp();
    void batcher.submit(fakeFeatures([{ id: 1 }]));
    const drained = batcher.drain();
    await finishAll(clock);
    await drained;
    void batcher.submit(fakeFeatures([{ id: 2 }]));
    await finishAll(clock);
    expect(batches.map(({ reason, waitSeconds }) => [reason, waitSeconds])).toEqual([
      ['drain', 0],
      ['drain', 0],
    ]);
  });

  it('alone and at once where a submission asks for it, before those that wait', async () => {
    const { clock, batcher, batches } = setUp();
    void batcher.submit(fakeFeatures([{ id: 1 }]), { origin: { jobId: 'waits' } });
    void batcher.submit(fakeFeatures([{ id: 2 }, { id: 3 }]), { alone: true, origin: { jobId: 'suspect' } });
    await finishAll(clock);
    expect(batches).toMatchObject([
      { rows: 2, reason: 'alone', origins: [{ jobId: 'suspect' }] },
      { rows: 1, reason: 'wait', origins: [{ jobId: 'waits' }] },
    ]);
  });
});

it('one batch runs at a time, and what comes meanwhile makes the next', async () => {
  const { clock, batcher, batches, predictor } = setUp({ maxRows: 3, runMs: 100, maxWaitMs: 1 });
  for (let id = 1; id <= 7; id++) void batcher.submit(fakeFeatures([{ id }]));
  await clock.advance(99);
  expect(predictor.runs).toEqual([3]);
  await finishAll(clock);
  expect(batches.map(({ rows }) => rows)).toEqual([3, 3, 1]);
});

it('a chunk larger than a batch shares its last batch with others', async () => {
  const { clock, batcher, batches } = setUp({ maxRows: 4 });
  const chunk = batcher.submit(fakeFeatures([1, 2, 3, 4, 5, 6].map((id) => ({ id }))));
  const single = batcher.submit(fakeFeatures([{ id: 7 }, { id: 8 }]));
  await finishAll(clock);
  expect([...(await chunk).predictions.categoryIndexes]).toEqual([1, 2, 3, 4, 5, 6].map(categoryOf));
  expect([...(await single).predictions.categoryIndexes]).toEqual([7, 8].map(categoryOf));
  expect(batches.map(({ rows }) => rows)).toEqual([4, 4]);
});

it('a poison row costs about two runs for each halving, not one for each row', async () => {
  const { clock, batcher, predictor } = setUp({ maxRows: 1024 });
  void batcher.submit(
    fakeFeatures(Array.from({ length: 1024 }, (_, i) => ({ id: i, kind: i === 700 ? 'poison' : 'good' }))),
  );
  await finishAll(clock);
  expect(predictor.runs.length).toBeLessThanOrEqual(1 + 2 * 10 + 1);
});

describe('a predictor that fails on everything', () => {
  it('fails the submissions as retryable, and rejects no row', async () => {
    const { clock, batcher, batches, predictor } = setUp({ maxRows: 64 });
    predictor.broken = true;
    const submissions = [[1, 2], [3]].map((ids) => batcher.submit(fakeFeatures(ids.map((id) => ({ id })))));
    const outcomes = Promise.allSettled(submissions);
    await finishAll(clock);
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'PREDICTOR_UNAVAILABLE', retryable: true } });
    }
    expect(batches[0].error).toBeInstanceOf(CategorizerError);
  });

  it('is asked no more than it takes to know: not once for each row', async () => {
    const { clock, batcher, predictor } = setUp({ maxRows: 4096 });
    predictor.broken = true;
    const submission = batcher.submit(fakeFeatures(Array.from({ length: 4096 }, (_, id) => ({ id }))));
    submission.catch(() => undefined);
    await finishAll(clock);
    expect(predictor.runs.length).toBeLessThanOrEqual(1 + 12 + 1);
  });

  it('works again for what comes when it has recovered', async () => {
    const { clock, batcher, predictor } = setUp();
    predictor.broken = true;
    const failed = expect(batcher.submit(fakeFeatures([{ id: 1 }]))).rejects.toThrow(/out of memory/);
    await finishAll(clock);
    await failed;
    predictor.broken = false;
    const submission = batcher.submit(fakeFeatures([{ id: 5 }]));
    await finishAll(clock);
    expect((await submission).predictions.categoryIndexes[0]).toBe(categoryOf(5));
  });

  it('takes the rest of a chunk that was split off the queue', async () => {
    const { clock, batcher, predictor } = setUp({ maxRows: 4 });
    predictor.broken = true;
    const chunk = batcher.submit(fakeFeatures(Array.from({ length: 40 }, (_, id) => ({ id }))));
    chunk.catch(() => undefined);
    await finishAll(clock);
    predictor.broken = false;
    const runsBefore = predictor.runs.length;
    const single = batcher.submit(fakeFeatures([{ id: 1 }]));
    await finishAll(clock);
    await single;
    expect(predictor.runs.slice(runsBefore)).toEqual([1]);
  });
});

describe('closing', () => {
  it('waits for the batch that runs and for the rows that wait', async () => {
    const { clock, batcher } = setUp({ maxRows: 1, runMs: 50 });
    const submissions = [1, 2, 3].map((id) => batcher.submit(fakeFeatures([{ id }])));
    let closed = false;
    const closing = batcher.close().then(() => {
      closed = true;
    });
    await clock.advance(149);
    expect(closed).toBe(false);
    await finishAll(clock);
    await closing;
    await expect(Promise.all(submissions)).resolves.toHaveLength(3);
  });

  it('refuses what comes after, as retryable, and may be called twice', async () => {
    const { batcher } = setUp();
    await batcher.close();
    await batcher.close();
    await expect(batcher.submit(fakeFeatures([{ id: 1 }]))).rejects.toMatchObject({
      code: 'SHUTTING_DOWN',
      retryable: true,
    });
  });
});

it('a submission without rows is answered without a batch', async () => {
  const { batcher, batches } = setUp();
  const { predictions, batch } = await batcher.submit(fakeFeatures([]));
  await settle();
  expect(predictions.rows).toBe(0);
  expect(batch).toBeUndefined();
  expect(batches).toHaveLength(0);
});
