import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type Job, Queue } from 'bullmq';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { connectPatiently } from '../../src/adapters/bullmq/connection.ts';
import { createPayloads } from '../../src/adapters/bullmq/payloads.ts';
import { createResultPublisher } from '../../src/adapters/bullmq/result-publisher.ts';
import { createCategorizeProducts } from '../../src/application/categorize-products.ts';
import { createMicroBatcher } from '../../src/application/micro-batcher.ts';
import type { BatchObservation, JobContent, JobResult, ProductJob } from '../../src/application/ports.ts';
import { systemClock } from '../../src/composition.ts';
import {
  CATEGORIES_RESULT,
  CATEGORY_RESULT,
  PACKED_CATEGORIES_RESULT,
  PRODUCT_JOB,
  PRODUCT_QUEUE,
  packIds,
  payloadKey,
  RESULT_QUEUE,
  SCHEMAS,
  unpackOutcomes,
} from '../../src/contract/index.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { checkPackedProducts, unpackIds } from '../../src/domain/packed-products.ts';
import { type ProductTable, readProducts } from '../../src/domain/product.ts';
import { createFakeBatchObservation, createFakeLogger } from '../support/fake-observers.ts';
import {
  confidenceOf,
  createFakePredictor,
  FAKE_MODEL,
  fakeFeatures,
  type RowKind,
} from '../support/fake-predictor.ts';
import { type Json, nearlyValid, throughJson } from '../support/fake-wire-data.ts';
import { uniquePrefix } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

let prefix: string;
let redis: Redis;
let queue: Queue;
beforeEach(() => {
  prefix = uniquePrefix();
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  queue = new Queue(RESULT_QUEUE, { connection: redis, prefix });
  return async () => {
    await queue.close();
    redis.disconnect();
  };
});

function makePublisher(url = inject('redisUrl'), ttlHours = 1) {
  const logger = createFakeLogger();
  const connection = connectPatiently(url, logger);
  const payloads = createPayloads({ connection, prefix, ttlHours });
  const publisher = createResultPublisher({ connection, prefix, payloads, logger });
  onTestFinished(async () => {
    await publisher.close();
    connection.disconnect();
  });
  return { publisher, logger, payloads };
}

const predictor = createFakePredictor({ clock: systemClock });

interface Categorized extends Partial<Omit<ProductJob, 'content'>> {
  readonly form?: 'one' | 'chunk';
  readonly products: readonly unknown[];
}

/** What categorizing these products gives; the fake model has two features and the categories A, B and C. */
function resultOf({ form = 'chunk', products, ...job }: Categorized, batch?: BatchObservation): Promise<JobResult> {
  return categorized({ form, products }, job, batch);
}

/** The same of a packed job. */
function packedResultOf(products: ProductTable, job: Partial<ProductJob> = {}, batch?: BatchObservation) {
  return categorized({ form: 'packed', products }, job, batch);
}

async function categorized(
  content: JobContent,
  job: Partial<ProductJob>,
  batch: BatchObservation = createFakeBatchObservation(),
): Promise<JobResult> {
  const batcher = createMicroBatcher({
    predictor,
    observer: { started: () => batch },
    clock: systemClock,
    maxRows: 4096,
    maxWaitMs: 0,
  });
  const categorize = createCategorizeProducts({
    batcher,
    observer: { products: () => undefined, outside: () => undefined },
    model: FAKE_MODEL,
  });
  const { width } = FAKE_MODEL;
  const products =
    content.form === 'packed' ? checkPackedProducts(content.products, width) : readProducts(content.products, width);
  return {
    job: { id: 'job', enqueuedAt: 1000, stalledBefore: false, ...job, content },
    model: FAKE_MODEL,
    categorization: await categorize(products),
  };
}

/** Good products of these numbers, packed. */
function table(...numbers: readonly number[]): ProductTable {
  return { ids: packIds(numbers.map((number) => `P${number}`)), features: fakeFeatures(numbers.map((id) => ({ id }))) };
}

const product = (id: number) => ({ productId: `P${id}`, features: [id, 0] });

/** Every result on the queue, oldest first. */
function published(): Promise<Job[]> {
  return queue.getJobs(['waiting'], 0, -1, true);
}

