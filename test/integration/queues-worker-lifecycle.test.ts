import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ProductWorker } from '../../src/adapters/bullmq/product-worker.ts';
import { PRODUCT_JOB, PRODUCT_QUEUE } from '../../src/contract/index.ts';
import { recorder } from '../support/fake-categorize-job.ts';
import { createGate } from '../support/fake-observers.ts';
import { PRODUCT, useWorkerSetting } from '../support/fake-worker-setting.ts';
import { startRedis } from '../support/redis-server.ts';

const { addProduct, makeWorker, manyRoundTrips, prefix, redis, stored } = useWorkerSetting();

describe('the progress of a worker', () => {
  async function progressOf(worker: ProductWorker, act: () => Promise<unknown>): Promise<boolean> {
    const before = worker.lastProgressAt();
    while (Date.now() <= before) await redis().ping();
    await act();
    return worker.lastProgressAt() > before;
  }

  it('is made when it starts, and when it takes or finishes a job; not while nothing is there', async () => {
    const gate = createGate();
    const started = createGate();
    const { worker, observer } = makeWorker({
      categorizeJob: async () => {
        started.open();
        await gate.passed;
      },
    });
    expect(await progressOf(worker, async () => worker.start())).toBe(true);
    expect(await progressOf(worker, manyRoundTrips)).toBe(false);
    const taken = async () => {
      await addProduct();
      await started.passed;
    };
    expect(await progressOf(worker, taken)).toBe(true);
    const finished = async () => {
      gate.open();
      await observer.untilFinished(1);
    };
    expect(await progressOf(worker, finished)).toBe(true);
  });
});

describe('closing', () => {
  it('waits for the jobs in work and takes no more', async () => {
    const gate = createGate();
    const started = createGate();
    const { categorizeJob, jobs } = recorder(async () => {
      started.open();
      await gate.passed;
    });
    const { worker, observer } = makeWorker({ categorizeJob, concurrency: 1 });
    const first = await addProduct();
    const second = await addProduct();
    worker.start();
    await started.passed;
    const closed = worker.close();
    gate.open();
    await closed;
    expect(observer.finishedJobs).toMatchObject([{ jobId: first, outcome: 'completed' }]);
    expect(jobs).toHaveLength(1);
    expect(await (await stored(first)).getState()).toBe('completed');
    expect(await (await stored(second)).getState()).toBe('waiting');
  });

  it('may be done twice, and before it started', async () => {
    const { worker } = makeWorker();
    await worker.close();
    await worker.close();
  });

  it('does not wait for a Redis that is away, where nothing is in work', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const { worker, logger, observer } = makeWorker({ url: server.url });
    const own = new Redis(server.url);
    const ownQueue = new Queue(PRODUCT_QUEUE, { connection: own, prefix: prefix() });
    await ownQueue.add(PRODUCT_JOB, PRODUCT);
    worker.start();
    await observer.untilFinished(1);
    await ownQueue.close();
    own.disconnect();
    await server.stop();
    await logger.untilLogged('redis is away; waiting for it');
    await worker.close();
  });
});

describe('an outage of Redis', () => {
  it('is waited out: the job in work completes, and those that come later are done', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const gate = createGate();
    const started = createGate();
    const { worker, observer, logger } = makeWorker({
      url: server.url,
      categorizeJob: async () => {
        started.open();
        await gate.passed;
      },
    });
    const own = new Redis(server.url, { maxRetriesPerRequest: null });
    own.on('error', () => undefined);
    const ownQueue = new Queue(PRODUCT_QUEUE, { connection: own, prefix: prefix() });
    ownQueue.on('error', () => undefined);
    onTestFinished(async () => {
      await ownQueue.close();
      own.disconnect();
    });
    await ownQueue.add(PRODUCT_JOB, PRODUCT);
    worker.start();
    await started.passed;
    await server.stop();
    await logger.untilLogged('redis is away; waiting for it');
    gate.open();
    await server.start();
    await logger.untilLogged('redis is back');
    await observer.untilFinished(1);
    await ownQueue.add(PRODUCT_JOB, PRODUCT);
    expect(await observer.untilFinished(2)).toMatchObject([{ outcome: 'completed' }, { outcome: 'completed' }]);
    const outages = logger.lines.filter(({ message }) => message === 'redis is away; waiting for it');
    expect(outages, 'logged once').toHaveLength(1);
  });
});
