import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { connectPatiently } from '../../src/adapters/bullmq/connection.ts';
import { createPatience } from '../../src/adapters/bullmq/patience.ts';
import { createPayloads } from '../../src/adapters/bullmq/payloads.ts';
import { createProductWorker } from '../../src/adapters/bullmq/product-worker.ts';
import { createResultPublisher } from '../../src/adapters/bullmq/result-publisher.ts';
import { createCategorizeJob } from '../../src/application/categorize-job.ts';
import { createCategorizeProducts } from '../../src/application/categorize-products.ts';
import { createMicroBatcher } from '../../src/application/micro-batcher.ts';
import { systemClock } from '../../src/composition.ts';
import { JOB_OPTIONS, PRODUCT_QUEUE, PRODUCTS_JOB, RESULT_QUEUE } from '../../src/contract/index.ts';
import { createFakeBatchObservation, createFakeJobObserver, createFakeLogger } from '../support/fake-observers.ts';
import { createFakePredictor } from '../support/fake-predictor.ts';
import { uniquePrefix } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

const PATIENCE = { timeout: 30_000, interval: 20 };

/** Each way to make a Redis refuse, and to end it. */
const REFUSALS = {
  full: ['maxmemory', '1', '0'],
  'without the replicas that it wants': ['min-replicas-to-write', '1', '0'],
} as const;

/**
 * The real worker and the real publisher on a Redis of their own. The jobs are held up before they are categorized, or
 * when their results are published.
 */
async function setUp({ lockMs = 30_000, holdAfterwards = false } = {}) {
  const server = await startRedis();
  onTestFinished(() => server.remove());
  const prefix = uniquePrefix();
  const admin = new Redis(server.url, { maxRetriesPerRequest: null });
  const products = new Queue(PRODUCT_QUEUE, { connection: admin, prefix, defaultJobOptions: { ...JOB_OPTIONS } });
  const results = new Queue(RESULT_QUEUE, { connection: admin, prefix });
  onTestFinished(async () => {
    await Promise.all([products.close(), results.close()]);
    admin.disconnect();
  });
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });

  function makeWorker() {
    const observer = createFakeJobObserver();
    const logger = createFakeLogger();
    const connection = connectPatiently(server.url, logger);
    const patience = createPatience({ logger });
    const payloads = createPayloads({ connection, prefix, ttlHours: 1 });
    const publisher = createResultPublisher({ connection, prefix, payloads, logger, patience });
    const predictor = createFakePredictor({ clock: systemClock });
    const batcher = createMicroBatcher({
      predictor,
      observer: { started: createFakeBatchObservation },
      clock: systemClock,
      maxRows: 100,
      maxWaitMs: 0,
    });
    const categorizeProducts = createCategorizeProducts({
      batcher,
      observer: { products: () => undefined, outside: () => undefined },
      model: predictor.model,
    });
    const categorizeJob = createCategorizeJob({ categorizeProducts, results: publisher, model: predictor.model });
    const worker = createProductWorker({
      connection,
      prefix,
      concurrency: 8,
      maxProducts: 1000,
      lockMs,
      model: predictor.model,
      mismatchTimeoutMs: 3_600_000,
      async categorizeJob(job) {
        if (holdAfterwards) await categorizeJob(job);
        await released;
        if (!holdAfterwards) await categorizeJob(job);
      },
      patience,
      payloads,
      observer,
      logger,
    });
    const close = async () => {
      await worker.close();
      await batcher.drain();
      await publisher.close();
      connection.disconnect();
    };
    onTestFinished(async () => {
      release();
      await close();
    });
    worker.start();
    return { observer, logger, close };
  }

  return {
    makeWorker,
    products,
    results,
    release,
    config: (name: string, value: string) => admin.config('SET', name, value),
    removeLocks: async () => void (await admin.del(...(await admin.keys(`${prefix}*:lock`)))),
    async add(jobs: number) {
      const data = (i: number) => ({ products: [{ productId: `P${i}`, features: [i, 0] }] });
      await products.addBulk(
        Array.from({ length: jobs }, (_, i) => ({ name: PRODUCTS_JOB, data: data(i), opts: { jobId: `run-${i}` } })),
      );
    },
    /** What was refused so far. */
    refusals: async () => Number(/total_error_replies:(\d+)/.exec(await admin.info('stats'))?.[1]),
  };
}

