import { type Job, type JobsOptions, Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, inject, onTestFinished } from 'vitest';
import { connectPatiently } from '../../src/adapters/bullmq/connection.ts';
import { createPayloads, type Payloads } from '../../src/adapters/bullmq/payloads.ts';
import { createProductWorker } from '../../src/adapters/bullmq/product-worker.ts';
import type { CategorizeJob } from '../../src/application/categorize-job.ts';
import { PACKED_PRODUCTS_JOB, PRODUCT_JOB, PRODUCT_QUEUE, packProducts, payloadKey } from '../../src/contract/index.ts';
import type { ModelInfo } from '../../src/domain/category.ts';
import type { ProductTable } from '../../src/domain/product.ts';
import { createFakeJobObserver, createFakeLogger } from './fake-observers.ts';
import { FAKE_MODEL } from './fake-predictor.ts';
import { numberedProducts } from './fake-product-source.ts';
import { uniquePrefix } from './products.ts';

export const PRODUCT = { productId: 'P1', features: [1, 2] };

interface PackedOptions {
  readonly products?: ProductTable;
  readonly jobId?: string;
  readonly options?: JobsOptions;
  /** What the job says instead of what is so. */
  readonly says?: object;
}

interface WorkerOptions {
  readonly categorizeJob?: CategorizeJob;
  readonly concurrency?: number;
  readonly maxProducts?: number;
  readonly lockMs?: number;
  readonly model?: Pick<ModelInfo, 'space' | 'width'>;
  readonly mismatchTimeoutMs?: number;
  readonly payloads?: Partial<Payloads>;
  /** Another Redis than that of the tests. */
  readonly url?: string;
}

/** Gives each test of a file an input queue of its own in the real Redis, and the real worker with fakes around it. */
export function useWorkerSetting() {
  let prefix: string;
  let redis: Redis;
  let queue: Queue;
  beforeEach(() => {
    prefix = uniquePrefix();
    redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
    queue = new Queue(PRODUCT_QUEUE, { connection: redis, prefix });
    return async () => {
      await queue.close();
      redis.disconnect();
    };
  });

  return {
    prefix: () => prefix,
    redis: () => redis,
    queue: () => queue,

    makeWorker({ url = inject('redisUrl'), payloads, ...options }: WorkerOptions = {}) {
      const observer = createFakeJobObserver();
      const logger = createFakeLogger();
      const connection = connectPatiently(url, logger);
      const worker = createProductWorker({
        connection,
        prefix,
        concurrency: 8,
        maxProducts: 1000,
        lockMs: 30_000,
        model: FAKE_MODEL,
        mismatchTimeoutMs: 3_600_000,
        categorizeJob: async () => undefined,
        payloads: { ...createPayloads({ connection, prefix, ttlHours: 1 }), ...payloads },
        observer,
        logger,
        ...options,
      });
      onTestFinished(async () => {
        await worker.close();
        connection.disconnect();
      });
      /** Everything that the worker sent to Redis so far was done. */
      const untilSent = async () => void (await connection.ping());
      return { worker, observer, logger, untilSent };
    },

    /** @returns its id */
    async addProduct(options: JobsOptions = {}, data: unknown = PRODUCT, name: string = PRODUCT_JOB): Promise<string> {
      const job = await queue.add(name, data, options);
      return job.id ?? '';
    },

    /** A packed chunk, as a producer sends it. @returns the id of the job and the key of its payload */
    async addPacked({ products = numberedProducts(0, 3), jobId = 'run-1-0', options, says }: PackedOptions = {}) {
      const { payload, ...announced } = packProducts(products);
      const key = payloadKey(prefix, jobId, announced.crc32);
      await redis.set(key, payload);
      const data = { ...announced, payload: key, width: products.features.width, runId: 'run-1', ...says };
      await queue.add(PACKED_PRODUCTS_JOB, data, { jobId, ...options });
      return { id: jobId, key };
    },

    /** The job as it is in Redis now. */
    async stored(id: string): Promise<Job> {
      const job = await queue.getJob(id);
      if (!job) throw new Error(`no job ${id}`);
      return job;
    },

    /** Time for a worker to take more jobs, if it wants to: it needs a round trip for each. */
    async manyRoundTrips(): Promise<void> {
      for (let i = 0; i < 100; i++) await redis.ping();
    },
  };
}
