import { Queue, UnrecoverableError, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { connectOrFail } from '../../src/adapters/bullmq/connection.ts';
import { createImportRecords } from '../../src/adapters/bullmq/import-records.ts';
import { createPayloads } from '../../src/adapters/bullmq/payloads.ts';
import { createProductQueue } from '../../src/adapters/bullmq/product-queue.ts';
import { createRunChunks } from '../../src/adapters/bullmq/run-chunks.ts';
import {
  chunkJobId,
  PACKED_CATEGORIES_RESULT,
  PRODUCT_QUEUE,
  packIds,
  packOutcomes,
  payloadKey,
  RESULT_QUEUE,
  resultIdOf,
} from '../../src/contract/index.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { numberedProducts } from '../support/fake-product-source.ts';
import { uniquePrefix } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

const RUN = 'night-1';
const MODEL = { version: '7', sha256: 'f'.repeat(64) };
const REJECT = { row: 1, code: 'PREDICTION_FAILED' as const, message: 'the output is not finite' };

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
    await Promise.all([products.close(), results.close()]);
    redis.disconnect();
  };
});

function open(connection = redis) {
  const payloads = createPayloads({ connection, prefix, ttlHours: 1 });
  const imports = createImportRecords({ connection, prefix });
  const chunks = createRunChunks({ connection, prefix, payloads, imports });
  onTestFinished(chunks.close);
  return chunks;
}

/** As a run sends its chunks. */
async function send(number: number): Promise<void> {
  const payloads = createPayloads({ connection: redis, prefix, ttlHours: 1 });
  const imports = createImportRecords({ connection: redis, prefix });
  const queue = createProductQueue({
    ...{ connection: redis, prefix, payloads, imports },
    tracer: { enqueue: (_queue, _jobs, enqueue) => enqueue(undefined) },
  });
  await queue.enqueue({ number, runId: RUN, products: numberedProducts(0, 3) });
  await queue.close();
}

/** Takes the next chunk as a worker does. */
async function take() {
  const worker = new Worker(PRODUCT_QUEUE, null, { connection: redis, prefix });
  onTestFinished(() => worker.close());
  const job = await worker.getNextJob('token');
  if (!job) throw new Error('there is no chunk');
  return job;
}

async function complete(): Promise<void> {
  await (await take()).moveToCompleted(null, 'token', false);
}

async function fail(reason: string): Promise<void> {
  await (await take()).moveToFailed(new UnrecoverableError(reason), 'token', false);
}

/** As a worker publishes the result of a chunk. @returns the key of its payload */
async function publish(number: number, says: object = {}): Promise<string> {
  const resultId = resultIdOf(chunkJobId(RUN, number), 0);
  const { payload, ...announced } = packOutcomes({
    ids: packIds(['P0', 'P1', 'P2']),
    categoryIndexes: Uint16Array.of(1, NO_CATEGORY, 0),
    confidences: Float32Array.of(0.75, Number.NaN, 0.5),
  });
  const key = payloadKey(prefix, resultId, announced.crc32);
  await redis.set(key, payload);
  const origin = { model: MODEL, runId: RUN, jobId: chunkJobId(RUN, number) };
  const data = { ...announced, payload: key, categories: ['A', 'B'], rejects: [REJECT], ...origin, ...says };
  await results.add(PACKED_CATEGORIES_RESULT, data, { jobId: resultId });
  return key;
}

/** Sends a chunk, and does what a worker does with it. */
async function done(number: number, says: object = {}): Promise<void> {
  await send(number);
  await publish(number, says);
  await complete();
}

