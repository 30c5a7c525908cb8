import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { connectForProbes } from '../../src/adapters/bullmq/connection.ts';
import { createQueueMonitor } from '../../src/adapters/bullmq/queue-monitor.ts';
import type { FailedJob } from '../../src/application/ports.ts';
import { PRODUCT_JOB, PRODUCT_QUEUE, RESULT_QUEUE } from '../../src/contract/index.ts';
import { createGate } from '../support/fake-observers.ts';
import { uniquePrefix } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

let prefix: string;
let redis: Redis;
let products: Queue;
let results: Queue;
beforeEach(() => {
  prefix = uniquePrefix();
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  products = new Queue(PRODUCT_QUEUE, { connection: redis, prefix });
  results = new Queue(RESULT_QUEUE, { connection: redis, prefix });
  return async () => {
    await products.close();
    await results.close();
    redis.disconnect();
  };
});

async function ready(connection: Redis): Promise<Redis> {
  if (connection.status !== 'ready') await new Promise((resolve) => connection.once('ready', resolve));
  return connection;
}

async function openMonitor() {
  const connection = await ready(connectForProbes(inject('redisUrl')));
  const monitor = createQueueMonitor({ connection, prefix });
  onTestFinished(async () => {
    await monitor.close();
    connection.disconnect();
  });
  return monitor;
}

/** Runs a worker until it has failed so many jobs. */
async function failJobs(count: number, reason: (id: string) => string): Promise<void> {
  const done = createGate();
  let failed = 0;
  const worker = new Worker(
    PRODUCT_QUEUE,
    async ({ id }) => {
      throw new Error(reason(id ?? ''));
    },
    { connection: redis, prefix, concurrency: 50 },
  );
  worker.on('failed', () => {
    if (++failed === count) done.open();
  });
  await done.passed;
  await worker.close();
}

async function addMany(count: number, runId?: string): Promise<void> {
  await products.addBulk(
    Array.from({ length: count }, (_, i) => ({
      name: PRODUCT_JOB,
      data: { productId: `P${i}`, features: [], runId },
      opts: { jobId: `${runId}-${i}` },
    })),
  );
}

async function failedJobs(monitor: { failed(): AsyncIterable<FailedJob> }): Promise<FailedJob[]> {
  const jobs: FailedJob[] = [];
  for await (const job of monitor.failed()) jobs.push(job);
  return jobs;
}

const NO_JOBS = { waiting: 0, active: 0, delayed: 0, prioritized: 0, failed: 0, completed: 0 };

describe('the depths', () => {
  it('of queues that nobody has used are 0, the input queue first', async () => {
    const monitor = await openMonitor();
    expect(await monitor.depths()).toEqual([
      { queue: PRODUCT_QUEUE, jobs: NO_JOBS, oldestWaitingAgeSeconds: 0, paused: false, workers: 0 },
      { queue: RESULT_QUEUE, jobs: NO_JOBS, oldestWaitingAgeSeconds: 0, paused: false, workers: 0 },
    ]);
  });

  it('are the jobs of each state', async () => {
    const monitor = await openMonitor();
    await addMany(3, 'bad');
    await failJobs(3, () => 'INVALID_JOB: x');
    await addMany(4, 'good');
    await products.add(PRODUCT_JOB, {}, { delay: 3_600_000 });
    await products.add(PRODUCT_JOB, {}, { delay: 3_600_000 });
    await products.add(PRODUCT_JOB, {}, { priority: 5 });
    await results.add('category', {});
    const [input, output] = await monitor.depths();
    expect(input.jobs).toEqual({ waiting: 4, active: 0, delayed: 2, prioritized: 1, failed: 3, completed: 0 });
    expect(output.jobs).toEqual({ ...NO_JOBS, waiting: 1 });
  });

  it('count a job that is in work, and then that it is completed', async () => {
    const monitor = await openMonitor();
    const [started, gate, done] = [createGate(), createGate(), createGate()];
    await addMany(1, 'run');
    const worker = new Worker(
      PRODUCT_QUEUE,
      async () => {
        started.open();
        await gate.passed;
      },
      { connection: redis, prefix },
    );
    worker.on('completed', done.open);
    await started.passed;
    expect(await monitor.depths()).toMatchObject([{ jobs: { waiting: 0, active: 1 }, workers: 1 }, { workers: 0 }]);
    gate.open();
    await done.passed;
    expect((await monitor.depths())[0].jobs).toMatchObject({ active: 0, completed: 1 });
    await worker.close();
  });

  it('say that a queue is paused, and count what waits on it', async () => {
    const monitor = await openMonitor();
    await addMany(2, 'run');
    await products.pause();
    const [input, output] = await monitor.depths();
    expect(input).toMatchObject({ paused: true, jobs: { waiting: 2 } });
    expect(output.paused).toBe(false);
    await products.resume();
    expect((await monitor.depths())[0].paused).toBe(false);
  });

  it('of another prefix are others', async () => {
    await addMany(2, 'run');
    prefix = uniquePrefix();
    const monitor = await openMonitor();
    expect((await monitor.depths())[0].jobs.waiting).toBe(0);
  });
});