describe('the result of one product', () => {
  it('is its category with all probabilities, the model, the run and the input job', async () => {
    const { publisher } = makePublisher();
    await publisher.publish(await resultOf({ id: 'run-1-0', form: 'one', products: [product(7)], runId: 'run-1' }));
    const [{ id, name, data }] = await published();
    expect(id).toBe('r-run-1-0');
    expect(name).toBe(CATEGORY_RESULT);
    expect(data).toMatchObject({
      productId: 'P7',
      category: { code: 'B', name: 'Category B' },
      confidence: Math.fround(1 / 9),
      model: { version: FAKE_MODEL.version, sha256: FAKE_MODEL.sha256 },
      runId: 'run-1',
      jobId: 'run-1-0',
    });
    const probabilities: number[] = data.probabilities;
    expect(probabilities.map((probability) => probability.toFixed(5))).toEqual(['0.44444', '0.11111', '0.44444']);
  });
});

describe('the result of a chunk', () => {
  it('has an outcome for each product, in their order, the rejects among them', async () => {
    const { publisher } = makePublisher();
    const products = [
      product(3),
      { productId: 'bad', features: [1] },
      product(2),
      null,
      { productId: '', features: [] },
    ];
    await publisher.publish(await resultOf({ id: 'run-1-7', products, runId: 'run-1' }));
    const [{ id, name, data }] = await published();
    expect(id).toBe('r-run-1-7');
    expect(name).toBe(CATEGORIES_RESULT);
    expect(data.results).toMatchObject([
      { productId: 'P3', categoryCode: 'A' },
      { productId: 'bad', reject: { code: 'WRONG_WIDTH', message: 'expected 2 features, got 1' } },
      { productId: 'P2', categoryCode: 'C' },
      { productId: null, reject: { code: 'INVALID_PRODUCT_ID' } },
      { productId: '', reject: { code: 'INVALID_PRODUCT_ID' } },
    ]);
    expect(data).toMatchObject({ model: { version: '1' }, runId: 'run-1', jobId: 'run-1-7' });
  });

  it('has no run where the job has none', async () => {
    const { publisher } = makePublisher();
    await publisher.publish(await resultOf({ products: [product(1)] }));
    const [{ data }] = await published();
    expect(data).not.toHaveProperty('runId');
  });

  it('with an id that is too long names as much of it as an id may have, in whole characters', async () => {
    const { publisher } = makePublisher();
    await publisher.publish(await resultOf({ products: [{ productId: `a${'🔩'.repeat(5000)}`, features: [1, 0] }] }));
    const [{ data }] = await published();
    expect(data.results[0].productId).toBe(`a${'🔩'.repeat(199)}`);
  });

  it('keeps an id of 200 characters whole where it is rejected for something else', async () => {
    const { publisher } = makePublisher();
    const productId = '🔩'.repeat(200);
    await publisher.publish(await resultOf({ products: [{ productId, features: [1] }] }));
    const [{ data }] = await published();
    expect(data.results[0].productId).toBe(productId);
  });
});

