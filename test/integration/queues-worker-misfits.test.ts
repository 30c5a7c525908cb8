import { describe, expect, it, vi } from 'vitest';
import { readMisfit } from '../../src/adapters/bullmq/misfit-record.ts';
import { createQueueMonitor } from '../../src/adapters/bullmq/queue-monitor.ts';
import { PRODUCTS_JOB } from '../../src/contract/index.ts';
import { PATIENCE } from '../support/cli-live.ts';
import { recorder } from '../support/fake-categorize-job.ts';
import { FAKE_MODEL } from '../support/fake-predictor.ts';
import { PRODUCT, useWorkerSetting } from '../support/fake-worker-setting.ts';

const { addPacked, addProduct, makeWorker, prefix, queue, redis, stored } = useWorkerSetting();

const OTHER = { space: 'other-2' };
const HOUR_MS = 3_600_000;

/** Makes every job that was given back due now. */
async function promoteAll(): Promise<void> {
  for (const job of await queue().getDelayed()) await job.promote().catch(() => undefined);
}

/** The job is due again and given back, so many times. */
async function untilRounds(observer: ReturnType<typeof makeWorker>['observer'], rounds: number): Promise<void> {
  for (let round = 1; round <= rounds; round++) {
    await observer.untilReturned(round);
    await vi.waitFor(async () => expect(await queue().getDelayedCount()).toBe(1), PATIENCE);
    if (round < rounds) await promoteAll();
  }
}

