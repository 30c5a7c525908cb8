import { describe, expect, it } from 'vitest';
import { PRODUCT_QUEUE, PRODUCTS_JOB } from '../../src/contract/index.ts';
import { recorder } from '../support/fake-categorize-job.ts';
import { createGate } from '../support/fake-observers.ts';
import { numberedProducts } from '../support/fake-product-source.ts';
import { PRODUCT, useWorkerSetting } from '../support/fake-worker-setting.ts';

const { addPacked, addProduct, makeWorker, manyRoundTrips, stored } = useWorkerSetting();

describe('a job', () => {
  it('of one product is handed on with all that it carries', async () => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob });
    const trace = '{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}';
    const id = await addProduct({ jobId: 'run-1-0', telemetry: { metadata: trace } }, { ...PRODUCT, runId: 'run-1' });
    worker.start();
    await observer.untilFinished(1);
    expect(jobs).toMatchObject([
      {
        id,
        enqueuedAt: (await stored(id)).timestamp,
        content: { form: 'one', products: [{ ...PRODUCT, runId: 'run-1' }] },
        runId: 'run-1',
        trace,
        stalledBefore: false,
      },
    ]);
  });

  it('with a chunk is handed on with its products as they came, the bad too', async () => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob });
    const products = [PRODUCT, null, { productId: '' }];
    await addProduct({}, { products, runId: 'run-1' }, PRODUCTS_JOB);
    worker.start();
    await observer.untilFinished(1);
    expect(jobs).toMatchObject([{ content: { form: 'chunk', products }, runId: 'run-1' }]);
  });

  it('that is done is completed, returns nothing, and is told to the observer', async () => {
    const { worker, observer } = makeWorker();
    const id = await addProduct({ jobId: 'run-1-0', timestamp: Date.now() - 5000 }, { ...PRODUCT, runId: 'run-1' });
    worker.start();
    const [finished] = await observer.untilFinished(1);
    expect(finished).toMatchObject({
      queue: PRODUCT_QUEUE,
      jobId: id,
      runId: 'run-1',
      outcome: 'completed',
      error: undefined,
    });
    expect(finished.seconds).toBeGreaterThanOrEqual(5);
    expect(finished.seconds).toBeLessThan(60);
    const job = await stored(id);
    expect(await job.getState()).toBe('completed');
    expect(job.returnvalue).toBeNull();
  });

  it('stays in work until it is categorized and published, and completes only then', async () => {
    const gate = createGate();
    const started = createGate();
    const { worker, observer } = makeWorker({
      categorizeJob: async () => {
        started.open();
        await gate.passed;
      },
    });
    const id = await addProduct();
    worker.start();
    await started.passed;
    expect(await (await stored(id)).getState()).toBe('active');
    gate.open();
    await observer.untilFinished(1);
    expect(await (await stored(id)).getState()).toBe('completed');
  });

  it('is taken together with others, up to the concurrency and no more', async () => {
    const gate = createGate();
    const full = createGate();
    let inWork = 0;
    const { categorizeJob, most } = recorder(async () => {
      if (++inWork === 5) full.open();
      await gate.passed;
    });
    const { worker, observer } = makeWorker({ categorizeJob, concurrency: 5 });
    for (let i = 0; i < 12; i++) await addProduct();
    worker.start();
    await full.passed;
    await manyRoundTrips();
    expect(most()).toBe(5);
    gate.open();
    await observer.untilFinished(12);
    expect(most()).toBe(5);
  });
});

describe('chunks', () => {
  it('are taken fewer at once the larger they are, so that the products in work stay bounded', async () => {
    const { categorizeJob, most } = recorder(manyRoundTrips);
    const { worker, observer } = makeWorker({ categorizeJob, maxProducts: 30 });
    for (let i = 0; i < 12; i++) await addProduct({}, { products: Array(10).fill(PRODUCT) }, PRODUCTS_JOB);
    worker.start();
    await observer.untilFinished(12);
    expect(most()).toBe(3);
  });

  it('larger than all that fits are taken one by one', async () => {
    const { categorizeJob, most } = recorder(manyRoundTrips);
    const { worker, observer } = makeWorker({ categorizeJob, maxProducts: 30 });
    for (let i = 0; i < 4; i++) await addProduct({}, { products: Array(100).fill(PRODUCT) }, PRODUCTS_JOB);
    worker.start();
    await observer.untilFinished(4);
    expect(most()).toBe(1);
  });

  it('that are packed count with the products that they say they have', async () => {
    const { categorizeJob, most } = recorder(manyRoundTrips);
    const { worker, observer } = makeWorker({ categorizeJob, maxProducts: 30 });
    for (let i = 0; i < 12; i++) await addPacked({ jobId: `run-1-${i}`, products: numberedProducts(0, 10) });
    worker.start();
    await observer.untilFinished(12);
    expect(most()).toBe(3);
  });

  it('that were large do not slow down the small jobs after them', async () => {
    const { categorizeJob, most } = recorder(manyRoundTrips);
    const { worker, observer } = makeWorker({ categorizeJob, maxProducts: 30 });
    for (let i = 0; i < 3; i++) await addProduct({}, { products: Array(100).fill(PRODUCT) }, PRODUCTS_JOB);
    for (let i = 0; i < 20; i++) await addProduct();
    worker.start();
    await observer.untilFinished(23);
    expect(most()).toBe(8);
  });
});