describe('the result of a packed chunk', () => {
  /** The only result, with what its payload holds. */
  async function publishedOutcomes() {
    const [job] = await published();
    const data = SCHEMAS['categories.packed'].parse(job.data);
    expect(data).toEqual(job.data);
    const payload = (await redis.getBuffer(data.payload)) ?? Buffer.alloc(0);
    return { job, data, outcomes: unpackOutcomes(payload, data) };
  }

  it('has categories, confidences and ids in a payload, and the model, the run and the input job beside it', async () => {
    const { publisher } = makePublisher();
    await publisher.publish(await packedResultOf(table(3, 4, 8), { id: 'run-1-7', runId: 'run-1' }));
    const { job, data, outcomes } = await publishedOutcomes();
    expect(job).toMatchObject({ id: 'r-run-1-7', name: PACKED_CATEGORIES_RESULT });
    expect(data).toMatchObject({
      count: 3,
      payload: payloadKey(prefix, 'r-run-1-7', data.crc32),
      categories: ['A', 'B', 'C'],
      rejects: [],
      model: { version: FAKE_MODEL.version, sha256: FAKE_MODEL.sha256 },
      runId: 'run-1',
      jobId: 'run-1-7',
    });
    expect(unpackIds(outcomes.ids, 3)).toEqual(['P3', 'P4', 'P8']);
    expect([...outcomes.categoryIndexes]).toEqual([0, 1, 2]);
    expect([...outcomes.confidences]).toEqual([3, 4, 8].map(confidenceOf));
  });

  it('has its rejects with their rows and codes, those of the model too, and keeps their ids as they came', async () => {
    const { publisher } = makePublisher();
    const products = {
      ids: packIds(['P1', 'bad\u0000id', 'P3', 'P4', 'P5']),
      features: fakeFeatures([{ id: 1 }, { id: 2 }, { id: 3, kind: 'notFinite' }, { id: Number.NaN }, { id: 5 }]),
    };
    await publisher.publish(await packedResultOf(products));
    const { data, outcomes } = await publishedOutcomes();
    expect(data.rejects.map(({ row, code }) => [row, code])).toEqual([
      [1, 'INVALID_PRODUCT_ID'],
      [2, 'PREDICTION_FAILED'],
      [3, 'NON_FINITE_FEATURE'],
    ]);
    expect(data.rejects.every(({ message }) => message !== '')).toBe(true);
    expect([...outcomes.categoryIndexes]).toEqual([1, NO_CATEGORY, NO_CATEGORY, NO_CATEGORY, 2]);
    const nan = Number.NaN;
    expect([...outcomes.confidences]).toEqual([confidenceOf(1), nan, nan, nan, confidenceOf(5)]);
    expect(unpackIds(outcomes.ids, 5)[1]).toBe('bad\u0000id');
  });

  it('of another width than that of the model rejects every product, and belongs to no batch', async () => {
    const { publisher } = makePublisher();
    const features = { rows: 2, width: 3, values: new Float32Array(6) };
    const result = await packedResultOf({ ids: packIds(['a', 'b']), features });
    expect(result.categorization.batch).toBeUndefined();
    await publisher.publish(result);
    const { data, outcomes } = await publishedOutcomes();
    expect(data.rejects).toMatchObject([
      { row: 0, code: 'WRONG_WIDTH', message: 'expected 2 features, got 3' },
      { row: 1, code: 'WRONG_WIDTH' },
    ]);
    expect([...outcomes.categoryIndexes]).toEqual([NO_CATEGORY, NO_CATEGORY]);
  });

  it('has a payload that goes away by itself after the hours that were set', async () => {
    const { publisher } = makePublisher(undefined, 3);
    await publisher.publish(await packedResultOf(table(1)));
    const seconds = await redis.ttl((await publishedOutcomes()).data.payload);
    expect(seconds).toBeGreaterThan(3 * 3600 - 60);
    expect(seconds).toBeLessThanOrEqual(3 * 3600);
  });

  it('is on the queue only when its payload is in Redis', async () => {
    const { publisher, payloads } = makePublisher();
    const write = payloads.write;
    const resultsWhenWritten: number[] = [];
    payloads.write = async (key, payload) => {
      await write(key, payload);
      resultsWhenWritten.push(await queue.getWaitingCount());
    };
    const results = await Promise.all([1, 2, 3].map((n) => packedResultOf(table(n), { id: `job-${n}` })));
    for (const result of results) await publisher.publish(result);
    expect(resultsWhenWritten).toEqual([0, 1, 2]);
  });

  it('is not published when its payload cannot be written, and the job learns of it', async () => {
    const { publisher, payloads } = makePublisher();
    payloads.write = () => Promise.reject(new Error('OOM command not allowed'));
    await expect(publisher.publish(await packedResultOf(table(1)))).rejects.toThrow('OOM command not allowed');
    expect(await published()).toEqual([]);
  });

  it('stays what it is when the job is redelivered and has another outcome the second time', async () => {
    const { publisher } = makePublisher();
    await publisher.publish(await packedResultOf(table(3, 4), { id: 'run-1-0' }));
    const first = await publishedOutcomes();
    await publisher.publish(await packedResultOf(table(4, 5), { id: 'run-1-0' }));
    expect(await published()).toHaveLength(1);
    expect(await publishedOutcomes()).toMatchObject({ data: first.data, outcomes: first.outcomes });
  });

  it('stays what it is when the job is redelivered and has the same outcome', async () => {
    const { publisher } = makePublisher();
    for (let i = 0; i < 2; i++) await publisher.publish(await packedResultOf(table(3, 4), { id: 'run-1-0' }));
    expect(unpackIds((await publishedOutcomes()).outcomes.ids, 2)).toEqual(['P3', 'P4']);
    expect(await redis.keys(`${prefix}:payload:*`)).toHaveLength(1);
  });
});

