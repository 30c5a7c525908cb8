import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EnqueueOptions, type EnqueueSummary, enqueueProducts } from '../../src/application/enqueue-products.ts';
import type { SourceRow } from '../../src/application/ports.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { createFakeClock, settle } from '../support/fake-clock.ts';
import { createFakeProductQueue } from '../support/fake-product-queue.ts';
import { createFakeProductSource, createFakeRejectSink, rowWith } from '../support/fake-product-source.ts';

const WIDTH = 2;

type Progress = EnqueueSummary & { readonly paused: boolean };

function setUp(rows: readonly SourceRow[], options: Partial<EnqueueOptions> = {}) {
  const queue = createFakeProductQueue();
  const rejects = createFakeRejectSink();
  const clock = createFakeClock();
  const stop = new AbortController();
  const progress: Progress[] = [];
  /** Sends all rows once more, as a second call of the command would. */
  const enqueue = (source = createFakeProductSource(rows)) =>
    enqueueProducts(
      { source, queue, rejects, clock },
      {
        runId: 'run',
        chunkSize: 3,
        maxWaitingJobs: 1000,
        width: WIDTH,
        stop: stop.signal,
        onProgress: (report) => progress.push(report),
        ...options,
      },
    );
  return { queue, rejects, clock, stop, progress, enqueue };
}

function goodRows(count: number): SourceRow[] {
  return Array.from({ length: count }, (_, i) => rowWith(`P${i}`, [i, -i], i + 2));
}

function unreadable(line: number): SourceRow {
  return { line, raw: '{broken', unreadable: { code: 'INVALID_ROW', message: 'not JSON' } };
}

describe('an import', () => {
  const row = fc.oneof(
    { weight: 4, arbitrary: fc.constant((i: number) => rowWith(`P${i}`, [i, -i], i)) },
    fc.constantFrom(
      (i: number) => rowWith(`P${i}`, [i], i),
      (i: number) => rowWith(`P${i}`, [i, 1e39], i),
      (i: number) => rowWith('', [i, i], i),
      unreadable,
    ),
  );
  const input = fc.array(row, { maxLength: 60 }).map((rows) => rows.map((make, i) => make(i)));

  it('puts every product in a chunk or among the rejects, in the order of the input, and numbers the chunks from 0', async () => {
    await fc.assert(
      fc.asyncProperty(input, fc.integer({ min: 1, max: 9 }), async (rows, chunkSize) => {
        const { queue, rejects, enqueue } = setUp(rows, { chunkSize });
        const summary = await enqueue();

        const rejected = rejects.rejects.map((reject) => reject.row);
        const accepted = rows.filter((candidate) => !rejected.includes(candidate));
        expect(queue.chunks.flatMap(({ products }) => products)).toEqual(accepted.map(({ product }) => product));
        expect(rejected).toEqual(rows.filter((candidate) => rejected.includes(candidate)));
        expect(queue.chunks.map(({ number }) => number)).toEqual(queue.chunks.map((_, i) => i));
        expect(queue.chunks.every(({ runId }) => runId === 'run')).toBe(true);
        const sizes = queue.chunks.map(({ products }) => products.length);
        expect(sizes.slice(0, -1).every((size) => size === chunkSize)).toBe(true);
        expect(sizes.every((size) => size >= 1 && size <= chunkSize)).toBe(true);
        expect(summary).toMatchObject({
          runId: 'run',
          products: rows.length,
          enqueued: accepted.length,
          rejected: rejected.length,
          jobs: queue.chunks.length,
        });
      }),
    );
  });

  it('that fails at any send and is repeated leaves the same jobs as one that did not', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 1600 }),
        fc.constantFrom(1, 2),
        fc.nat(3),
        fc.nat(500),
        async (count, chunkSize, send, after) => {
          const undisturbed = setUp(goodRows(count), { chunkSize });
          await undisturbed.enqueue();
          const disturbed = setUp(goodRows(count), { chunkSize });
          const error = new CategorizerError('REDIS_UNAVAILABLE', 'gone', { retryable: true });
          disturbed.queue.failure = { send, after, error };
          await disturbed.enqueue().catch(() => disturbed.enqueue());
          expect(disturbed.queue.chunks).toEqual(undisturbed.queue.chunks);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('of nothing sends nothing and does not even ask the queue', async () => {
    const { queue, enqueue } = setUp([]);
    expect(await enqueue()).toEqual({
      runId: 'run',
      products: 0,
      enqueued: 0,
      jobs: 0,
      rejected: 0,
      rejectedByCode: {},
    });
    expect(queue.asked()).toBe(0);
  });

  it('sends at most 500 jobs in a round trip', async () => {
    const { queue, enqueue } = setUp(goodRows(1200), { chunkSize: 1 });
    await enqueue();
    expect(queue.sends).toEqual([500, 500, 200]);
  });

  it('sends about 5,000 products in a round trip', async () => {
    const { queue, enqueue } = setUp(goodRows(12_500), { chunkSize: 1000 });
    await enqueue();
    expect(queue.sends).toEqual([5, 5, 3]);
  });

  it('reports its progress after each round trip', async () => {
    const { progress, enqueue } = setUp(goodRows(1200), { chunkSize: 1 });
    await enqueue();
    expect(progress.map(({ enqueued, paused }) => ({ enqueued, paused }))).toEqual([
      { enqueued: 500, paused: false },
      { enqueued: 1000, paused: false },
      { enqueued: 1200, paused: false },
    ]);
  });
});

