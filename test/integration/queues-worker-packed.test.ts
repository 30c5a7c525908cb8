import type { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { connectPatiently } from '../../src/adapters/bullmq/connection.ts';
import { createImportRecords } from '../../src/adapters/bullmq/import-records.ts';
import { createPayloads } from '../../src/adapters/bullmq/payloads.ts';
import { createResultPublisher } from '../../src/adapters/bullmq/result-publisher.ts';
import { createResultQueue } from '../../src/adapters/bullmq/result-queue.ts';
import { createOnnxPredictor } from '../../src/adapters/onnx/onnx-predictor.ts';
import { createCategorizeJob } from '../../src/application/categorize-job.ts';
import { createCategorizeProducts } from '../../src/application/categorize-products.ts';
import { createMicroBatcher } from '../../src/application/micro-batcher.ts';
import type { CategoryPredictor, CollectedResult, ProductJob } from '../../src/application/ports.ts';
import { systemClock } from '../../src/composition.ts';
import { packIds } from '../../src/contract/index.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import type { ProductTable } from '../../src/domain/product.ts';
import { recorder } from '../support/fake-categorize-job.ts';
import { createFakeBatchObservation, createFakeLogger, createGate } from '../support/fake-observers.ts';
import { numberedProducts } from '../support/fake-product-source.ts';
import { productIdsIn } from '../support/fake-result-queue.ts';
import { readAll } from '../support/fake-result-queue-suite.ts';
import { useWorkerSetting } from '../support/fake-worker-setting.ts';
import { makeProducts, type TestProduct, uniquePrefix, WIDTH } from '../support/products.ts';

const { addPacked, makeWorker, prefix, queue, redis, stored } = useWorkerSetting();

/** What a job was handed on with, packed. */
function productsIn({ content }: ProductJob) {
  if (content.form !== 'packed') throw new Error(`a job of the form ${content.form}`);
  const { ids, features } = content.products;
  return { ids: unpackIds(ids, features.rows), width: features.width, values: [...features.values] };
}

function isThere(key: string): Promise<boolean> {
  return redis()
    .exists(key)
    .then((count) => count === 1);
}

describe('a packed job', () => {
  it('is handed on with the products of its payload, in flat arrays', async () => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob });
    const trace = '{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}';
    const { id } = await addPacked({ options: { telemetry: { metadata: trace } } });
    worker.start();
    expect(await observer.untilFinished(1)).toMatchObject([{ jobId: id, runId: 'run-1', outcome: 'completed' }]);
    expect(jobs).toMatchObject([
      { id, enqueuedAt: (await stored(id)).timestamp, runId: 'run-1', trace, stalledBefore: false },
    ]);
    expect(productsIn(jobs[0])).toEqual({ ids: ['P0', 'P1', 'P2'], width: 2, values: [0, -0, 1, -1, 2, -2] });
  });

  it('needs no run', async () => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob });
    await addPacked({ says: { runId: undefined } });
    worker.start();
    await observer.untilFinished(1);
    expect(jobs.map(({ runId }) => runId)).toEqual([undefined]);
  });

  it('has its payload until it is completed, and no longer', async () => {
    const [started, gate] = [createGate(), createGate()];
    const { worker, observer, untilSent } = makeWorker({
      categorizeJob: async () => {
        started.open();
        await gate.passed;
      },
    });
    const { id, key } = await addPacked();
    const other = await addPacked({ jobId: 'waits', options: { delay: 3_600_000 } });
    worker.start();
    await started.passed;
    expect(await isThere(key)).toBe(true);
    gate.open();
    await observer.untilFinished(1);
    await untilSent();
    expect(await (await stored(id)).getState()).toBe('completed');
    expect(await isThere(key)).toBe(false);
    expect(await isThere(other.key), 'that of another job').toBe(true);
  });

  it('keeps its payload while it is tried again, and is done with it then', async () => {
    const attempts: ReturnType<typeof productsIn>[] = [];
    const { worker, observer, untilSent } = makeWorker({
      categorizeJob: async (job) => {
        attempts.push(productsIn(job));
        if (attempts.length < 3) throw new CategorizerError('PREDICTOR_UNAVAILABLE', 'x', { retryable: true });
      },
    });
    const { key } = await addPacked({ options: { attempts: 5, backoff: { type: 'fixed', delay: 1 } } });
    worker.start();
    const finished = await observer.untilFinished(3);
    expect(finished.map(({ outcome }) => outcome)).toEqual(['retried', 'retried', 'completed']);
    expect(attempts).toEqual(Array(3).fill(attempts[0]));
    await untilSent();
    expect(await isThere(key)).toBe(false);
  });

  it('that fails for good keeps its payload, so that it can be put back', async () => {
    const { worker, observer, untilSent } = makeWorker({
      categorizeJob: async () => {
        throw new CategorizerError('PREDICTOR_UNAVAILABLE', 'x', { retryable: true });
      },
    });
    const { id, key } = await addPacked({ options: { attempts: 1 } });
    worker.start();
    expect(await observer.untilFinished(1)).toMatchObject([{ outcome: 'failed' }]);
    await untilSent();
    expect(await (await stored(id)).getState()).toBe('failed');
    expect(await isThere(key)).toBe(true);
  });

  it('is completed though its payload cannot be removed, which the log says', async () => {
    const { worker, observer, logger } = makeWorker({
      payloads: { remove: () => Promise.reject(new Error('no permission')) },
    });
    const { id } = await addPacked();
    worker.start();
    expect(await observer.untilFinished(1)).toMatchObject([{ outcome: 'completed' }]);
    await logger.untilLogged('the payload of a finished job was not removed');
    expect(logger.lines.at(-1)).toMatchObject({ level: 'warn', fields: { jobId: id, reason: 'no permission' } });
  });

  it('whose payload cannot be read for now is tried again', async () => {
    let reads = 0;
    let payload = Buffer.alloc(0);
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({
      categorizeJob,
      payloads: {
        async read() {
          if (++reads === 1) throw new Error('LOADING Redis is loading the dataset in memory');
          return payload;
        },
      },
    });
    const { key } = await addPacked({ options: { attempts: 5, backoff: { type: 'fixed', delay: 1 } } });
    payload = Buffer.from((await redis().getBuffer(key)) ?? '');
    worker.start();
    const finished = await observer.untilFinished(2);
    expect(finished.map(({ outcome }) => outcome)).toEqual(['retried', 'completed']);
    expect(jobs).toHaveLength(1);
  });
});