describe.each(Object.entries(REFUSALS))('a Redis that is %s in the middle of the work', (_title, [name, bad, good]) => {
  it('uses up no attempt, however often it refuses, and every job is answered when it takes commands again', async () => {
    const { makeWorker, products, results, release, config, add, refusals } = await setUp();
    const workers = [makeWorker(), makeWorker()];
    await add(6);
    await vi.waitFor(async () => expect(await products.getActiveCount()).toBe(6), PATIENCE);
    const before = await refusals();
    await config(name, bad);
    release();
    await vi.waitFor(async () => expect(await refusals()).toBeGreaterThan(before + 6), PATIENCE);
    expect(await products.getFailedCount()).toBe(0);
    await config(name, good);
    await vi.waitFor(async () => expect(await products.getCompletedCount()).toBe(6), PATIENCE);
    expect(await results.getWaitingCount()).toBe(6);
    const outcomes = workers.flatMap(({ observer }) => observer.finishedJobs.map(({ outcome }) => outcome));
    expect(outcomes).toEqual(Array(6).fill('completed'));
    for (const job of await products.getCompleted()) expect(job).toMatchObject({ attemptsMade: 1, stalledCounter: 0 });
    // However many jobs wait and however often they try.
    const warnings = workers[0].logger.lines.filter(({ message }) => message.startsWith('redis refuses'));
    expect(warnings.length).toBeLessThanOrEqual(2);
  });
});

it('a job whose lock ran out while Redis refused to renew it gets it back, and does not count as stalled', async () => {
  const { makeWorker, products, results, release, config, add, refusals, removeLocks } = await setUp({ lockMs: 2000 });
  makeWorker();
  await add(3);
  await vi.waitFor(async () => expect(await products.getActiveCount()).toBe(3), PATIENCE);
  const before = await refusals();
  await config('maxmemory', '1');
  await removeLocks();
  release();
  await vi.waitFor(async () => expect(await refusals()).toBeGreaterThan(before + 6), PATIENCE);
  await config('maxmemory', '0');
  await vi.waitFor(async () => expect(await products.getCompletedCount()).toBe(3), PATIENCE);
  expect(await results.getWaitingCount()).toBe(3);
  for (const job of await products.getCompleted()) expect(job).toMatchObject({ attemptsMade: 1, stalledCounter: 0 });
});

it('a worker that is stopped while Redis is full ends at once, and gives its jobs back with all of their attempts', async () => {
  const { makeWorker, products, release, config, add, refusals } = await setUp();
  const { close } = makeWorker();
  await add(3);
  await vi.waitFor(async () => expect(await products.getActiveCount()).toBe(3), PATIENCE);
  const before = await refusals();
  await config('maxmemory', '1');
  release();
  await vi.waitFor(async () => expect(await refusals()).toBeGreaterThan(before + 2), PATIENCE);
  await close();
  expect(await products.getJobCounts('wait', 'active', 'delayed', 'failed')).toMatchObject({ wait: 3, active: 0 });
  for (const job of await products.getWaiting()) expect(job).toMatchObject({ attemptsMade: 0, stalledCounter: 0 });

  await config('maxmemory', '0');
  makeWorker();
  await vi.waitFor(async () => expect(await products.getCompletedCount()).toBe(3), PATIENCE);
});

it('a worker whose every fetch is refused asks a few times a second, and not thousands of times', async () => {
  const { makeWorker, config, add, refusals } = await setUp();
  await config('maxmemory', '1');
  const { logger } = makeWorker();
  await config('maxmemory', '0');
  await add(3);
  await config('maxmemory', '1');
  await logger.untilLogged('redis refuses; the jobs in work wait until it does not');
  const [before, start] = [await refusals(), performance.now()];
  await vi.waitFor(async () => expect(await refusals()).toBeGreaterThan(before + 3), PATIENCE);
  expect(performance.now() - start).toBeGreaterThan(1500);
});

it('a job whose result is published completes, although Redis refuses that at first', async () => {
  const { makeWorker, products, results, release, config, add, refusals } = await setUp({ holdAfterwards: true });
  makeWorker();
  await add(3);
  await vi.waitFor(async () => expect(await results.getWaitingCount()).toBe(3), PATIENCE);
  const before = await refusals();
  await config('min-replicas-to-write', '1');
  release();
  await vi.waitFor(async () => expect(await refusals()).toBeGreaterThan(before + 6), PATIENCE);
  expect(await products.getActiveCount()).toBe(3);
  await config('min-replicas-to-write', '0');
  await vi.waitFor(async () => expect(await products.getCompletedCount()).toBe(3), PATIENCE);
  for (const job of await products.getCompleted()) expect(job).toMatchObject({ attemptsMade: 1, stalledCounter: 0 });
  expect(await results.getWaitingCount()).toBe(3);
});
