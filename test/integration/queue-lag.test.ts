import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, expect, inject, it, onTestFinished } from 'vitest';
import { readQueueLag } from '../../src/adapters/bullmq/queue-lag.ts';
import { uniquePrefix } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

const HOUR_MS = 3_600_000;

let redis: Redis;
let queue: Queue;

beforeEach(() => {
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  queue = new Queue('lag', { connection: redis, prefix: uniquePrefix() });
  return async () => {
    await queue.close();
    redis.disconnect();
  };
});

/** Puts a job on the queue as if that had been so many seconds ago. */
async function addAged(seconds: number, options: { priority?: number; delay?: number } = {}) {
  return queue.add('job', {}, { ...options, timestamp: Date.now() - seconds * 1000 });
}

const lag = () => readQueueLag(redis, (type) => queue.toKey(type));

/** The lag is the age of what was added with that age, give or take the time that the test takes. */
async function expectLag(seconds: number): Promise<void> {
  const found = await lag();
  expect(found).toBeGreaterThanOrEqual(seconds);
  expect(found).toBeLessThan(seconds + 10);
}

it('is 0 where no job is', async () => {
  expect(await lag()).toBe(0);
});

it('is the age of the next job to be taken, however many came after it', async () => {
  await addAged(90);
  for (let i = 0; i < 30; i++) await addAged(5);
  await expectLag(90);
});

it('is the age on a paused queue too', async () => {
  await queue.pause();
  await addAged(90);
  await expectLag(90);
});

it('is never negative, though a producer has a clock of its own', async () => {
  await addAged(-3600);
  expect(await lag()).toBe(0);
});

it('counts a job with a priority', async () => {
  await addAged(5);
  await addAged(90, { priority: 3 });
  await expectLag(90);
});

it('counts the oldest of all priorities, not the most urgent one alone', async () => {
  await addAged(5, { priority: 1 });
  await addAged(90, { priority: 2_097_151 });
  await addAged(20, { priority: 7 });
  for (let i = 0; i < 30; i++) await addAged(1, { priority: 7 });
  await expectLag(90);
});

it('does not count a delayed job that is not due, whenever it was enqueued', async () => {
  await addAged(90, { delay: HOUR_MS });
  expect(await lag()).toBe(0);
});

it('counts an overdue delayed job from when it was due, not from when it was enqueued', async () => {
  await addAged(90, { delay: 60_000 });
  await addAged(5000, { delay: HOUR_MS * 24 });
  await expectLag(30);
});

it('takes the older of a waiting and an overdue delayed job', async () => {
  await addAged(90, { delay: 60_000 });
  await addAged(45);
  await expectLag(45);
});

it('counts a job that waits again after a failure from when it was enqueued', async () => {
  await addAged(90);
  const worker = new Worker('lag', () => Promise.reject(new Error('no')), {
    connection: redis,
    prefix: queue.opts.prefix,
  });
  onTestFinished(() => worker.close());
  const failed = await new Promise<string>((resolve) => worker.on('failed', (job) => resolve(job?.id ?? '')));
  await worker.close();
  expect(await lag()).toBe(0);
  for (let i = 0; i < 30; i++) await addAged(5);
  await (await queue.getJob(failed))?.retry();
  await expectLag(90);
});

it('passes over a job whose hash is gone', async () => {
  const job = await addAged(90);
  await addAged(45);
  await redis.del(queue.toKey(job.id ?? ''));
  await expectLag(45);
});

it('is as cheap with 200,000 jobs that wait as with a hundred', async () => {
  // Of its own: the statistics count the commands of all clients.
  const server = await startRedis();
  onTestFinished(server.remove);
  const alone = new Redis(server.url);
  onTestFinished(() => alone.disconnect());
  const jobs = new Queue('lag', { connection: alone, prefix: uniquePrefix() });
  const reads = async () => {
    await alone.config('RESETSTAT');
    await readQueueLag(alone, (type) => jobs.toKey(type));
    const stats = await alone.info('commandstats');
    return [...stats.matchAll(/cmdstat_(?!eval|config|info)\w+:calls=(\d+)/g)].reduce(
      (sum, [, n]) => sum + Number(n),
      0,
    );
  };
  for (let i = 0; i < 100; i++) await jobs.add('job', {}, { timestamp: Date.now() - 1000 });
  const few = await reads();
  await alone.eval("for i = 1, 200000 do redis.call('LPUSH', KEYS[1], 'x' .. i) end", 1, jobs.toKey('wait'));
  expect(await reads()).toBe(few);
  await jobs.close();
});