describe('a job whose vectors the model was not made for', () => {
  it.each([
    { title: 'one product of another space', data: { ...PRODUCT, ...OTHER }, name: undefined },
    { title: 'a chunk of another space', data: { products: [PRODUCT], ...OTHER }, name: PRODUCTS_JOB },
    {
      title: 'a chunk whose vectors all have another width',
      data: {
        products: [
          { productId: 'a', features: [1, 2, 3] },
          { productId: 'b', features: [4, 5, 6] },
        ],
      },
      name: PRODUCTS_JOB,
    },
    {
      title: 'a chunk of the right space and another width',
      data: { products: [{ productId: 'a', features: [1] }], space: FAKE_MODEL.space },
      name: PRODUCTS_JOB,
    },
  ])('is given back, delayed: $title', async ({ data, name }) => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob });
    const id = await addProduct({ jobId: 'run-1-0' }, data, name);
    worker.start();
    await untilRounds(observer, 1);
    expect(await (await stored(id)).getState()).toBe('delayed');
    expect(observer.returnedJobs).toMatchObject([{ queue: 'product-categorization', jobId: id }]);
    expect(observer.finishedJobs).toEqual([]);
    expect(jobs).toEqual([]);
  });

  it.each([
    { title: 'another space', says: OTHER },
    { title: 'another width', says: { width: 1 } },
  ])('and that is packed is given back without a look at its payload: $title', async ({ says }) => {
    const read = vi.fn();
    const { worker, observer } = makeWorker({ payloads: { read } });
    const { id, key } = await addPacked({ says });
    worker.start();
    await untilRounds(observer, 1);
    expect(await (await stored(id)).getState()).toBe('delayed');
    expect(read).not.toHaveBeenCalled();
    expect(await redis().exists(key)).toBe(1);
  });

  it('uses no attempt, however often it is given back, and keeps the time of the first', async () => {
    const { worker, observer } = makeWorker();
    const id = await addProduct({ attempts: 2 }, { ...PRODUCT, ...OTHER });
    worker.start();
    await untilRounds(observer, 1);
    const first = readMisfit((await stored(id)).progress);
    await promoteAll();
    await vi.waitFor(() => expect(observer.returnedJobs).toHaveLength(2), PATIENCE);
    for (let round = 3; round <= 12; round++) {
      await vi.waitFor(async () => expect(await queue().getDelayedCount()).toBe(1), PATIENCE);
      await promoteAll();
      await observer.untilReturned(round);
    }
    await vi.waitFor(async () => expect(await queue().getDelayedCount()).toBe(1), PATIENCE);
    const job = await stored(id);
    expect(job.attemptsMade).toBe(0);
    expect(job.failedReason).toBeUndefined();
    const last = readMisfit(job.progress);
    expect(last).toMatchObject({ since: first?.since, ...OTHER });
    expect(last?.rounds).toBeGreaterThanOrEqual(12);
  });

  it('is left alone for longer each time, up to some seconds', async () => {
    const { worker, observer } = makeWorker();
    const id = await addProduct({}, { ...PRODUCT, ...OTHER });
    worker.start();
    const pauses: number[] = [];
    for (let round = 1; round <= 8; round++) {
      await observer.untilReturned(round);
      const job = await vi.waitFor(async () => {
        const one = await stored(id);
        expect(await one.getState()).toBe('delayed');
        return one;
      }, PATIENCE);
      pauses.push(job.delay);
      if (round < 8) await promoteAll();
    }
    expect(pauses[0]).toBeGreaterThanOrEqual(375);
    expect(pauses[0]).toBeLessThanOrEqual(626);
    expect(pauses[7]).toBeGreaterThanOrEqual(3750);
    expect(pauses[7]).toBeLessThanOrEqual(6251);
  });

  it('is done by a worker that fits, and keeps none of the attempts of that one', async () => {
    const misfit = makeWorker();
    const id = await addProduct({}, { ...PRODUCT, ...OTHER });
    misfit.worker.start();
    await untilRounds(misfit.observer, 1);
    await misfit.worker.close();
    const { categorizeJob, jobs } = recorder();
    const fitting = makeWorker({ categorizeJob, model: { ...OTHER, width: 2 } });
    fitting.worker.start();
    await fitting.observer.untilFinished(1);
    expect(jobs).toMatchObject([{ id, content: { products: [{ ...PRODUCT, ...OTHER }] } }]);
    expect(await stored(id)).toMatchObject({ attemptsMade: 1 });
  });

  it('fails with MODEL_MISMATCH after its time, names both sides, and has all of its time again when it is put back', async () => {
    const { worker, observer } = makeWorker();
    const id = await addProduct({}, { ...PRODUCT, ...OTHER });
    worker.start();
    await untilRounds(observer, 1);
    const long = { misfit: { ...readMisfit((await stored(id)).progress), since: Date.now() - HOUR_MS - 1 } };
    await (await stored(id)).updateProgress(long);
    await promoteAll();
    const [finished] = await observer.untilFinished(1);
    expect(finished).toMatchObject({ outcome: 'failed', error: { code: 'MODEL_MISMATCH' } });
    for (const part of ['other-2', FAKE_MODEL.space, '3600 s', 'retry-failed --code MODEL_MISMATCH']) {
      expect(finished.error?.message).toContain(part);
    }
    const monitor = createQueueMonitor({ connection: redis(), prefix: prefix() });
    expect(await monitor.retryFailed([id])).toBe(1);
    await monitor.close();
    await observer.untilReturned(2);
    await vi.waitFor(async () => expect(await (await stored(id)).getState()).toBe('delayed'), PATIENCE);
    const again = readMisfit((await stored(id)).progress);
    expect(again?.rounds).toBe(1);
    expect(Date.now() - (again?.since ?? 0)).toBeLessThan(HOUR_MS / 2);
  });

  it('is looked at again when its time is over, and not later', async () => {
    const { worker, observer } = makeWorker({ mismatchTimeoutMs: 300 });
    await addProduct({}, { ...PRODUCT, ...OTHER });
    worker.start();
    expect(await observer.untilFinished(1)).toMatchObject([{ error: { code: 'MODEL_MISMATCH' } }]);
  });

  it('and that killed a worker before does not make the others wait for its turn', async () => {
    const { categorizeJob, most } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob });
    const id = await addProduct({}, { ...PRODUCT, ...OTHER });
    await redis().hset(queue().toKey(id), 'stc', 2);
    worker.start();
    await observer.untilReturned(1);
    expect(most()).toBe(0);
    expect(await stored(id)).toMatchObject({ stalledCounter: 2 });
  });

  it('has one line in the log, whatever becomes of how many', async () => {
    const { worker, observer, logger } = makeWorker();
    for (let i = 0; i < 30; i++) await addProduct({}, { ...PRODUCT, ...OTHER });
    await addProduct({}, { ...PRODUCT, space: 'third' });
    worker.start();
    await observer.untilReturned(31);
    const lines = logger.lines.filter(({ level }) => level === 'warn');
    expect(lines.map(({ fields }) => fields)).toMatchObject([
      { jobs: 1, wanted: OTHER, model: { space: FAKE_MODEL.space, width: 2 } },
      { jobs: 1, wanted: { space: 'third' } },
    ]);
    expect(lines[0].message).toContain('other-2');
  });

  it('holds up no other: of 300 among as many that fit, all that fit are done before it is looked at twice', async () => {
    const { worker, observer } = makeWorker({ concurrency: 64 });
    for (let i = 0; i < 300; i++) {
      await addProduct({}, { ...PRODUCT, ...OTHER });
      await addProduct();
    }
    worker.start();
    await observer.untilFinished(300);
    expect(observer.finishedJobs.every(({ outcome }) => outcome === 'completed')).toBe(true);
    await vi.waitFor(async () => expect(await queue().getJobCounts('failed')).toEqual({ failed: 0 }), PATIENCE);
  });

  it('does not keep the worker from ending', async () => {
    const { worker, observer } = makeWorker();
    for (let i = 0; i < 50; i++) await addProduct({}, { ...PRODUCT, ...OTHER });
    worker.start();
    await observer.untilReturned(50);
    await worker.close();
    expect(await queue().getJobCounts('active', 'failed', 'completed')).toEqual({ active: 0, failed: 0, completed: 0 });
  });
});