describe('a row that no worker would accept', () => {
  it.each([
    { title: 'cannot be read', row: unreadable(7), code: 'INVALID_ROW' },
    { title: 'has neither a product nor a reason', row: { line: 7, raw: '' }, code: 'INVALID_ROW' },
    { title: 'has no id', row: rowWith(undefined, [1, 2]), code: 'INVALID_PRODUCT_ID' },
    { title: 'has too few features', row: rowWith('a', [1]), code: 'WRONG_WIDTH' },
    { title: 'has a feature that is text', row: rowWith('a', [1, 'x']), code: 'NON_FINITE_FEATURE' },
  ])('because it $title goes to the rejects with its code, and never to the queue', async ({ row, code }) => {
    const { queue, rejects, enqueue } = setUp([rowWith('before', [1, 2]), row, rowWith('after', [3, 4])]);
    const summary = await enqueue();
    expect(rejects.rejects).toMatchObject([{ row, reason: { code } }]);
    expect(queue.chunks.flatMap(({ products }) => products.map(({ productId }) => productId))).toEqual([
      'before',
      'after',
    ]);
    expect(summary).toMatchObject({ products: 3, enqueued: 2, rejected: 1, rejectedByCode: { [code]: 1 } });
  });

  it('is counted by its code', async () => {
    const { enqueue } = setUp([rowWith('a', []), rowWith('', [1, 2]), rowWith('b', [1])]);
    expect((await enqueue()).rejectedByCode).toEqual({ WRONG_WIDTH: 2, INVALID_PRODUCT_ID: 1 });
  });
});

