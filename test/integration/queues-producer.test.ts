import { Queue, UnrecoverableError, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { connectOrFail } from '../../src/adapters/bullmq/connection.ts';
import { createPayloads } from '../../src/adapters/bullmq/payloads.ts';
import { createProductQueue } from '../../src/adapters/bullmq/product-queue.ts';
import type { EnqueueTracer } from '../../src/application/ports.ts';
import {
  failedReasonOf,
  JOB_OPTIONS,
  PACKED_PRODUCTS_JOB,
  PRODUCT_QUEUE,
  payloadKey,
  SCHEMAS,
  unpackProducts,
} from '../../src/contract/index.ts';
import type { ErrorCode } from '../../src/domain/errors.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import { describeProductQueue, someChunk } from '../support/fake-product-queue-suite.ts';
import { uniquePrefix } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

const MONTH_SECONDS = 30 * 24 * 3600;

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

async function open({ url = inject('redisUrl'), tracer = untraced, ttlHours = 1 } = {}) {
  const connection = await connectOrFail(url, new AbortController().signal);
  const payloads = createPayloads({ connection, prefix, ttlHours });
  const products = createProductQueue({ connection, prefix, payloads, tracer });
  onTestFinished(async () => {
    await products.close();
    connection.disconnect();
  });
  return { products, connection, payloads };
}

/** Takes the oldest job and fails it for good. */
async function failNext(code: ErrorCode): Promise<void> {
  const worker = new Worker(PRODUCT_QUEUE, null, { connection: redis, prefix });
  const job = await worker.getNextJob('token');
  await job?.moveToFailed(new UnrecoverableError(failedReasonOf(code, 'as the test wants it')), 'token');
  await worker.close();
}

/** Takes the oldest job and completes it. */
async function completeNext(): Promise<void> {
  const worker = new Worker(PRODUCT_QUEUE, null, { connection: redis, prefix });
  const job = await worker.getNextJob('token');
  await job?.moveToCompleted(null, 'token', false);
  await worker.close();
}

/** What the payload of a job holds. */
async function productsOf(jobId: string) {
  const job = await queue.getJob(jobId);
  const data = SCHEMAS['products.packed'].parse(job?.data);
  const payload = await redis.getBuffer(data.payload);
  if (!payload) throw new Error(`no payload ${data.payload}`);
  const { ids, features } = unpackProducts(payload, data);
  return { ids: unpackIds(ids, features.rows), values: [...features.values] };
}

function payloadKeys(): Promise<string[]> {
  return redis.keys(`${prefix}:payload:*`);
}

describeProductQueue('the input queue in Redis', async () => {
  const { products } = await open();
  const sent = async () => {
    const jobs = await queue.getJobs(['waiting'], 0, -1, true);
    return Promise.all(
      jobs.map(async ({ id, data }) => `${data.runId}: ${(await productsOf(id ?? '')).ids.join(' ')}`),
    );
  };
  return { queue: products, sent, failNext };
});

describe('a chunk', () => {
  it('is a packed job under an id made of the run and its number, with its products in a payload beside it', async () => {
    const { products } = await open();
    await products.enqueue(someChunk(0));
    await products.enqueue(someChunk(1));
    const job = await queue.getJob('run-1-1');
    const { crc32 } = job?.data ?? {};
    expect(job).toMatchObject({
      name: PACKED_PRODUCTS_JOB,
      data: { count: 2, width: 2, payload: payloadKey(prefix, 'run-1-1', crc32), runId: 'run-1' },
    });
    expect(SCHEMAS['products.packed'].parse(job?.data)).toEqual(job?.data);
    expect(await productsOf('run-1-1')).toEqual({ ids: ['P1-0', 'P1-1'], values: [1, 0, 1, 1] });
    expect(await queue.getWaitingCount()).toBe(2);
  });

  it('of one product is a packed job too', async () => {
    const { products } = await open();
    await products.enqueue(someChunk(0, 1));
    expect((await queue.getJob('run-1-0'))?.name).toBe(PACKED_PRODUCTS_JOB);
    expect((await productsOf('run-1-0')).ids).toEqual(['P0-0']);
  });

  it('asks for the attempts and pauses that the contract promises', async () => {
    const { products } = await open();
    await products.enqueue(someChunk(0));
    expect((await queue.getJob('run-1-0'))?.opts).toMatchObject({
      attempts: JOB_OPTIONS.attempts,
      backoff: JOB_OPTIONS.backoff,
      removeOnFail: false,
    });
  });

  it('has its payload in Redis before its job, so that no worker finds a job without one', async () => {
    const { products, payloads } = await open();
    const jobsWhenWritten: number[] = [];
    const write = payloads.write;
    payloads.write = async (key, payload) => {
      await write(key, payload);
      jobsWhenWritten.push(await queue.getWaitingCount());
    };
    await products.enqueue(someChunk(0));
    await products.enqueue(someChunk(1));
    expect(jobsWhenWritten).toEqual([0, 1]);
  });

  it('has a payload that goes away by itself after the hours that were set', async () => {
    const { products } = await open({ ttlHours: 3 });
    await products.enqueue(someChunk(0));
    const [key] = await payloadKeys();
    const seconds = await redis.ttl(key);
    expect(seconds).toBeGreaterThan(3 * 3600 - 60);
    expect(seconds).toBeLessThanOrEqual(3 * 3600);
  });

  it('that two producers send is on the queue once, with one payload', async () => {
    const [first, second] = [await open(), await open()];
    await Promise.all([
      ...[0, 1, 2].map((number) => first.products.enqueue(someChunk(number))),
      ...[2, 0].map((number) => second.products.enqueue(someChunk(number))),
    ]);
    expect(await queue.getWaitingCount()).toBe(3);
    expect(await payloadKeys()).toHaveLength(3);
  });

  it('that was not sent is not remembered as sent', async () => {
    const { products, payloads } = await open();
    payloads.write = () => Promise.reject(new Error('killed'));
    await expect(products.enqueue(someChunk(0))).rejects.toThrow('killed');
    expect((await products.begin('run-1', 'a1')).has(0)).toBe(false);
    expect(await queue.getWaitingCount()).toBe(0);
  });
});

describe('the record of a run', () => {
  it('has a bit for each chunk, which two producers of it share', async () => {
    const [first, second] = [await open(), await open()];
    for (const number of [0, 8, 9]) await first.products.enqueue(someChunk(number));
    await second.products.enqueue(someChunk(15));
    expect(await redis.getBuffer(`${prefix}:sent:run-1`)).toEqual(Buffer.from([0b1000_0000, 0b1100_0001]));
    const { has } = await second.products.begin('run-1', 'a1');
    expect(Array.from({ length: 100 }, (_, i) => i).filter(has)).toEqual([0, 8, 9, 15]);
  });

  it('says what its input was, since when, and how large it is once all of it was sent', async () => {
    const { products } = await open();
    const before = new Date().toISOString();
    await products.begin('run-1', 'a1b2-1000');
    const { fingerprint, startedAt, ...rest } = await redis.hgetall(`${prefix}:run:run-1`);
    expect({ fingerprint, rest }).toEqual({ fingerprint: 'a1b2-1000', rest: {} });
    expect(startedAt >= before && startedAt <= new Date().toISOString()).toBe(true);
    await products.begin('run-1', 'a1b2-1000');
    await products.finish('run-1', { jobs: 3, products: 2500, rejected: 7 });
    expect(await redis.hgetall(`${prefix}:run:run-1`)).toEqual({
      fingerprint: 'a1b2-1000',
      startedAt,
      jobs: '3',
      products: '2500',
      rejected: '7',
    });
  });

  it('is kept for a month after the last change', async () => {
    const { products } = await open();
    const keys = [`${prefix}:run:run-1`, `${prefix}:sent:run-1`];
    const change = async (act: () => Promise<unknown>, changed: readonly string[]) => {
      for (const key of keys) await redis.expire(key, 10);
      await act();
      for (const key of changed) expect(await redis.ttl(key), key).toBeGreaterThan(MONTH_SECONDS - 60);
    };
    await change(() => products.begin('run-1', 'a1'), [keys[0]]);
    await change(() => products.enqueue(someChunk(0)), [keys[1]]);
    await change(() => products.finish('run-1', { jobs: 1, products: 2, rejected: 0 }), [keys[0]]);
  });

  it('of another input is told with when it was begun and what to do', async () => {
    const { products } = await open();
    await products.begin('run-1', 'a1b2-1000');
    const startedAt = await redis.hget(`${prefix}:run:run-1`, 'startedAt');
    await expect(products.begin('run-1', 'a1b2-500')).rejects.toMatchObject({
      code: 'RUN_CONFLICT',
      message: expect.stringMatching(new RegExp(`^run run-1 was begun ${startedAt} with another input.*--run$`)),
    });
    expect(await redis.hget(`${prefix}:run:run-1`, 'fingerprint')).toBe('a1b2-1000');
  });
});

describe('a chunk whose payload was lost', () => {
  it('is found among many that failed for other reasons, and is done when it was sent again', async () => {
    const { products } = await open();
    await products.begin('run-1', 'a1');
    for (let number = 0; number < 30; number++) await products.enqueue(someChunk(number));
    for (let number = 0; number < 30; number++) await failNext(number % 10 === 3 ? 'PAYLOAD_MISSING' : 'WRONG_WIDTH');
    const { has } = await products.begin('run-1', 'a1');
    expect(Array.from({ length: 30 }, (_, i) => i).filter((number) => !has(number))).toEqual([3, 13, 23]);
    expect(await queue.getFailedCount()).toBe(27);
    for (const number of [3, 13, 23]) await products.enqueue(someChunk(number));
    for (let i = 0; i < 3; i++) await completeNext();
    for (const number of [3, 13, 23]) expect(await queue.getJobState(`run-1-${number}`)).toBe('completed');
  });

  it('is not taken for that of a job that another program put on the queue', async () => {
    const { products } = await open();
    await queue.add(PACKED_PRODUCTS_JOB, {}, { jobId: 'run-1-x7' });
    await failNext('PAYLOAD_MISSING');
    const { totals } = await products.begin('run-1', 'a1');
    expect(totals).toBeUndefined();
    expect(await queue.getFailedCount()).toBe(1);
  });
});

describe('the queue', () => {
  it('says how many jobs are not finished: those that wait, are in work or are to be tried again', async () => {
    const { products } = await open();
    for (let number = 0; number < 4; number++) await products.enqueue(someChunk(number));
    await queue.add(PACKED_PRODUCTS_JOB, {}, { delay: 3_600_000 });
    await queue.add(PACKED_PRODUCTS_JOB, {}, { priority: 5 });
    expect(await products.pendingJobs()).toBe(6);
    await completeNext();
    await failNext('WRONG_WIDTH');
    expect(await products.pendingJobs()).toBe(4);
    const worker = new Worker(PRODUCT_QUEUE, null, { connection: redis, prefix });
    await worker.getNextJob('token');
    expect(await products.pendingJobs(), 'one of them in work').toBe(4);
    await worker.close();
  });
});

describe('the sending of a chunk', () => {
  it('is traced, and gives its trace context to its job', async () => {
    const calls: unknown[] = [];
    const trace = '{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}';
    const tracer: EnqueueTracer = {
      enqueue(name, jobs, send) {
        calls.push({ name, jobs });
        return send(trace);
      },
    };
    const { products } = await open({ tracer });
    for (let number = 0; number < 3; number++) await products.enqueue(someChunk(number));
    expect(calls).toEqual(Array(3).fill({ name: PRODUCT_QUEUE, jobs: 1 }));
    for (let i = 0; i < 3; i++) expect((await queue.getJob(`run-1-${i}`))?.opts.telemetry?.metadata).toBe(trace);
  });

  it('carries no trace context where nothing is traced', async () => {
    const { products } = await open();
    await products.enqueue(someChunk(0));
    expect((await queue.getJob('run-1-0'))?.opts.telemetry).toBeUndefined();
  });
});

describe('a producer', () => {
  it('is told at once that Redis went away', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const { products, connection } = await open({ url: server.url });
    await products.enqueue(someChunk(0));
    const closed = new Promise((resolve) => connection.once('close', resolve));
    await server.stop();
    await closed;
    const before = performance.now();
    const gone = { code: 'REDIS_UNAVAILABLE', retryable: true };
    await expect(products.begin('run-1', 'a1')).rejects.toMatchObject(gone);
    await expect(products.enqueue(someChunk(1))).rejects.toMatchObject(gone);
    await expect(products.pendingJobs()).rejects.toMatchObject(gone);
    await expect(products.finish('run-1', { jobs: 1, products: 2, rejected: 0 })).rejects.toMatchObject(gone);
    expect(performance.now() - before).toBeLessThan(1000);
  });

  it('is told that Redis refused, where its memory is full', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const { products, connection } = await open({ url: server.url });
    await products.enqueue(someChunk(0));
    await connection.config('SET', 'maxmemory', '1');
    const refused = { code: 'REDIS_REFUSED', retryable: true, message: expect.stringContaining('OOM') };
    await expect(products.begin('run-1', 'a1')).rejects.toMatchObject(refused);
    await expect(products.enqueue(someChunk(1))).rejects.toMatchObject(refused);
    await expect(products.finish('run-1', { jobs: 1, products: 2, rejected: 0 })).rejects.toMatchObject(refused);
    await connection.config('SET', 'maxmemory', '0');
    await products.enqueue(someChunk(1));
    expect(await products.pendingJobs()).toBe(2);
    expect((await products.begin('run-1', 'a1')).totals).toBeUndefined();
  });
});