describe('failed jobs', () => {
  it('are told with their code, sentence and run', async () => {
    const monitor = await openMonitor();
    await addMany(1, 'run-1');
    await products.add(PRODUCT_JOB, 'text', { jobId: 'odd' });
    await failJobs(2, (id) => (id === 'odd' ? 'job stalled more than allowable limit' : 'WRONG_WIDTH: expected 16'));
    const found = await failedJobs(monitor);
    expect(found.toSorted((a, b) => a.jobId.localeCompare(b.jobId))).toEqual([
      { jobId: 'odd', runId: undefined, code: 'STALLED', message: 'job stalled more than allowable limit' },
      { jobId: 'run-1-0', runId: 'run-1', code: 'WRONG_WIDTH', message: 'expected 16' },
    ]);
  });

  it('beyond a page are all told, once', async () => {
    const monitor = await openMonitor();
    await addMany(450, 'run');
    await failJobs(450, () => 'INVALID_JOB: x');
    const ids = (await failedJobs(monitor)).map(({ jobId }) => jobId);
    expect(ids).toHaveLength(450);
    expect(new Set(ids).size).toBe(450);
  });

  it('are all told though the data of one is not JSON, and it can be put back like the others', async () => {
    const monitor = await openMonitor();
    await addMany(3, 'run');
    await failJobs(3, () => 'INVALID_JOB: x');
    await redis.hset(products.toKey('run-1'), 'data', '{broken');
    expect((await failedJobs(monitor)).map(({ jobId, code }) => `${jobId} ${code}`).toSorted()).toEqual([
      'run-0 INVALID_JOB',
      'run-1 INVALID_JOB',
      'run-2 INVALID_JOB',
    ]);
    expect(await monitor.retryFailed(['run-0', 'run-1', 'run-2'])).toBe(3);
  });

  it('that are put back wait again, with all of their attempts', async () => {
    const monitor = await openMonitor();
    await addMany(3, 'run');
    await failJobs(3, () => 'PREDICTOR_UNAVAILABLE: x');
    expect(await monitor.retryFailed(['run-0', 'run-2'])).toBe(2);
    expect((await monitor.depths())[0].jobs).toMatchObject({ waiting: 2, failed: 1 });
    const job = await products.getJob('run-0');
    expect(job).toMatchObject({ attemptsMade: 0, attemptsStarted: 0, data: { runId: 'run' } });
    expect((await failedJobs(monitor)).map(({ jobId }) => jobId)).toEqual(['run-1']);
  });

  it('are counted once when they are put back twice, and what has not failed or is gone is passed over', async () => {
    const monitor = await openMonitor();
    await addMany(1, 'run');
    await failJobs(1, () => 'INVALID_JOB: x');
    await addMany(1, 'waits');
    expect(await monitor.retryFailed(['run-0', 'waits-0', 'nobody'])).toBe(1);
    expect(await monitor.retryFailed(['run-0'])).toBe(0);
    expect(await monitor.retryFailed([])).toBe(0);
    expect((await monitor.depths())[0].jobs).toMatchObject({ waiting: 2, failed: 0 });
  });
});

