import { Queue, UnrecoverableError, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { vi } from 'vitest';
import {
  CATEGORIES_RESULT,
  type CategoriesResultData,
  failedReasonOf,
  PRODUCT_QUEUE,
  type ProductOutcome,
  RESULT_QUEUE,
} from '../../src/contract/index.ts';
import type { Environment } from './processes.ts';
import { uniquePrefix } from './products.ts';

/** Both queues under a prefix of their own, seen from beside the program. */
export interface Queues {
  /** The settings that point a command at them. */
  readonly env: Environment;
  readonly prefix: string;
  readonly products: Queue;
  readonly results: Queue;
  readonly redis: Redis;
  close(): Promise<void>;
}

export function openQueues(redisUrl: string): Queues {
  const prefix = uniquePrefix();
  const redis = new Redis(redisUrl, { maxRetriesPerRequest: null });
  // A test that stops Redis expects it to be away.
  redis.on('error', () => undefined);
  const [products, results] = [PRODUCT_QUEUE, RESULT_QUEUE].map((name) =>
    new Queue(name, { connection: redis, prefix }).on('error', () => undefined),
  );
  return {
    env: { REDIS_URL: redisUrl, QUEUE_PREFIX: prefix },
    prefix,
    products,
    results,
    redis,
    async close() {
      await Promise.all([products.close(), results.close()]);
      redis.disconnect();
    },
  };
}

export const TEST_MODEL = { version: 'v1', sha256: 'a'.repeat(64) };

/** Puts a result on the results queue, as a worker would for the job of that id. @returns the id of the result job */
export async function addResult(
  results: Queue,
  result: { readonly jobId: string; readonly runId?: string; readonly products: readonly ProductOutcome[] },
): Promise<string> {
  const { jobId, runId, products } = result;
  const data: CategoriesResultData = { results: [...products], model: TEST_MODEL, runId, jobId };
  await results.add(CATEGORIES_RESULT, data, { jobId: `r-${jobId}` });
  return `r-${jobId}`;
}

export function categorized(productId: string, categoryCode = 'AUTOPECAS', confidence = 0.5): ProductOutcome {
  return { productId, categoryCode, confidence };
}

/** Fails all jobs that wait, each with the code that is said of it, as a worker does with what cannot be tried again. */
export async function failWaitingJobs({ products, redis, prefix }: Queues, codeOf: (jobId: string) => string) {
  const waiting = await products.getWaitingCount();
  const before = await products.getFailedCount();
  const connection = redis.duplicate();
  const worker = new Worker(
    products.name,
    async ({ id }) => {
      throw new UnrecoverableError(failedReasonOf(codeOf(id ?? ''), 'a sentence'));
    },
    { connection, prefix },
  );
  await vi.waitFor(
    async () => {
      const failed = (await products.getFailedCount()) - before;
      if (failed < waiting) throw new Error(`${failed} of ${waiting} jobs have failed`);
    },
    { timeout: 120_000, interval: 20 },
  );
  await worker.close();
  connection.disconnect();
}
