import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type Job, Queue } from 'bullmq';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { connectPatiently } from '../../src/adapters/bullmq/connection.ts';
import { createResultPublisher } from '../../src/adapters/bullmq/result-publisher.ts';
import { createCategorizeProducts } from '../../src/application/categorize-products.ts';
import { createMicroBatcher } from '../../src/application/micro-batcher.ts';
import type { BatchObservation, JobResult, ProductJob } from '../../src/application/ports.ts';
import { systemClock } from '../../src/composition.ts';
import {
  CATEGORIES_RESULT,
  CATEGORY_RESULT,
  PRODUCT_JOB,
  PRODUCT_QUEUE,
  RESULT_QUEUE,
  SCHEMAS,
} from '../../src/contract/index.ts';
import { createFakeBatchObservation, createFakeLogger } from '../support/fake-observers.ts';
import { createFakePredictor, FAKE_MODEL } from '../support/fake-predictor.ts';
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

function makePublisher(url = inject('redisUrl')) {
  const logger = createFakeLogger();
  const connection = connectPatiently(url, logger);
  const publisher = createResultPublisher({ connection, prefix, logger });
  onTestFinished(async () => {
    await publisher.close();
    connection.disconnect();
  });
  return { publisher, logger };
}

const predictor = createFakePredictor({ clock: systemClock });

/** What categorizing these products gives; the fake model has two features and the categories A, B and C. */
async function resultOf(
  job: Partial<ProductJob> & Pick<ProductJob, 'products'>,
  batch?: BatchObservation,
): Promise<JobResult> {
  const observation = batch ?? createFakeBatchObservation();
  const batcher = createMicroBatcher({
    predictor,
    observer: { started: () => observation },
    clock: systemClock,
    maxRows: 4096,
    maxWaitMs: 0,
  });
  const categorize = createCategorizeProducts({ batcher, model: FAKE_MODEL, observer: { products: () => undefined } });
  const whole = { id: 'job', enqueuedAt: 1000, form: 'chunk', stalledBefore: false, ...job } as const;
  return { job: whole, model: FAKE_MODEL, categorization: await categorize(job.products) };
}

const product = (id: number) => ({ productId: `P${id}`, features: [id, 0] });

/** Every result on the queue, oldest first. */
function published(): Promise<Job[]> {
  return queue.getJobs(['waiting'], 0, -1, true);
}

describe('the result of one product', () => {
  it('is its category with all probabilities, the model, the run and the input job', async () => {
    const { publisher } = makePublisher();
    await publisher.publish(await resultOf({ id: 'run-1-0', form: 'one', products: [product(1)], runId: 'run-1' }));
    const [{ id, name, data }] = await published();
    expect(id).toBe('r-run-1-0');
    expect(name).toBe(CATEGORY_RESULT);
    expect(data).toMatchObject({
      productId: 'P1',
      category: { code: 'B', name: 'Category B' },
      confidence: Math.fround(1 / 3),
      model: { version: FAKE_MODEL.version, sha256: FAKE_MODEL.sha256 },
      runId: 'run-1',
      jobId: 'run-1-0',
    });
    expect(data.probabilities).toHaveLength(3);
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

describe('results', () => {
  const ajv = new Ajv2020();
  const schemaFile = (name: string) =>
    ajv.compile(JSON.parse(readFileSync(new URL(`../../contract/${name}.schema.json`, import.meta.url), 'utf8')));
  const files = { category: schemaFile('category'), categories: schemaFile('categories') };

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
        // The fake model gives no probabilities: NaN is null on the wire.
        const withProbabilities = { ...one?.data, probabilities: [0, 1, 0] };
        expect(SCHEMAS.category.parse(withProbabilities)).toEqual(withProbabilities);
        expect(files.category(withProbabilities)).toBe(true);
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
