import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EnqueueOptions, type EnqueueProgress, enqueueProducts } from '../../src/application/enqueue-products.ts';
import type { OutgoingChunk } from '../../src/application/ports.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import type { ImportTotals } from '../../src/domain/import.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import { createFakeClock, settle } from '../support/fake-clock.ts';
import { Crash, type CrashPlan, crashAt } from '../support/fake-crash.ts';
import { createGate } from '../support/fake-observers.ts';
import { createFakeProductQueue, type StoredProducts, storedProducts } from '../support/fake-product-queue.ts';
import {
  createFakeProductSource,
  createFakeRejectSink,
  type FakeSourceContent,
  rejectedRow,
} from '../support/fake-product-source.ts';

/** Of a chunk of 3 products with ids of two characters. */
const CHUNK_BYTES = 3 * 2 * 4 + 'P0\nP1\nP2'.length;

interface Setting extends Partial<EnqueueOptions> {
  /** What earlier calls left in Redis. */
  readonly store?: StoredProducts;
  readonly crash?: CrashPlan;
}

function setUp(content: FakeSourceContent = {}, { store = storedProducts(), crash, ...options }: Setting = {}) {
  const source = createFakeProductSource(content);
  const queue = createFakeProductQueue(store, crash);
  const rejects = createFakeRejectSink(crash);
  const clock = createFakeClock();
  const stop = new AbortController();
  const progress: EnqueueProgress[] = [];
  const enqueue = () =>
    enqueueProducts(
      { source, queue, rejects, clock },
      {
        runId: 'run',
        chunkSize: 3,
        maxPendingBytes: Number.MAX_SAFE_INTEGER,
        stop: stop.signal,
        onProgress: (report) => progress.push(report),
        ...options,
      },
    );
  return { source, queue, rejects, clock, stop, progress, enqueue };
}

function idsIn({ products: { ids, features } }: OutgoingChunk): string[] {
  return unpackIds(ids, features.rows);
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `P${i}`);
}

/** What is on the queue, by the numbers of the chunks: sends that are in flight at once may arrive in any order. */
function sentProducts({ chunks }: StoredProducts): string[] {
  return chunks.toSorted((a, b) => a.number - b.number).flatMap(idsIn);
}

const OUTAGE = new CategorizerError('REDIS_UNAVAILABLE', 'Redis went away', { retryable: true });

/** Of an import in which nothing was rejected. */
function totalsOf(jobs: number, products: number): ImportTotals {
  return { jobs, products, rejected: 0, rejectedByCode: {}, skipped: 0 };
}

