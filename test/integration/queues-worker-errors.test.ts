import { describe, expect, it } from 'vitest';
import type { CategorizeJob } from '../../src/application/categorize-job.ts';
import { PRODUCT_JOB, PRODUCTS_JOB } from '../../src/contract/index.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { recorder } from '../support/fake-categorize-job.ts';
import { PRODUCT, useWorkerSetting } from '../support/fake-worker-setting.ts';

const { addProduct, makeWorker, queue, redis, stored } = useWorkerSetting();

describe('a data error', () => {
  const wrongWidth: CategorizeJob = async () => {
    throw new CategorizerError('WRONG_WIDTH', 'expected 16 features, got 2');
  };

  it.each([
    { title: 'whose producer asked for five attempts', options: { attempts: 5, backoff: 1 } },
    { title: 'whose producer said nothing', options: {} },
  ])('fails a job $title at once, and it is not tried again', async ({ options }) => {
    const { categorizeJob, jobs } = recorder(wrongWidth);
    const { worker, observer } = makeWorker({ categorizeJob });
    const id = await addProduct(options, { ...PRODUCT, runId: 'run-1' });
    await addProduct();
    worker.start();
    const [finished] = await observer.untilFinished(2);
    expect(finished).toMatchObject({
      jobId: id,
      runId: 'run-1',
      outcome: 'failed',
      error: { code: 'WRONG_WIDTH', message: 'expected 16 features, got 2' },
    });
    const job = await stored(id);
    expect(await job.getState()).toBe('failed');
    expect(job.failedReason).toBe('WRONG_WIDTH: expected 16 features, got 2');
    expect(job.attemptsMade).toBe(1);
    expect(jobs.map((seen) => seen.id).filter((seen) => seen === id)).toHaveLength(1);
  });

  it.each([
    { title: 'of an unknown name', name: 'produkt', data: PRODUCT },
    { title: 'whose data is no object', name: PRODUCT_JOB, data: 'text' },
    { title: 'whose data is null', name: PRODUCT_JOB, data: null },
    { title: 'with a bad run id', name: PRODUCT_JOB, data: { ...PRODUCT, runId: 'a b' } },
    { title: 'with an empty chunk', name: PRODUCTS_JOB, data: { products: [] } },
    { title: 'with a chunk that is no list', name: PRODUCTS_JOB, data: { products: 'text' } },
  ])('is what a job is $title: it fails at once with INVALID_JOB and is never handed on', async ({ name, data }) => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob });
    const id = await addProduct({ attempts: 5, backoff: 1 }, data, name);
    worker.start();
    expect(await observer.untilFinished(1)).toMatchObject([{ outcome: 'failed', error: { code: 'INVALID_JOB' } }]);
    expect(await (await stored(id)).getState()).toBe('failed');
    expect(jobs).toEqual([]);
  });

  it('stays in the failed set, to be looked at', async () => {
    const { worker, observer } = makeWorker({ categorizeJob: wrongWidth });
    for (let i = 0; i < 30; i++) await addProduct();
    worker.start();
    await observer.untilFinished(30);
    expect(await queue().getFailedCount()).toBe(30);
  });
});

describe('an infrastructure error', () => {
  const outage: CategorizeJob = async () => {
    throw new CategorizerError('PREDICTOR_UNAVAILABLE', 'out of memory', { retryable: true });
  };

  it('puts the job aside for a while and tries it 5 times, even where its producer said nothing', async () => {
    const { worker, observer } = makeWorker({ categorizeJob: outage });
    const id = await addProduct();
    worker.start();
    for (let attempt = 1; attempt <= 4; attempt++) {
      const finished = await observer.untilFinished(attempt);
      expect(finished[attempt - 1]).toMatchObject({
        outcome: 'retried',
        error: { code: 'PREDICTOR_UNAVAILABLE', message: 'out of memory' },
      });
      const job = await stored(id);
      expect(await job.getState()).toBe('delayed');
      expect(job.attemptsMade).toBe(attempt);
      // Exponential from 1 s on, with half of it jitter.
      expect(job.delay).toBeGreaterThanOrEqual(500 * 2 ** (attempt - 1));
      expect(job.delay).toBeLessThanOrEqual(1000 * 2 ** (attempt - 1));
      await job.promote();
    }
    expect((await observer.untilFinished(5))[4]).toMatchObject({ outcome: 'failed' });
    const job = await stored(id);
    expect(await job.getState()).toBe('failed');
    expect(job.attemptsMade).toBe(5);
    expect(job.failedReason).toBe('PREDICTOR_UNAVAILABLE: out of memory');
  });

  it('is tried as often as the producer said, where it said something', async () => {
    const { worker, observer } = makeWorker({ categorizeJob: outage });
    await addProduct({ attempts: 2, backoff: { type: 'fixed', delay: 1 } });
    worker.start();
    const finished = await observer.untilFinished(2);
    expect(finished.map(({ outcome }) => outcome)).toEqual(['retried', 'failed']);
  });

  it('that nobody foresaw is tried again as well', async () => {
    let attempts = 0;
    const { worker, observer } = makeWorker({
      categorizeJob: async () => {
        if (++attempts === 1) throw new TypeError('x is not a function');
      },
    });
    const id = await addProduct({ attempts: 5, backoff: { type: 'fixed', delay: 1 } });
    worker.start();
    const finished = await observer.untilFinished(2);
    expect(finished.map(({ outcome }) => outcome)).toEqual(['retried', 'completed']);
    expect(finished[0].error).toEqual({ code: 'UNKNOWN', message: 'x is not a function' });
    expect(await (await stored(id)).getState()).toBe('completed');
  });
});

describe('a job whose data is not JSON', () => {
  it('fails at once like any other bad job, and the others are done', async () => {
    const { worker, observer } = makeWorker();
    const broken = await addProduct();
    await redis().hset(queue().toKey(broken), 'data', '{broken');
    const others = [await addProduct(), await addProduct()];
    worker.start();
    const finished = await observer.untilFinished(3);
    expect(finished.find(({ jobId }) => jobId === broken)).toMatchObject({
      outcome: 'failed',
      error: { code: 'INVALID_JOB' },
    });
    for (const id of others) expect(await (await stored(id)).getState()).toBe('completed');
    expect(await queue().getFailedCount()).toBe(1);
  });
});
