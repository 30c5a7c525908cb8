// How long a product takes from the moment it is put on the queue until its result is there, at a steady rate.
import { setTimeout as pause } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { DEFAULT_PREFIX, JOB_OPTIONS, PRODUCT_JOB, PRODUCT_QUEUE, RESULT_QUEUE } from '../dist/contract/index.js';
import { startRedis, startWorker } from './processes.mjs';
import { product } from './products.mjs';

const WARM_UP_MS = 2000;
const SLOT_MS = 5;

/**
 * Milliseconds, sorted. The result's time is the one that Redis gave its event; all clocks are this machine's.
 *
 * @param {{ productsPerSecond: number, seconds: number }} options
 */
export async function measureLatency({ productsPerSecond, seconds }) {
  const redis = await startRedis();
  const connection = new Redis(redis.url, { maxRetriesPerRequest: null });
  const queue = new Queue(PRODUCT_QUEUE, { connection, prefix: DEFAULT_PREFIX });
  const results = new Queue(RESULT_QUEUE, { connection, prefix: DEFAULT_PREFIX });
  const worker = await startWorker({ REDIS_URL: redis.url });

  /** @type {Map<string, number>} */
  const sentAt = new Map();
  /** @type {number[]} */
  const latencies = [];
  let sending = true;

  const reader = connection.duplicate();
  async function readEvents() {
    let last = '0';
    while (sending || sentAt.size > 0) {
      const reply = await reader.xread('COUNT', 1000, 'BLOCK', 200, 'STREAMS', results.toKey('events'), last);
      for (const [id, fields] of reply?.[0]?.[1] ?? []) {
        last = id;
        const event = Object.fromEntries(fields.map((value, i) => [fields[i - 1], value]).filter((_, i) => i % 2));
        const jobId = event.event === 'added' ? event.jobId.slice('r-'.length) : undefined;
        const sent = jobId === undefined ? undefined : sentAt.get(jobId);
        if (jobId === undefined || sent === undefined) continue;
        sentAt.delete(jobId);
        latencies.push(Number(id.split('-')[0]) - sent);
      }
    }
  }
  const reading = readEvents();

  const begin = performance.now();
  let next = 0;
  let counted = 0;
  while (performance.now() - begin < WARM_UP_MS + seconds * 1000) {
    const due = Math.floor(((performance.now() - begin) * productsPerSecond) / 1000);
    if (performance.now() - begin < WARM_UP_MS) counted = due;
    const now = Date.now();
    const jobs = Array.from({ length: due - next }, (_, i) => {
      const jobId = `latency-${next + i}`;
      sentAt.set(jobId, now);
      return { name: PRODUCT_JOB, data: product(next + i), opts: { ...JOB_OPTIONS, jobId } };
    });
    next = due;
    if (jobs.length > 0) await queue.addBulk(jobs);
    await pause(SLOT_MS);
  }
  sending = false;
  await reading;
  await worker.stop();
  reader.disconnect();
  await queue.close();
  await results.close();
  connection.disconnect();
  await redis.stop();
  return latencies.slice(counted).sort((a, b) => a - b);
}