describe('the failed jobs by code', () => {
  it('are those of that run, beyond a page too; of no run, all of them', async () => {
    const monitor = await openMonitor();
    await addMany(250, 'run');
    await addMany(3, 'other');
    await failJobs(253, (id) => (Number(id.split('-')[1]) < 2 ? 'PAYLOAD_MISSING: gone' : 'WRONG_WIDTH: x'));
    expect(await monitor.failures('run')).toEqual({ PAYLOAD_MISSING: 2, WRONG_WIDTH: 248 });
    expect(await monitor.failures('other')).toEqual({ PAYLOAD_MISSING: 2, WRONG_WIDTH: 1 });
    expect(await monitor.failures('nobody')).toEqual({});
    expect(await monitor.failures(undefined)).toEqual({ PAYLOAD_MISSING: 4, WRONG_WIDTH: 249 });
  });
});

describe('the activity of the input queue', () => {
  it('has the jobs of any run that are not finished, whatever they wait for', async () => {
    const monitor = await openMonitor();
    await addMany(3, 'bad');
    await failJobs(3, () => 'INVALID_JOB: x');
    await addMany(4, 'other');
    await products.add(PRODUCT_JOB, {}, { delay: 3_600_000 });
    await products.add(PRODUCT_JOB, {}, { priority: 5 });
    const taker = new Worker(PRODUCT_QUEUE, null, { connection: redis, prefix });
    await taker.getNextJob('token');
    expect((await monitor.activity()).unfinishedJobs).toBe(6);
    await taker.close();
  });

  it('counts the jobs of a paused queue as unfinished', async () => {
    const monitor = await openMonitor();
    await addMany(2, 'run');
    await products.pause();
    expect((await monitor.activity()).unfinishedJobs).toBe(2);
  });

  it('has the workers that are connected while jobs are left', async () => {
    const monitor = await openMonitor();
    const worker = new Worker(PRODUCT_QUEUE, async () => undefined, { connection: redis, prefix, autorun: false });
    await worker.waitUntilReady();
    expect((await monitor.activity()).workers, 'nobody asks').toBe(0);
    await products.add(PRODUCT_JOB, {}, { delay: 3_600_000 });
    expect((await monitor.activity()).workers).toBe(1);
    await worker.close();
  });
});

describe('a Redis that is away', () => {
  it('makes every question fail at once with a code, and they are answered again when it is back', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const connection = connectForProbes(server.url);
    const monitor = createQueueMonitor({ connection, prefix });
    onTestFinished(async () => {
      await monitor.close();
      connection.disconnect();
    });
    await ready(connection);
    await monitor.depths();
    const closed = new Promise((resolve) => connection.once('close', resolve));
    await server.stop();
    await closed;
    const before = performance.now();
    await expect(monitor.depths()).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE', retryable: true });
    await expect(failedJobs(monitor)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    await expect(monitor.activity()).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE', retryable: true });
    await expect(monitor.retryFailed(['1'])).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    expect(performance.now() - before).toBeLessThan(1000);
    const back = new Promise((resolve) => connection.once('ready', resolve));
    await server.start();
    await back;
    expect(await monitor.depths()).toHaveLength(2);
  });

  it('from the start on does not let a question wait either', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    await server.stop();
    const connection = connectForProbes(server.url);
    const monitor = createQueueMonitor({ connection, prefix });
    onTestFinished(async () => {
      await monitor.close();
      connection.disconnect();
    });
    await expect(monitor.depths()).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  });
});