describe('a packed job fails at once, is not tried again and never handed on,', () => {
  async function failure(prepare: () => Promise<{ id: string; key: string }>) {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer, untilSent } = makeWorker({ categorizeJob });
    const { id, key } = await prepare();
    worker.start();
    const [finished] = await observer.untilFinished(1);
    await untilSent();
    const job = await stored(id);
    expect(await job.getState()).toBe('failed');
    expect(job.attemptsMade).toBe(1);
    expect(job.failedReason).toBe(`${finished.error?.code}: ${finished.error?.message}`);
    expect(jobs).toEqual([]);
    return { ...finished, key };
  }
  const options = { attempts: 5, backoff: 1 };

  it('when its payload is gone, and says to send the chunk again', async () => {
    const finished = await failure(async () => {
      const added = await addPacked({ options });
      await redis().del(added.key);
      return added;
    });
    expect(finished).toMatchObject({ runId: 'run-1', outcome: 'failed', error: { code: 'PAYLOAD_MISSING' } });
    expect(finished.error?.message).toContain(finished.key);
    expect(finished.error?.message).toContain('send the chunk again');
  });

  it.each([
    { title: 'has other bytes', damage: (key: string) => redis().setrange(key, 3, '\u0001'), reason: 'CRC-32' },
    { title: 'is longer', damage: (key: string) => redis().append(key, '\nP9'), reason: 'bytes' },
    { title: 'was cut', damage: (key: string) => redis().set(key, 'a'), reason: 'bytes' },
    { title: 'is empty', damage: (key: string) => redis().set(key, ''), reason: 'bytes' },
  ])('when its payload $title, which stays to be looked at', async ({ damage, reason }) => {
    const { error, key } = await failure(async () => {
      const added = await addPacked({ options });
      await damage(added.key);
      return added;
    });
    expect(error).toMatchObject({ code: 'PAYLOAD_INVALID', message: expect.stringContaining(reason) });
    expect(await isThere(key)).toBe(true);
  });

  it.each([
    { title: 'more products than its payload has', says: { count: 4 } },
    { title: 'fewer products than its payload has', says: { count: 2 } },
    { title: 'a width that the payload cannot have', says: { width: 4_000_000 } },
  ])('when it says $title', async ({ says }) => {
    const { error } = await failure(() => addPacked({ options, says }));
    expect(error).toMatchObject({ code: 'PAYLOAD_INVALID' });
  });

  it('when its ids are not UTF-8', async () => {
    const products = { ids: Buffer.from([0xff, 0xfe]), features: numberedProducts(0, 1).features };
    const { error } = await failure(() => addPacked({ options, products }));
    expect(error).toMatchObject({ code: 'PAYLOAD_INVALID', message: expect.stringContaining('UTF-8') });
  });

  it.each([
    { title: 'that is none of a payload', keyOf: () => `${prefix()}:secret` },
    { title: 'of another program', keyOf: () => `${uniquePrefix()}:payload:run-1-0:00000000` },
    { title: 'that only begins like one', keyOf: () => `${prefix()}:payloads:run-1-0` },
    { title: 'of the queue itself', keyOf: (input: Queue) => `${input.toKey('meta')}-copy` },
  ])('when it names a key $title, which is neither read nor deleted', async ({ keyOf }) => {
    const foreign = keyOf(queue());
    const { error } = await failure(async () => {
      const added = await addPacked({ options });
      await redis().copy(added.key, foreign);
      await (await stored(added.id)).updateData({ ...(await stored(added.id)).data, payload: foreign });
      return added;
    });
    expect(error).toMatchObject({ code: 'INVALID_JOB', message: expect.stringContaining(`${prefix()}:payload:`) });
    expect(await isThere(foreign)).toBe(true);
    await redis().del(foreign);
  });

  it.each([{ count: 0 }, { count: 10_001 }, { crc32: 'x' }, { payload: '' }, { width: 0 }, { runId: 'a b' }])(
    'when it says %o',
    async (says) => {
      expect((await failure(() => addPacked({ options, says }))).error).toMatchObject({ code: 'INVALID_JOB' });
    },
  );
});