describe('results', () => {
  const ajv = new Ajv2020();
  const schemaFile = (name: string) =>
    ajv.compile(JSON.parse(readFileSync(new URL(`../../contract/${name}.schema.json`, import.meta.url), 'utf8')));
  const files = {
    category: schemaFile('category'),
    categories: schemaFile('categories'),
    packed: schemaFile('categories.packed'),
  };

  it('conform to the schemas and to the JSON Schema files, whatever the products were', async () => {
    const { publisher } = makePublisher();
    const good = fc.record({
      productId: fc.string({ minLength: 1 }),
      features: fc.tuple(fc.nat(1000), fc.constant(0)),
    });
    const products = fc.array(nearlyValid(good.map(throughJson)), { minLength: 1, maxLength: 12 });
    let jobs = 0;
    await fc.assert(
      fc.asyncProperty(products, fc.boolean(), async (all: Json[], withRun) => {
        const id = `job-${jobs++}`;
        const chunk = await resultOf({ id, products: all, runId: withRun ? 'run' : undefined });
        await publisher.publish(chunk);
        const { data, name } = (await queue.getJob(`r-${id}`)) ?? {};
        expect(name).toBe(CATEGORIES_RESULT);
        expect(SCHEMAS.categories.parse(data)).toEqual(data);
        expect(files.categories(data), JSON.stringify(files.categories.errors)).toBe(true);
        expect(data.results).toHaveLength(all.length);

        const accepted = all.filter((_, row) => chunk.categorization.rejects.every((reject) => reject.row !== row));
        if (accepted.length === 0) return;
        await publisher.publish(await resultOf({ id: `${id}-one`, form: 'one', products: [accepted[0]] }));
        const one = await queue.getJob(`r-${id}-one`);
        expect(SCHEMAS.category.parse(one?.data)).toEqual(one?.data);
        expect(files.category(one?.data), JSON.stringify(files.category.errors)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('of packed chunks conform to them as well, whatever the ids and the numbers were', async () => {
    const { publisher } = makePublisher();
    const id = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.constantFrom('', 'a'.repeat(201), 'a\u0000', '🔩'.repeat(200), '🔩'.repeat(201)),
    );
    const kind = fc.constantFrom<RowKind>('good', 'good', 'good', 'notFinite', 'poison');
    const row = fc.record({ id, number: fc.oneof(fc.nat(1000), fc.constant(Number.NaN)), kind });
    let jobs = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 12 }), fc.boolean(), async (rows, withRun) => {
        const ids = packIds(rows.map((one) => one.id.replaceAll('\n', ' ')));
        const features = fakeFeatures(rows.map((one) => ({ id: one.number, kind: one.kind })));
        const jobId = `job-${jobs++}`;
        const runId = withRun ? 'run' : undefined;
        await publisher.publish(await packedResultOf({ ids, features }, { id: jobId, runId }));
        const { data } = (await queue.getJob(`r-${jobId}`)) ?? {};
        expect(SCHEMAS['categories.packed'].parse(data)).toEqual(data);
        expect(files.packed(data), JSON.stringify(files.packed.errors)).toBe(true);
        const outcomes = unpackOutcomes((await redis.getBuffer(data.payload)) ?? Buffer.alloc(0), data);
        expect(outcomes.ids).toEqual(ids);
        const rejected: number[] = data.rejects.map((reject: { row: number }) => reject.row);
        rows.forEach((_, i) => {
          expect(outcomes.categoryIndexes[i] === NO_CATEGORY).toBe(rejected.includes(i));
        });
      }),
      { numRuns: 60 },
    );
  });
});

describe('the id of a result', () => {
  it('carries the timestamp of a job that BullMQ numbered, so that a wiped queue swallows no new result', async () => {
    const { publisher } = makePublisher();
    await publisher.publish(await resultOf({ id: '1', enqueuedAt: 1000, products: [product(1)] }));
    await publisher.publish(await resultOf({ id: '1', enqueuedAt: 2000, products: [product(2)] }));
    expect((await published()).map(({ id }) => id)).toEqual(['r-1-1000', 'r-1-2000']);
  });

  it('is the same for a job that is done again: its result is there once', async () => {
    const { publisher } = makePublisher();
    const first = await resultOf({ id: 'run-1-0', products: [product(1)] });
    await publisher.publish(first);
    await publisher.publish(first);
    await Promise.all([publisher.publish(first), publisher.publish(first)]);
    const another = makePublisher();
    await another.publisher.publish(await resultOf({ id: 'run-1-0', products: [product(1)] }));
    expect(await published()).toHaveLength(1);
  });

  it('of a job that a job scheduler made is one that BullMQ takes, and the others of its batch are published too', async () => {
    const { publisher } = makePublisher();
    const batch = createFakeBatchObservation();
    const input = new Queue(PRODUCT_QUEUE, { connection: redis, prefix });
    const job = await input.upsertJobScheduler('shop:nightly', { every: 3_600_000 }, { name: PRODUCT_JOB, data: {} });
    await input.close();
    const ids = [job?.id ?? '', 'a', 'b'];
    const results = await Promise.all(ids.map((id) => resultOf({ id, products: [product(1)] }, batch)));
    await Promise.all(results.map((result) => publisher.publish(result)));
    const found = await published();
    expect(found.map(({ data }) => data.jobId).toSorted()).toEqual(ids.toSorted());
    expect(batch.publications).toEqual([3]);
  });
});

describe('the results that one batch completes', () => {
  it('are published in one round trip, in one observation of that batch', async () => {
    const { publisher } = makePublisher();
    const batch = createFakeBatchObservation();
    const results = await Promise.all(
      Array.from({ length: 30 }, (_, i) => resultOf({ id: `job-${i}`, products: [product(i)] }, batch)),
    );
    await Promise.all(results.map((result) => publisher.publish(result)));
    expect(batch.publications).toEqual([30]);
    expect(await published()).toHaveLength(30);
  });

  it('are kept apart from those of another batch', async () => {
    const { publisher } = makePublisher();
    const [first, second] = [createFakeBatchObservation(), createFakeBatchObservation()];
    const results = await Promise.all(
      [first, second, first].map((batch, i) => resultOf({ id: `job-${i}`, products: [product(i)] }, batch)),
    );
    await Promise.all(results.map((result) => publisher.publish(result)));
    expect([first.publications, second.publications]).toEqual([[2], [1]]);
  });
});

describe('a chunk of which every product was refused before the model', () => {
  it('belongs to no batch, and its result is published all the same', async () => {
    const { publisher } = makePublisher();
    const result = await resultOf({ id: 'job', products: [null, {}] });
    expect(result.categorization.batch).toBeUndefined();
    await publisher.publish(result);
    expect(await published()).toMatchObject([{ id: 'r-job' }]);
  });
});

describe('while Redis is away', () => {
  it('a publication waits, and is done when it is back', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const { publisher, logger } = makePublisher(server.url);
    await publisher.publish(await resultOf({ id: 'before', products: [product(1)] }));
    await server.stop();
    await logger.untilLogged('redis is away; waiting for it');
    const publication = publisher.publish(await resultOf({ id: 'during', products: [product(1)] }));
    await server.start();
    await publication;
    const own = new Redis(server.url);
    const ownQueue = new Queue(RESULT_QUEUE, { connection: own, prefix });
    expect(await ownQueue.getWaitingCount()).toBe(2);
    await ownQueue.close();
    own.disconnect();
  });
});

it('a Redis that is full refuses it with a code, so that the job is tried again and can be found afterwards', async () => {
  const server = await startRedis({ args: ['--maxmemory', '1'] });
  onTestFinished(() => server.remove());
  const { publisher } = makePublisher(server.url);
  for (const result of [await resultOf({ products: [] }), await packedResultOf(table(1))]) {
    await expect(publisher.publish(result)).rejects.toMatchObject({
      code: 'REDIS_REFUSED',
      retryable: true,
      message: expect.stringContaining('OOM'),
    });
  }
});
