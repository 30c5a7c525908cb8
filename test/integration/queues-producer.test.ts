import { Queue, UnrecoverableError, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { connectOrFail } from '../../src/adapters/bullmq/connection.ts';
import { createImportRecords } from '../../src/adapters/bullmq/import-records.ts';
import { createPayloads } from '../../src/adapters/bullmq/payloads.ts';
import { createProductQueue } from '../../src/adapters/bullmq/product-queue.ts';
import type { EnqueueTracer } from '../../src/application/ports.ts';
import {
  chunkJobId,
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
const TOTALS = { jobs: 1, products: 2, rejected: 0, rejectedByCode: {}, skipped: 0 };

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
  const imports = createImportRecords({ connection, prefix });
  const products = createProductQueue({ connection, prefix, payloads, imports, tracer });
  onTestFinished(async () => {
    await products.close();
    connection.disconnect();
  });
  return { products, connection, payloads, imports };
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
    expect((await products.begin('run-1', 'a1')).stateOf(0)).toBeUndefined();
    expect(await queue.getWaitingCount()).toBe(0);
  });
});

describe('the record of a run', () => {
  it('has an entry for each chunk, which two producers of it share', async () => {
    const [first, second] = [await open(), await open()];
    for (const number of [0, 8, 9]) await first.products.enqueue(someChunk(number));
    await second.products.enqueue(someChunk(15));
    const { stateOf } = await second.products.begin('run-1', 'a1');
    const sent = Array.from({ length: 100 }, (_, i) => i).filter((number) => stateOf(number) === 'waiting');
    expect(sent).toEqual([0, 8, 9, 15]);
  });

  it('is listed where a person can run it again, the newest first, and no longer when it was withdrawn', async () => {
    const { products, imports } = await open();
    for (const runId of ['first', 'second', 'third']) await products.begin(runId, 'a1', `categorizer enqueue ${runId}`);
    await products.begin('first', 'a1', 'categorizer run again');
    await products.begin('night', 'a1');
    await products.withdraw('third');
    expect((await imports.latest(10)).toSorted()).toEqual(['first', 'second']);
    expect(await imports.latest(1)).toHaveLength(1);
    expect((await imports.find('first'))?.command).toBe('categorizer run again');
    expect(await imports.find('third')).toBeUndefined();
  });

  it('says what its input was, since when, and how large it is once all of it was sent', async () => {
    const { products, imports } = await open();
    const before = new Date().toISOString();
    await products.begin('run-1', 'a1b2-1000');
    const { fingerprint, startedAt, ...rest } = await redis.hgetall(`${prefix}:run:run-1`);
    expect({ fingerprint, rest }).toEqual({ fingerprint: 'a1b2-1000', rest: {} });
    expect(startedAt >= before && startedAt <= new Date().toISOString()).toBe(true);
    await products.begin('run-1', 'a1b2-1000');
    const totals = { jobs: 3, products: 2500, rejected: 7, rejectedByCode: { WRONG_WIDTH: 7 }, skipped: 4 };
    await products.finish('run-1', totals);
    expect(await imports.find('run-1')).toEqual({ runId: 'run-1', startedAt: new Date(startedAt), totals });
  });

  it('is kept for a month after the last change', async () => {
    const { products } = await open();
    const keys = [`${prefix}:run:run-1`, `${prefix}:chunks:run-1`];
    const change = async (act: () => Promise<unknown>, changed: readonly string[]) => {
      for (const key of keys) await redis.expire(key, 10);
      await act();
      for (const key of changed) expect(await redis.ttl(key), key).toBeGreaterThan(MONTH_SECONDS - 60);
    };
    await change(() => products.begin('run-1', 'a1'), [keys[0]]);
    await change(() => products.enqueue(someChunk(0)), [keys[1]]);
    await change(() => products.finish('run-1', TOTALS), [keys[0]]);
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

describe('a chunk that is lost', () => {
  it('is found among many, is sent under the next id, and the failed job and its payload go', async () => {
    const { products, imports } = await open();
    await products.begin('run-1', 'a1');
    for (let number = 0; number < 5; number++) await products.enqueue(someChunk(number));
    for (let number = 0; number < 3; number++) await failNext('REDIS_REFUSED');
    await queue.remove('run-1-4');
    const { lost } = await products.begin('run-1', 'a1');
    expect(lost).toEqual([0, 1, 2, 4]);
    await products.clear('run-1', lost);
    expect(await queue.getFailedCount()).toBe(0);
    for (const number of lost) await products.enqueue(someChunk(number));
    expect((await queue.getWaiting()).map(({ id }) => id).toSorted()).toEqual([
      'run-1-0.1',
      'run-1-1.1',
      'run-1-2.1',
      'run-1-3',
      'run-1-4.1',
    ]);
    expect(await productsOf('run-1-2.1')).toEqual({ ids: ['P2-0', 'P2-1'], values: [2, 0, 2, 1] });
    expect((await payloadKeys()).filter((key) => key.includes(':run-1-0:'))).toEqual([]);
    expect((await imports.chunks('run-1', [0, 3, 4])).map(({ state }) => state)).toEqual([
      'waiting',
      'waiting',
      'waiting',
    ]);
  });

  it('is one whose job completed long ago and whose result is gone', async () => {
    const { products, imports } = await open();
    await products.enqueue(someChunk(0));
    await completeNext();
    await redis.del(`${prefix}:chunks:run-1`);
    await products.enqueue(someChunk(0));
    expect((await queue.getWaiting()).map(({ id }) => id)).toEqual(['run-1-0.1']);
    expect((await imports.chunks('run-1', [0]))[0]).toMatchObject({ state: 'waiting', products: 2 });
  });
});

describe('ids that jobs of others hold', () => {
  it('are left to them, whatever is in those jobs, and the chunks are sent under the next', async () => {
    const { products } = await open();
    const foreign = [
      { runId: 'run-1', products: [{ productId: 'X', features: [1, 2] }] },
      'text',
      { count: 2, width: 2, payload: 'elsewhere', bytes: 1, crc32: 7 },
      { text: 'x'.repeat(100_000) },
    ];
    for (const [i, data] of foreign.entries()) await queue.add('products', data, { jobId: `run-1-${i}` });
    await queue.add('products', {}, { jobId: 'run-1-1.1' });
    await products.begin('run-1', 'a1');
    for (let number = 0; number < 4; number++) await products.enqueue(someChunk(number));
    for (const id of ['run-1-0.1', 'run-1-1.2', 'run-1-2.1', 'run-1-3.1']) {
      expect((await productsOf(id)).ids, id).toHaveLength(2);
    }
    expect((await queue.getJob('run-1-0'))?.data).toEqual(foreign[0]);
    const { stateOf, lost } = await products.begin('run-1', 'a1');
    expect([0, 1, 2, 3].map(stateOf)).toEqual(Array(4).fill('waiting'));
    expect(lost).toEqual([]);
  });

  it('are a conflict where too many are taken, and nothing counts as sent', async () => {
    const { products } = await open();
    await queue.addBulk(
      Array.from({ length: 100 }, (_, attempt) => ({
        name: 'products',
        data: {},
        opts: { jobId: chunkJobId('run-1', 0, attempt) },
      })),
    );
    await products.begin('run-1', 'a1');
    await expect(products.enqueue(someChunk(0))).rejects.toMatchObject({ code: 'RUN_CONFLICT', retryable: false });
    expect((await products.begin('run-1', 'a1')).stateOf(0)).toBeUndefined();
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
    await expect(products.finish('run-1', TOTALS)).rejects.toMatchObject(gone);
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
    await expect(products.finish('run-1', TOTALS)).rejects.toMatchObject(refused);
    await connection.config('SET', 'maxmemory', '0');
    await products.enqueue(someChunk(1));
    expect(await products.pendingJobs()).toBe(2);
    expect((await products.begin('run-1', 'a1')).totals).toBeUndefined();
  });
});