describe('a job that fits, or says nothing, is categorized', () => {
  it.each([
    { title: 'of the space of the model', data: { ...PRODUCT, space: FAKE_MODEL.space }, name: undefined },
    {
      title: 'of one product of another width without a space: it is a bad product',
      data: { productId: 'P', features: [1] },
      name: undefined,
    },
    {
      title: 'with one bad product among good ones',
      data: { products: [PRODUCT, { productId: 'b', features: [1] }] },
      name: PRODUCTS_JOB,
    },
    { title: 'with no vector at all', data: { products: [{ productId: 'b' }] }, name: PRODUCTS_JOB },
  ])('$title', async ({ data, name }) => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob });
    await addProduct({}, data, name);
    worker.start();
    expect(await observer.untilFinished(1)).toMatchObject([{ outcome: 'completed' }]);
    expect(jobs).toHaveLength(1);
    expect(observer.returnedJobs).toEqual([]);
  });

  it('and a space that is none makes it a bad job', async () => {
    const { worker, observer } = makeWorker();
    await addProduct({}, { ...PRODUCT, space: 'with blank' });
    worker.start();
    expect(await observer.untilFinished(1)).toMatchObject([{ outcome: 'failed', error: { code: 'INVALID_JOB' } }]);
  });
});

describe('the monitor', () => {
  it('counts the jobs that were given back by what they want, and no others', async () => {
    const { worker, observer } = makeWorker();
    for (let i = 0; i < 3; i++) await addProduct({}, { ...PRODUCT, ...OTHER });
    await addProduct({}, { products: [{ productId: 'a', features: [1, 2, 3] }] }, PRODUCTS_JOB);
    worker.start();
    await observer.untilReturned(4);
    await worker.close();
    await addProduct({ delay: HOUR_MS });
    await addProduct({ jobId: 'odd', delay: HOUR_MS });
    await redis().hset(queue().toKey('odd'), 'progress', '{"misfit":7');
    const monitor = createQueueMonitor({ connection: redis(), prefix: prefix() });
    const [input, results] = await monitor.depths();
    expect(input.mismatched?.map(({ space, width, waiting, delayed }) => [space, width, waiting + delayed])).toEqual([
      ['other-2', undefined, 3],
      [undefined, 3, 1],
    ]);
    expect(results.mismatched).toBeUndefined();
    await monitor.close();
  });

  it('takes a key that is no job for none', async () => {
    await redis().lpush(queue().toKey('wait'), 'no-hash');
    await redis().set(queue().toKey('no-hash'), 'x');
    const monitor = createQueueMonitor({ connection: redis(), prefix: prefix() });
    const [input] = await monitor.depths();
    expect(input).toMatchObject({ oldestWaitingAgeSeconds: 0 });
    expect(input).not.toHaveProperty('mismatched');
    await monitor.close();
  });

  it('does not take the time since a job was enqueued for a lag where it was given back', async () => {
    const { worker, observer } = makeWorker();
    const id = await addProduct({ timestamp: Date.now() - HOUR_MS }, { ...PRODUCT, ...OTHER });
    worker.start();
    await observer.untilReturned(1);
    await worker.close();
    await vi.waitFor(async () => expect(await (await stored(id)).getState()).not.toBe('active'), PATIENCE);
    await promoteAll();
    const monitor = createQueueMonitor({ connection: redis(), prefix: prefix() });
    const [input] = await monitor.depths();
    expect(input.jobs.waiting).toBe(1);
    expect(input.oldestWaitingAgeSeconds).toBeLessThan(600);
    await monitor.close();
  });
});
