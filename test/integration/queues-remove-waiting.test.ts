import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, expect, inject, it } from 'vitest';
import { removeOldest } from '../../src/adapters/bullmq/remove-waiting.ts';
import { uniquePrefix } from '../support/products.ts';

let redis: Redis;
let queue: Queue;

beforeEach(() => {
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  queue = new Queue('removal', { connection: redis, prefix: uniquePrefix() });
  return async () => {
    await queue.close();
    redis.disconnect();
  };
});

const add = (jobId: string, options = {}) => queue.add('job', { jobId }, { jobId, ...options });
const waiting = async () => (await queue.getRanges(['waiting'], 0, -1, true)).toSorted();

it('takes the named jobs with all that belongs to them, and no other', async () => {
  for (const id of ['a', 'b', 'c', 'd']) await add(id);
  await (await queue.getJob('b'))?.log('a line');
  await removeOldest(redis, queue, ['a', 'b']);
  expect(await waiting()).toEqual(['c', 'd']);
  expect(await redis.keys(queue.toKey('b*'))).toEqual([]);
  expect(await queue.getJob('a')).toBeUndefined();
});

it('takes a job that does not wait as well, and passes over one that is not there', async () => {
  await add('later', { delay: 3_600_000 });
  await add('urgent', { priority: 2 });
  await add('waits');
  await removeOldest(redis, queue, ['later', 'gone', 'urgent', 'waits']);
  expect(await queue.getJobCounts('waiting', 'delayed', 'prioritized')).toEqual({
    waiting: 0,
    delayed: 0,
    prioritized: 0,
  });
  expect(await redis.exists(queue.toKey('later'), queue.toKey('urgent'))).toBe(0);
});

it('takes none of no jobs', async () => {
  await add('a');
  await removeOldest(redis, queue, []);
  expect(await waiting()).toEqual(['a']);
});