describe('while the queue is full', () => {
  it('nothing is sent and nothing more is read; it is asked again every 250 ms until there is room', async () => {
    const source = createFakeProductSource(goodRows(1200));
    const { queue, clock, progress, enqueue } = setUp([], { chunkSize: 1, maxWaitingJobs: 100 });
    queue.depths = [0, 100, 250, 99];
    const done = enqueue(source);

    await settle();
    expect(queue.sends).toEqual([500]);
    expect(progress.at(-1)).toMatchObject({ enqueued: 500, paused: true });
    expect(source.taken()).toBe(1000);
    await clock.advance(249);
    expect(queue.asked()).toBe(2);
    await clock.advance(1);
    expect(queue.asked()).toBe(3);
    expect(queue.sends).toEqual([500]);
    expect(source.taken()).toBe(1000);
    await clock.advance(250);

    expect((await done).enqueued).toBe(1200);
    expect(queue.sends).toEqual([500, 500, 200]);
    expect(progress.at(-1)).toMatchObject({ paused: false });
  });

  it('a signal ends the import, and what was gathered is not sent', async () => {
    const { queue, clock, stop, enqueue } = setUp(goodRows(2), { maxWaitingJobs: 1 });
    queue.depths = [5];
    const done = expect(enqueue()).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await settle();
    stop.abort();
    await clock.advance(250);
    await done;
    expect(queue.chunks).toEqual([]);
  });
});

describe('a signal', () => {
  it('before the import starts lets nothing be sent', async () => {
    const { queue, stop, enqueue } = setUp(goodRows(5));
    stop.abort();
    await expect(enqueue()).rejects.toMatchObject({ code: 'INTERRUPTED', message: 'stopped by a signal' });
    expect(queue.chunks).toEqual([]);
  });

  it('between two sends keeps what was sent, and says how to send the rest', async () => {
    const { queue, stop, enqueue } = setUp([], { chunkSize: 1 });
    const source = createFakeProductSource(goodRows(1000), (place) => {
      if (place === 600) stop.abort();
    });
    await expect(enqueue(source)).rejects.toMatchObject({
      code: 'INTERRUPTED',
      message:
        'stopped by a signal (500 products in 500 jobs were sent; the same command with --run run sends the rest, and no product is in the results twice)',
    });
    expect(queue.chunks).toHaveLength(500);
  });

  it('ends an import of nothing but rejected rows as well', async () => {
    const { stop, enqueue } = setUp([]);
    const rows = Array.from({ length: 10 }, (_, i) => unreadable(i));
    const source = createFakeProductSource(rows, () => stop.abort());
    await expect(enqueue(source)).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(source.taken()).toBeLessThan(10);
  });
});

describe('an error of the queue', () => {
  const outage = new CategorizerError('REDIS_UNAVAILABLE', 'Redis went away', { retryable: true });

  it('keeps its code and whether it can be retried, and says how many were sent and how to send the rest', async () => {
    const { queue, enqueue } = setUp(goodRows(700), { chunkSize: 1, runId: 'night-7' });
    queue.failure = { send: 1, after: 0, error: outage };
    await expect(enqueue()).rejects.toMatchObject({
      code: 'REDIS_UNAVAILABLE',
      retryable: true,
      cause: outage,
      message:
        'Redis went away (500 products in 500 jobs were sent; the same command with --run night-7 sends the rest, and no product is in the results twice)',
    });
  });

  it('at the first send says under which run to send again, as a part of it may have arrived', async () => {
    const { queue, enqueue } = setUp(goodRows(10), { chunkSize: 1, runId: 'night-7' });
    queue.failure = { send: 0, after: 5, error: outage };
    await expect(enqueue()).rejects.toMatchObject({
      code: 'REDIS_UNAVAILABLE',
      message: expect.stringContaining('--run night-7'),
    });
  });

  it('that nobody foresaw travels on unchanged', async () => {
    const { queue, enqueue } = setUp(goodRows(700), { chunkSize: 1 });
    const defect = new TypeError('x is not a function');
    queue.failure = { send: 1, after: 0, error: defect };
    await expect(enqueue()).rejects.toBe(defect);
  });
});

describe('an error before anything was sent', () => {
  it('is told as it is: there is nothing to go on with', async () => {
    const unreadableFile = new CategorizerError('INPUT_NOT_READABLE', 'cannot read x.csv');
    const { enqueue } = setUp([]);
    const source = createFakeProductSource(goodRows(1), () => {
      throw unreadableFile;
    });
    await expect(enqueue(source)).rejects.toBe(unreadableFile);
  });
});