describe('with the shipped model', () => {
  let predictor: CategoryPredictor;
  beforeAll(async () => {
    predictor = await createOnnxPredictor({ modelPath: 'model/model.onnx', threads: 1 });
  });
  afterAll(() => predictor.close());

  function tableOf(products: readonly TestProduct[], width = WIDTH): ProductTable {
    const values = Float32Array.from(products.flatMap(({ features }) => features.slice(0, width)));
    return {
      ids: packIds(products.map(({ productId }) => productId)),
      features: { rows: products.length, width, values },
    };
  }

  /** Runs one packed job through worker, batcher, model and publisher. @returns its result, as it is collected */
  async function resultOf(products: ProductTable): Promise<CollectedResult> {
    const logger = createFakeLogger();
    const connection = connectPatiently(inject('redisUrl'), logger);
    const shared = { connection, prefix: prefix(), logger };
    const payloads = createPayloads({ ...shared, ttlHours: 1 });
    const publisher = createResultPublisher({ ...shared, payloads });
    const results = createResultQueue({ ...shared, payloads, imports: createImportRecords(shared) });
    onTestFinished(async () => {
      await publisher.close();
      await results.close();
      connection.disconnect();
    });
    const batcher = createMicroBatcher({
      predictor,
      observer: { started: createFakeBatchObservation },
      clock: systemClock,
      maxRows: 100,
      maxWaitMs: 1,
    });
    const categorizeProducts = createCategorizeProducts({
      batcher,
      observer: { products: () => undefined, outside: () => undefined },
      model: predictor.model,
    });
    const { model } = predictor;
    const { worker, observer, untilSent } = makeWorker({
      model,
      categorizeJob: createCategorizeJob({ categorizeProducts, results: publisher, model }),
    });
    const { key } = await addPacked({ products });
    worker.start();
    expect(await observer.untilFinished(1)).toMatchObject([{ outcome: 'completed' }]);
    await untilSent();
    expect(await isThere(key), 'the payload of the job').toBe(false);
    const [result, ...others] = await readAll(results, 'run-1');
    expect(others).toEqual([]);
    return result;
  }

  it('a packed job has the category of each product in its result, in their order', async () => {
    const products = makeProducts(250);
    const result = await resultOf(tableOf(products));
    expect(result).toMatchObject({
      resultId: 'r-run-1-0',
      jobId: 'run-1-0',
      runId: 'run-1',
      modelVersion: predictor.model.version,
    });
    expect(productIdsIn([result])).toEqual(products.map(({ productId }) => productId));
    const { categories, categoryIndexes, confidences, rejects } = result.products;
    expect(categories).toEqual(['AUTOPECAS', 'INFORMATICA', 'MATERIAL_CONSTRUCAO']);
    expect([...categoryIndexes]).toEqual(products.map((_, i) => i % 3));
    expect(rejects).toEqual([]);
    for (const confidence of confidences) expect(confidence).toBeGreaterThan(0.5);
  });

  it('a bad product is rejected alone: the others have the categories that they have without it', async () => {
    const good = makeProducts(20);
    const bad = good.map((product, i) => {
      if (i === 3) return { ...product, productId: 'tab\there' };
      if (i === 8) return { ...product, features: product.features.with(5, Number.NaN) };
      if (i === 9) return { ...product, productId: '' };
      if (i === 19) return { ...product, features: product.features.with(15, Number.NEGATIVE_INFINITY) };
      return product;
    });
    const { products } = await resultOf(tableOf(bad));
    expect(products.rejects.map(({ row, code }) => [row, code])).toEqual([
      [3, 'INVALID_PRODUCT_ID'],
      [8, 'NON_FINITE_FEATURE'],
      [9, 'INVALID_PRODUCT_ID'],
      [19, 'NON_FINITE_FEATURE'],
    ]);
    const rejected = products.rejects.map(({ row }) => row);
    expect([...products.categoryIndexes]).toEqual(good.map((_, i) => (rejected.includes(i) ? NO_CATEGORY : i % 3)));
    expect(productIdsIn([{ products }])).toEqual(bad.map(({ productId }) => productId));
  });

  it('its result says how many products lie far outside of what the model was trained on', async () => {
    const own = makeProducts(40);
    const strange = own.map((product, i) =>
      i % 10 === 0 ? { ...product, features: product.features.with(3, 9) } : product,
    );
    expect((await resultOf(tableOf(strange))).products.outside).toBe(4);
  });
});