describe('an import', () => {
  it('cuts its products into chunks of one size, in the order of the input, numbered from 0', async () => {
    const sizes = fc.integer({ min: 1, max: 9 });
    await fc.assert(
      fc.asyncProperty(fc.nat(60), sizes, sizes, async (products, tableSize, chunkSize) => {
        const { queue, enqueue } = setUp({ products, tableSize }, { chunkSize });
        const summary = await enqueue();
        const jobs = Math.ceil(products / chunkSize);
        const { chunks } = queue.store;
        expect(chunks.map(({ number }) => number).toSorted((a, b) => a - b)).toEqual(
          Array.from({ length: jobs }, (_, i) => i),
        );
        expect(sentProducts(queue.store)).toEqual(numbered(products));
        for (const { number, runId, products: table } of chunks) {
          expect(runId).toBe('run');
          expect(table.features.rows).toBe(number < jobs - 1 ? chunkSize : products - (jobs - 1) * chunkSize);
          expect(table.features.values[0]).toBe(number * chunkSize);
        }
        expect(summary).toEqual({
          runId: 'run',
          jobs,
          products,
          rejected: 0,
          sentNow: { jobs, products },
          sentBefore: { jobs: 0, products: 0 },
          skipped: 0,
          rejectedByCode: {},
          rejectFiles: [],
        });
      }),
    );
  });

  it('of nothing sends nothing, and is finished all the same', async () => {
    const { queue, enqueue } = setUp();
    expect(await enqueue()).toMatchObject({ jobs: 0, products: 0 });
    expect(queue.sends).toEqual([]);
    expect(queue.asked()).toBe(0);
    expect(queue.store.runs.get('run')?.totals).toEqual(totalsOf(0, 0));
  });

  it('is remembered with how large it is when all of it was sent, and not before', async () => {
    const { queue, enqueue } = setUp({ products: 10, rejects: [rejectedRow(2, 'WRONG_WIDTH')] });
    const gate = createGate();
    queue.transit = () => gate.passed;
    const done = enqueue();
    await settle();
    expect(queue.sends).toEqual([0, 1, 2, 3]);
    expect(queue.store.runs.get('run')?.totals).toBeUndefined();
    gate.open();
    await done;
    expect(queue.store.runs.get('run')?.totals).toEqual({
      ...totalsOf(4, 10),
      rejected: 1,
      rejectedByCode: { WRONG_WIDTH: 1 },
    });
  });

  it('claims its run for this content in chunks of this size', async () => {
    const { queue, enqueue } = setUp({ fingerprint: 'feed' }, { runId: 'night-7', chunkSize: 1000 });
    await enqueue();
    expect([...queue.store.runs].map(([runId, { fingerprint }]) => [runId, fingerprint])).toEqual([
      ['night-7', 'feed-1000'],
    ]);
  });

  it.each([
    { title: 'another content', content: { fingerprint: 'other' }, options: {} },
    { title: 'chunks of another size', content: {}, options: { chunkSize: 4 } },
  ])('of $title under the same run is refused before anything is read or written', async ({ content, options }) => {
    const { queue, enqueue } = setUp({ products: 5 });
    await enqueue();
    const other = setUp({ products: 5, ...content }, { store: queue.store, ...options });
    await expect(other.enqueue()).rejects.toMatchObject({ code: 'RUN_CONFLICT' });
    expect(other.source.opened()).toBe(false);
    expect(other.rejects.end()).toBeUndefined();
    expect(queue.store.chunks).toHaveLength(2);
  });

  it('tells how many rows were passed over', async () => {
    expect((await setUp({ products: 5, skipped: 7 }).enqueue()).skipped).toBe(7);
  });

  it('reports after each chunk that arrived how far it is', async () => {
    const { progress, enqueue } = setUp({ products: 8 });
    await enqueue();
    expect(progress).toEqual([
      { products: 3, rejected: 0, paused: false },
      { products: 6, rejected: 0, paused: false },
      { products: 8, rejected: 0, paused: false },
    ]);
  });
});

describe('rows that were rejected', () => {
  const rejects = [
    rejectedRow(3, 'WRONG_WIDTH', 'INVALID_PRODUCT_ID'),
    rejectedRow(5, 'INVALID_PRODUCT_ID'),
    rejectedRow(9, 'WRONG_WIDTH'),
  ];

  it('are put aside in their order, and counted once each, by the first code', async () => {
    const { rejects: sink, enqueue } = setUp({ products: 4, rejects });
    expect(await enqueue()).toMatchObject({
      products: 4,
      rejected: 3,
      rejectedByCode: { WRONG_WIDTH: 2, INVALID_PRODUCT_ID: 1 },
      rejectFiles: ['input.rejects.csv', 'input.rejects.jsonl'],
    });
    expect(sink.rows).toEqual(rejects);
    expect(sink.end()).toBe('committed');
  });

  it('are safe on disk before the run is finished: one that is complete is not read again', async () => {
    const crash = crashAt();
    await setUp({ products: 4, rejects }, { crash }).enqueue();
    const [commit, finish] = ['commit rejects', 'finish'].map((operation) => crash.reached.indexOf(operation));
    expect(commit).toBeGreaterThan(crash.reached.lastIndexOf('remember as sent'));
    expect(finish).toBeGreaterThan(commit);
  });

  it('that cannot be put aside leave the run unfinished', async () => {
    const { queue, rejects: sink, enqueue } = setUp({ products: 4, rejects });
    const full = new CategorizerError('OUTPUT_NOT_WRITABLE', 'no space left on device');
    sink.commit = () => Promise.reject(full);
    await expect(enqueue()).rejects.toMatchObject({ code: 'OUTPUT_NOT_WRITABLE', cause: full });
    expect(queue.store.runs.get('run')?.totals).toBeUndefined();
    expect(sink.end()).toBe('aborted');
  });
});

