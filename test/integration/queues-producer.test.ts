import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { connectOrFail } from '../../src/adapters/bullmq/connection.ts';
import { createProductQueue } from '../../src/adapters/bullmq/product-queue.ts';
import type { EnqueueTracer } from '../../src/application/ports.ts';
import { JOB_OPTIONS, PRODUCT_JOB, PRODUCT_QUEUE, PRODUCTS_JOB, SCHEMAS } from '../../src/contract/index.ts';
import { describeProductQueue, someChunk } from '../support/fake-product-queue-suite.ts';
import { uniquePrefix } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

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

const untraced: EnqueueTracer = { enqueue: (_queue, _jobs, send) => send(undefined) };

async function open({ url = inject('redisUrl'), tracer = untraced } = {}) {
  const connection = await connectOrFail(url, new AbortController().signal);
  const products = createProductQueue({ connection, prefix, tracer });
  onTestFinished(async () => {
    await products.close();
    connection.disconnect();
  });
  return { products, connection };
}

describeProductQueue('the input queue in Redis', async () => {
  const { products } = await open();
  const sent = async () => {
    const jobs = await queue.getJobs(['waiting'], 0, -1, true);
    return jobs.map(({ data }) => {
      const list: { productId: string }[] = data.products ?? [data];
      return `${data.runId}: ${list.map(({ productId }) => productId).join(' ')}`;
    });
  };
  return { queue: products, sent };
});

describe('a chunk', () => {
  it('of several products is a job with a list of them, under an id made of the run and its number', async () => {
    const { products } = await open();
    await products.enqueue([someChunk(0), someChunk(1)]);
    const job = await queue.getJob('run-1-1');
    expect(job).toMatchObject({ name: PRODUCTS_JOB, data: { products: someChunk(1).products, runId: 'run-1' } });
    expect(SCHEMAS.products.parse(job?.data)).toEqual(job?.data);
    expect(await queue.getWaitingCount()).toBe(2);
  });

  it('of one product is a job of that product', async () => {
    const { products } = await open();
    await products.enqueue([someChunk(0, 1)]);
    const job = await queue.getJob('run-1-0');
    expect(job).toMatchObject({ name: PRODUCT_JOB, data: { productId: 'P0-0', features: [0, 0], runId: 'run-1' } });
    expect(SCHEMAS.product.parse(job?.data)).toEqual(job?.data);
  });

  it('asks for the attempts and pauses that the contract promises', async () => {
    const { products } = await open();
    await products.enqueue([someChunk(0)]);
    expect((await queue.getJob('run-1-0'))?.opts).toMatchObject({
      attempts: JOB_OPTIONS.attempts,
      backoff: JOB_OPTIONS.backoff,
      removeOnFail: false,
    });
  });

  it('that two producers send is on the queue once', async () => {
    const [first, second] = [await open(), await open()];
    await Promise.all([
      first.products.enqueue([someChunk(0), someChunk(1), someChunk(2)]),
      second.products.enqueue([someChunk(2), someChunk(0)]),
    ]);
    expect(await queue.getWaitingCount()).toBe(3);
  });
});

describe('the queue', () => {
  it('says how many jobs no worker has taken yet', async () => {
    const { products } = await open();
    expect(await products.waiting()).toBe(0);
    await products.enqueue(Array.from({ length: 700 }, (_, i) => someChunk(i, 1)));
    expect(await products.waiting()).toBe(700);
  });
});

describe('a round trip', () => {
  it('is traced as one, and gives its trace context to each of its jobs', async () => {
    const calls: unknown[] = [];
    const trace = '{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}';
    const tracer: EnqueueTracer = {
      enqueue(name, jobs, send) {
        calls.push({ name, jobs });
        return send(trace);
      },
    };
    const { products } = await open({ tracer });
    await products.enqueue([someChunk(0), someChunk(1), someChunk(2)]);
    expect(calls).toEqual([{ name: PRODUCT_QUEUE, jobs: 3 }]);
    for (let i = 0; i < 3; i++) expect((await queue.getJob(`run-1-${i}`))?.opts.telemetry?.metadata).toBe(trace);
  });

  it('carries no trace context where nothing is traced', async () => {
    const { products } = await open();
    await products.enqueue([someChunk(0)]);
    expect((await queue.getJob('run-1-0'))?.opts.telemetry).toBeUndefined();
  });
});

describe('a producer', () => {
  it('is told at once that Redis went away', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const { products, connection } = await open({ url: server.url });
    await products.enqueue([someChunk(0)]);
    const closed = new Promise((resolve) => connection.once('close', resolve));
    await server.stop();
    await closed;
    const before = performance.now();
    await expect(products.enqueue([someChunk(1)])).rejects.toMatchObject({
      code: 'REDIS_UNAVAILABLE',
      retryable: true,
    });
    await expect(products.waiting()).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    expect(performance.now() - before).toBeLessThan(1000);
  });

  it('is told that Redis refused, where its memory is full', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const { products, connection } = await open({ url: server.url });
    await products.enqueue([someChunk(0)]);
    await connection.config('SET', 'maxmemory', '1');
    await expect(products.enqueue([someChunk(1), someChunk(2)])).rejects.toMatchObject({
      code: 'REDIS_REFUSED',
      message: expect.stringContaining('OOM'),
    });
    await connection.config('SET', 'maxmemory', '0');
    await products.enqueue([someChunk(1), someChunk(2)]);
    expect(await products.waiting()).toBe(3);
  });
});
