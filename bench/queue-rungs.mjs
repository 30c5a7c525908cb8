// Rungs a to e: jobs that are on the queue already, taken by one worker; the time from the moment it may take the first
// until the last result is there.
import { setTimeout as pause } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import {
  chunkJobId,
  DEFAULT_PREFIX,
  JOB_OPTIONS,
  PACKED_PRODUCTS_JOB,
  PRODUCT_JOB,
  PRODUCT_QUEUE,
  PRODUCTS_JOB,
  packProducts,
  payloadKey,
  RESULT_QUEUE,
} from '../dist/contract/index.js';
import { startRedis, startScript, startWorker } from './processes.mjs';
import { product, productTable } from './products.mjs';

const JOBS_AT_ONCE = 500;

/** @typedef {(connection: Redis, queue: Queue, runId: string, products: number) => Promise<number>} Fill */

/** @param {Queue} queue @param {string} runId @param {number} count @param {(i: number) => { name: string, data: object }} make */
async function addJobs(queue, runId, count, make) {
  for (let start = 0; start < count; start += JOBS_AT_ONCE) {
    const size = Math.min(JOBS_AT_ONCE, count - start);
    await queue.addBulk(
      Array.from({ length: size }, (_, i) => ({
        ...make(start + i),
        opts: { ...JOB_OPTIONS, jobId: chunkJobId(runId, start + i) },
      })),
    );
  }
  return count;
}

/** Each puts so many products on the queue, and says in how many jobs. @type {Record<string, (size?: number) => Fill>} */
export const FILL = {
  single: () => (_connection, queue, runId, products) =>
    addJobs(queue, runId, products, (i) => ({ name: PRODUCT_JOB, data: { ...product(i), runId } })),
  readable:
    (size = 1000) =>
    (_connection, queue, runId, products) =>
      addJobs(queue, runId, products / size, (i) => {
        const chunk = Array.from({ length: size }, (_, k) => product(i * size + k));
        return { name: PRODUCTS_JOB, data: { products: chunk, runId } };
      }),
  packed:
    (size = 8192) =>
    async (connection, queue, runId, products) => {
      for (let i = 0; i < products / size; i++) {
        const { payload, ...announced } = packProducts(productTable(i * size, size));
        const key = payloadKey(DEFAULT_PREFIX, chunkJobId(runId, i), announced.crc32);
        await connection.set(key, payload, 'EX', 3600);
        const data = { ...announced, payload: key, width: 16, runId };
        await queue.add(PACKED_PRODUCTS_JOB, data, { ...JOB_OPTIONS, jobId: chunkJobId(runId, i) });
      }
      return products / size;
    },
};

/**
 * One Redis and one worker process, which live until they are closed.
 *
 * @param {{ products: number, fill: Fill, naiveConcurrency?: number, nodeOptions?: string[] }} options
 */
export async function openQueueRung({ products, fill, naiveConcurrency, nodeOptions }) {
  const redis = await startRedis();
  const connection = new Redis(redis.url, { maxRetriesPerRequest: null });
  const queue = new Queue(PRODUCT_QUEUE, { connection, prefix: DEFAULT_PREFIX });
  const results = new Queue(RESULT_QUEUE, { connection, prefix: DEFAULT_PREFIX });
  const worker = naiveConcurrency
    ? await startScript('naive-worker.mjs', [redis.url, DEFAULT_PREFIX, String(naiveConcurrency)])
    : await startWorker({ REDIS_URL: redis.url }, nodeOptions);
  let expected = 0;
  let round = 0;

  /** Puts all products on the queue, and then lets the worker have them. @returns products a second */
  async function measure() {
    await queue.pause();
    expected += await fill(connection, queue, `bench-${round++}`, products);
    const begin = performance.now();
    await queue.resume();
    for (let looks = 1; (await connection.llen(results.toKey('wait'))) < expected; looks++) {
      await pause(2);
      if (looks % 100 === 0 && (await queue.getFailedCount()) > 0) throw new Error('a job failed');
    }
    return (products * 1000) / (performance.now() - begin);
  }

  async function close() {
    await worker.stop();
    await queue.close();
    await results.close();
    connection.disconnect();
    await redis.stop();
  }

  return { measure, close };
}