describe('an import that was begun before', () => {
  it('sends only the chunks that are not known to have arrived, and counts the others', async () => {
    const { queue, enqueue } = setUp({ products: 17 });
    await enqueue();
    const run = queue.store.runs.get('run');
    if (run) run.totals = undefined;
    for (const number of [1, 5]) run?.sent.delete(number);
    const again = setUp({ products: 17, tableSize: 4 }, { store: queue.store });
    expect(await again.enqueue()).toMatchObject({ jobs: 6, products: 17, sentBefore: { jobs: 4, products: 12 } });
    expect(again.queue.sends).toEqual([1, 5]);
    expect(queue.store.chunks).toHaveLength(6);
    expect(again.progress.at(-1)).toEqual({ products: 17, rejected: 0, paused: false });
    expect(run?.totals).toEqual(totalsOf(6, 17));
  });

  it('is not read again when all of it was sent', async () => {
    const rejects = [rejectedRow(3, 'WRONG_WIDTH')];
    const { queue, enqueue } = setUp({ products: 17, rejects });
    await enqueue();
    const again = setUp({ products: 17, rejects }, { store: queue.store });
    expect(await again.enqueue()).toEqual({
      runId: 'run',
      jobs: 6,
      products: 17,
      rejected: 1,
      sentNow: { jobs: 0, products: 0 },
      sentBefore: { jobs: 6, products: 17 },
      skipped: 0,
      rejectedByCode: { WRONG_WIDTH: 1 },
      rejectFiles: [],
    });
    expect(again.source.opened()).toBe(false);
    expect(again.queue.sends).toEqual([]);
    expect(again.rejects.end(), 'the files of the first call').toBeUndefined();
  });

  it.each(['PAYLOAD_MISSING', 'REDIS_REFUSED', 'MODEL_MISMATCH'] as const)(
    'sends a chunk again that failed with %s',
    async (code) => {
      const { queue, enqueue } = setUp({ products: 9 });
      await enqueue();
      const { store } = queue;
      store.failed.set(store.chunks[1], code);
      const again = setUp({ products: 9 }, { store });
      expect(await again.enqueue()).toMatchObject({ jobs: 3, products: 9, sentBefore: { jobs: 2, products: 6 } });
      expect(again.queue.sends).toEqual([1]);
      expect(store.failed.size).toBe(0);
    },
  );

  it('sends a chunk again that vanished although all was sent, and says how many were sent now', async () => {
    const { queue, enqueue } = setUp({ products: 9 });
    await enqueue();
    const { store } = queue;
    store.chunks = store.chunks.filter(({ number }) => number !== 2);
    const again = setUp({ products: 9 }, { store });
    expect(await again.enqueue()).toMatchObject({
      sentNow: { jobs: 1, products: 3 },
      sentBefore: { jobs: 2, products: 6 },
    });
    expect(sentProducts(store)).toEqual(numbered(9));
  });

  it('at any operations killed, any number of times, leaves the same jobs as one that was not', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(30),
        fc.integer({ min: 1, max: 4 }),
        fc.nat(3),
        fc.array(fc.nat(40), { maxLength: 4 }),
        async (products, chunkSize, rejected, crashes) => {
          const rejects = Array.from({ length: rejected }, (_, i) => rejectedRow(i, 'INVALID_ROW'));
          const store = storedProducts();
          for (const point of crashes) {
            const killed = setUp({ products, rejects }, { store, chunkSize, crash: crashAt(point) });
            await killed.enqueue().catch((error: unknown) => expect(error).toBeInstanceOf(Crash));
          }
          await setUp({ products, rejects }, { store, chunkSize }).enqueue();
          const undisturbed = setUp({ products, rejects }, { chunkSize });
          await undisturbed.enqueue();
          expect(sentProducts(store)).toEqual(sentProducts(undisturbed.queue.store));
          expect(store.runs).toEqual(undisturbed.queue.store.runs);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('sends', () => {
  it('are in flight four at a time, and no more is read than the next chunk needs', async () => {
    const { source, queue, enqueue } = setUp({ products: 60, tableSize: 3 });
    const gates = Array.from({ length: 20 }, createGate);
    queue.transit = () => gates[queue.sends.length - 1].passed;
    const done = enqueue();
    await settle();
    expect(queue.sends).toEqual([0, 1, 2, 3]);
    expect(source.taken()).toBe(15);
    gates[2].open();
    await settle();
    expect(queue.sends).toEqual([0, 1, 2, 3, 4]);
    expect(source.taken()).toBe(18);
    for (const gate of gates) gate.open();
    await done;
    expect(sentProducts(queue.store)).toEqual(numbered(60));
  });

  it('are all over when the import ends, though one of them failed', async () => {
    const { queue, rejects, enqueue } = setUp({ products: 9 });
    const gate = createGate();
    queue.transit = async () => {
      if (queue.sends.length > 1) await gate.passed;
    };
    queue.failure = { chunk: 0, error: OUTAGE };
    let ended = false;
    const done = enqueue().finally(() => {
      ended = true;
    });
    done.catch(() => undefined);
    await settle();
    expect(ended).toBe(false);
    gate.open();
    await expect(done).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    expect(queue.store.chunks.map(({ number }) => number)).not.toContain(0);
    expect(queue.store.chunks).toHaveLength(queue.sends.length - 1);
    expect(rejects.end()).toBe('aborted');
  });
});

describe('while the queue is full', () => {
  it('nothing is sent and nothing more is read; it is asked again every 50 ms until there is room', async () => {
    const maxPendingBytes = 4 * CHUNK_BYTES;
    const { source, queue, clock, progress, enqueue } = setUp({ products: 6, tableSize: 3 }, { maxPendingBytes });
    // With the chunk that is to be sent there would be five.
    queue.depths = [4, 100, 3, 0];
    const done = enqueue();
    await settle();
    expect(queue.asked()).toBe(1);
    expect(progress).toEqual([{ products: 0, rejected: 0, paused: true }]);
    await clock.advance(49);
    expect(queue.asked()).toBe(1);
    await clock.advance(1);
    expect(queue.asked()).toBe(2);
    expect(queue.sends).toEqual([]);
    expect(source.taken()).toBe(3);
    await clock.advance(50);
    await done;
    expect(queue.sends).toEqual([0, 1]);
    expect(progress.map(({ paused }) => paused)).toEqual([true, true, false, false]);
  });

  it('it is full with fewer chunks the more bytes each has', async () => {
    const content = { products: 6, tableSize: 6 };
    const small = setUp(content, { chunkSize: 3, maxPendingBytes: 5 * CHUNK_BYTES });
    const large = setUp(content, { chunkSize: 6, maxPendingBytes: 5 * CHUNK_BYTES });
    for (const { queue } of [small, large]) queue.depths = [2, 1];
    await small.enqueue();
    const done = large.enqueue();
    await settle();
    expect(large.queue.sends).toEqual([]);
    await large.clock.advance(50);
    await done;
    expect(large.queue.sends).toEqual([0]);
  });

  it('what is on its way counts as well', async () => {
    const { queue, clock, enqueue } = setUp({ products: 12 }, { maxPendingBytes: 2 * CHUNK_BYTES });
    const gate = createGate();
    queue.depths = [0];
    queue.transit = () => gate.passed;
    const done = enqueue();
    await settle();
    await clock.advance(200);
    expect(queue.sends).toEqual([0, 1]);
    gate.open();
    while (await clock.advanceToNext());
    await done;
    expect(queue.sends).toEqual([0, 1, 2, 3]);
  });

  it('a chunk that alone is more than all that may wait is sent when nothing waits', async () => {
    const { queue, clock, enqueue } = setUp({ products: 3 }, { maxPendingBytes: 1 });
    queue.depths = [1, 0];
    const done = enqueue();
    await settle();
    expect(queue.sends).toEqual([]);
    await clock.advance(50);
    await done;
    expect(queue.sends).toEqual([0]);
  });

  it('a signal ends the import, and what was gathered is not sent', async () => {
    const { queue, clock, stop, enqueue } = setUp({ products: 2 }, { maxPendingBytes: 1 });
    queue.depths = [5];
    const done = expect(enqueue()).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await settle();
    stop.abort();
    await clock.advance(50);
    await done;
    expect(queue.sends).toEqual([]);
  });

  it('a send that fails ends the import: nobody waits for room for what cannot be sent', async () => {
    const { queue, clock, enqueue } = setUp({ products: 9 }, { maxPendingBytes: 2 * CHUNK_BYTES });
    const gate = createGate();
    queue.depths = [0, 1000];
    queue.transit = () => gate.passed;
    queue.failure = { chunk: 0, error: OUTAGE };
    let failure: unknown;
    enqueue().catch((error: unknown) => {
      failure = error;
    });
    await settle();
    gate.open();
    await clock.advance(1000);
    expect(failure).toBe(OUTAGE);
  });
});

describe('a signal', () => {
  it('before the import starts lets nothing be sent', async () => {
    const { queue, rejects, stop, enqueue } = setUp({ products: 5 });
    stop.abort();
    await expect(enqueue()).rejects.toMatchObject({ code: 'INTERRUPTED', message: 'stopped by a signal' });
    expect(queue.sends).toEqual([]);
    expect(rejects.end()).toBe('aborted');
  });

  it('between two chunks keeps what was sent, and says how to send the rest', async () => {
    const onTable = (first: number) => {
      if (first === 600) stop.abort();
    };
    const { queue, stop, enqueue } = setUp({ products: 1000, tableSize: 100, onTable }, { chunkSize: 50 });
    await expect(enqueue()).rejects.toMatchObject({
      code: 'INTERRUPTED',
      message:
        'stopped by a signal (600 products in 12 jobs were sent; the same command sends the rest, and no product is in the results twice)',
    });
    expect(sentProducts(queue.store)).toEqual(numbered(600));
    expect(queue.store.runs.get('run')?.totals).toBeUndefined();
  });

  it('ends an import of which all was sent before as well', async () => {
    const { queue, enqueue } = setUp({ products: 50 });
    await enqueue();
    const run = queue.store.runs.get('run');
    if (run) run.totals = undefined;
    const again = setUp({ products: 50, onTable: () => again.stop.abort() }, { store: queue.store });
    await expect(again.enqueue()).rejects.toMatchObject({ code: 'INTERRUPTED', message: 'stopped by a signal' });
    expect(again.source.taken()).toBeLessThan(50);
  });
});

describe('an error of the queue', () => {
  it('keeps its code and whether it can be retried, and says how many were sent and how to send the rest', async () => {
    const { queue, rejects, enqueue } = setUp({ products: 700 }, { chunkSize: 100 });
    queue.failure = { chunk: 6, error: OUTAGE };
    await expect(enqueue()).rejects.toMatchObject({
      code: 'REDIS_UNAVAILABLE',
      retryable: true,
      cause: OUTAGE,
      message:
        'Redis went away (600 products in 6 jobs were sent; the same command sends the rest, and no product is in the results twice)',
    });
    expect(queue.store.runs.get('run')?.totals).toBeUndefined();
    expect(rejects.end()).toBe('aborted');
  });

  it('ends the import soon: what comes after the failed chunk is not sent', async () => {
    const { source, queue, enqueue } = setUp({ products: 700, tableSize: 10 }, { chunkSize: 10 });
    queue.failure = { chunk: 1, error: OUTAGE };
    await expect(enqueue()).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    expect(queue.sends.length).toBeLessThan(8);
    expect(source.taken()).toBeLessThan(100);
  });

  it('when it is asked how full it is ends the import too', async () => {
    const { queue, enqueue } = setUp({ products: 700 }, { chunkSize: 100 });
    let asked = 0;
    queue.pendingJobs = async () => {
      if (asked++ === 3) throw OUTAGE;
      return 0;
    };
    await expect(enqueue()).rejects.toMatchObject({
      code: 'REDIS_UNAVAILABLE',
      message: expect.stringContaining('300 products in 3 jobs were sent'),
    });
  });

  it('that nobody foresaw travels on unchanged', async () => {
    const { queue, enqueue } = setUp({ products: 700 }, { chunkSize: 100 });
    const defect = new TypeError('x is not a function');
    queue.failure = { chunk: 3, error: defect };
    await expect(enqueue()).rejects.toBe(defect);
  });

  it('at the end leaves a run that the same command finishes', async () => {
    const { queue, enqueue } = setUp({ products: 7 });
    queue.finish = () => Promise.reject(OUTAGE);
    await expect(enqueue()).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    const again = setUp({ products: 7 }, { store: queue.store });
    expect(await again.enqueue()).toMatchObject({ jobs: 3, products: 7, sentBefore: { jobs: 3, products: 7 } });
    expect(again.queue.sends).toEqual([]);
    expect(queue.store.runs.get('run')?.totals).toEqual(totalsOf(3, 7));
  });
});

describe('an error before anything was sent', () => {
  it('is told as it is: there is nothing to go on with', async () => {
    const unreadable = new CategorizerError('INPUT_NOT_READABLE', 'cannot read x.csv');
    const { rejects, enqueue } = setUp({
      products: 1,
      onTable: () => {
        throw unreadable;
      },
    });
    await expect(enqueue()).rejects.toBe(unreadable);
    expect(rejects.end()).toBe('aborted');
  });
});