describe('a chunk', () => {
  it('that waits is pending', async () => {
    await send(0);
    expect(await open().outcome(RUN, 0)).toEqual({ state: 'pending' });
  });

  it('that a worker has is pending, also when its result is there: the job completes after that', async () => {
    await send(0);
    await take();
    await publish(0);
    expect(await open().outcome(RUN, 0)).toEqual({ state: 'pending' });
  });

  it('that waits for another try is pending', async () => {
    await send(0);
    const job = await take();
    await job.moveToFailed(new Error('REDIS_UNAVAILABLE: away'), 'token', false);
    expect(await job.getState()).toBe('delayed');
    expect(await open().outcome(RUN, 0)).toEqual({ state: 'pending' });
  });

  it('that is done is categorized, with the model that was used', async () => {
    await send(0);
    await publish(0);
    await complete();
    const outcome = await open().outcome(RUN, 0);
    expect(outcome).toMatchObject({ state: 'categorized', model: MODEL });
    if (outcome.state !== 'categorized') throw new Error('it is not categorized');
    expect(outcome.result).toMatchObject({ runId: RUN, jobId: 'night-1-0', resultId: 'r-night-1-0' });
    const { rows, categories, categoryIndexes, confidences, rejects } = outcome.result.products;
    expect({ rows, categories, rejects }).toEqual({ rows: 3, categories: ['A', 'B'], rejects: [REJECT] });
    expect([...categoryIndexes]).toEqual([1, NO_CATEGORY, 0]);
    expect([...confidences]).toEqual([0.75, Number.NaN, 0.5]);
  });

  it('that is done is categorized though its job is gone: the result is what counts', async () => {
    await send(0);
    await publish(0);
    await products.remove('night-1-0');
    expect(await open().outcome(RUN, 0)).toMatchObject({ state: 'categorized' });
  });

  it('is read as often as it is asked for', async () => {
    await done(0);
    const chunks = open();
    expect(await chunks.outcome(RUN, 0)).toEqual(await chunks.outcome(RUN, 0));
  });

  it.each([
    { reason: 'PREDICTOR_UNAVAILABLE: the predictor was closed', code: 'PREDICTOR_UNAVAILABLE' },
    { reason: 'job stalled more than allowable limit', code: 'STALLED' },
    { reason: 'something else', code: 'UNKNOWN' },
  ])('that failed for good says why: $reason', async ({ reason, code }) => {
    await send(0);
    await fail(reason);
    const outcome = await open().outcome(RUN, 0);
    expect(outcome).toEqual({ state: 'failed', code, message: expect.any(String) });
    expect(reason).toContain(outcome.state === 'failed' ? outcome.message : 'it did not fail');
  });

  it('that failed after its result was there is categorized', async () => {
    await send(0);
    await publish(0);
    await fail('REDIS_UNAVAILABLE: away');
    expect(await open().outcome(RUN, 0)).toMatchObject({ state: 'categorized' });
  });

  it('whose payload was gone when a worker came to it is lost: sent again it can be done', async () => {
    await send(0);
    await fail('PAYLOAD_MISSING: there is no payload');
    expect(await open().outcome(RUN, 0)).toEqual({ state: 'lost' });
  });

  it('whose result was collected by somebody else is lost', async () => {
    await send(0);
    await publish(0);
    await complete();
    await results.remove('r-night-1-0');
    expect(await open().outcome(RUN, 0)).toEqual({ state: 'lost' });
  });

  it('whose result has no payload any more is lost', async () => {
    await send(0);
    const key = await publish(0);
    await complete();
    await redis.del(key);
    expect(await open().outcome(RUN, 0)).toEqual({ state: 'lost' });
  });

  it.each([
    { title: 'is damaged', says: { crc32: 7 } },
    { title: 'has indexes of no category', says: { categories: ['A'] } },
    { title: 'is none', says: { count: 'three' } },
  ])('whose result $title is lost', async ({ says }) => {
    await done(0, says);
    expect(await open().outcome(RUN, 0)).toEqual({ state: 'lost' });
  });

  it('of which there is a result though it was never sent is lost: somebody else put it there', async () => {
    await publish(0);
    expect(await open().outcome(RUN, 0)).toEqual({ state: 'lost' });
  });

  it('of which nothing is there is lost', async () => {
    expect(await open().outcome(RUN, 0)).toEqual({ state: 'lost' });
  });

  it('is not taken for another whose number begins the same, or whose run does', async () => {
    await done(10);
    await send(1);
    const chunks = open();
    expect(await chunks.outcome(RUN, 1)).toEqual({ state: 'pending' });
    expect(await chunks.outcome(RUN, 10)).toMatchObject({ state: 'categorized' });
    expect(await chunks.outcome('night', 10)).toEqual({ state: 'lost' });
    expect(await chunks.outcome('night-1-1', 0)).toEqual({ state: 'lost' });
  });

  it('is neither done nor lost while Redis is away: that is an outage, and worth another try', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const connection = await connectOrFail(server.url, new AbortController().signal);
    onTestFinished(() => connection.disconnect());
    const chunks = open(connection);
    await server.stop();
    await expect(chunks.outcome(RUN, 0)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE', retryable: true });
  });
});

describe('results that are removed', () => {
  it('are gone with their payloads, and others stay', async () => {
    const keys = [];
    for (const number of [0, 1, 2]) keys.push(await publish(number));
    const chunks = open();
    await chunks.removeResults(RUN, [0, 2]);
    expect(await results.getJobs()).toMatchObject([{ id: 'r-night-1-1' }]);
    expect(await redis.exists(keys[0], keys[2])).toBe(0);
    expect(await redis.exists(keys[1])).toBe(1);
    expect(await chunks.outcome(RUN, 0)).toEqual({ state: 'lost' });
  });

  it('may be gone already, be damaged, or have a payload that is none', async () => {
    await publish(0, { crc32: 7 });
    await publish(1, { payload: 7 });
    const foreign = `${prefix}:${PRODUCT_QUEUE}:meta`;
    await publish(2, { payload: foreign });
    await redis.hset(foreign, 'a', 'b');
    const chunks = open();
    for (let i = 0; i < 2; i++) await chunks.removeResults(RUN, [0, 1, 2, 3]);
    expect(await results.getJobs()).toEqual([]);
    expect(await redis.exists(foreign)).toBe(1);
  });

  it('of no chunks are none', async () => {
    await publish(0);
    await open().removeResults(RUN, []);
    expect(await results.getJobs()).toHaveLength(1);
  });
});
