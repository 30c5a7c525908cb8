import { describe, expect, it } from 'vitest';
import { CategorizerError } from '../../src/domain/errors.ts';
import { recorder } from '../support/fake-categorize-job.ts';
import { useWorkerSetting } from '../support/fake-worker-setting.ts';

const { addProduct, makeWorker, manyRoundTrips, queue, redis, stored } = useWorkerSetting();

describe('a job that stalled before', () => {
  /** As it is after its worker died with it. */
  async function markStalled(id: string, times = 1): Promise<void> {
    await redis().hset(queue().toKey(id), 'stc', times);
  }

  it('says so', async () => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob });
    await markStalled(await addProduct());
    worker.start();
    await observer.untilFinished(1);
    expect(jobs).toMatchObject([{ stalledBefore: true }]);
  });

  it('that is the first to be taken runs alone: no other is taken until it is finished', async () => {
    const { categorizeJob, companionsOf, most } = recorder(manyRoundTrips);
    const { worker, observer } = makeWorker({ categorizeJob });
    const suspect = await addProduct();
    for (let i = 0; i < 20; i++) await addProduct();
    await markStalled(suspect);
    worker.start();
    await observer.untilFinished(21);
    expect(companionsOf(suspect)).toEqual([]);
    expect(most(), 'afterwards jobs run together again').toBe(8);
  });

  it('that is taken while others are in work is not begun before they are finished', async () => {
    const { categorizeJob, companionsOf } = recorder(manyRoundTrips);
    const { worker, observer } = makeWorker({ categorizeJob });
    const ids: string[] = [];
    for (let i = 0; i < 21; i++) ids.push(await addProduct());
    const suspect = ids[4];
    await markStalled(suspect);
    worker.start();
    await observer.untilFinished(21);
    expect(companionsOf(suspect)).toEqual([]);
  });

  it('runs alone beside others that stalled, one after the other', async () => {
    const { categorizeJob, companionsOf } = recorder(manyRoundTrips);
    const { worker, observer } = makeWorker({ categorizeJob });
    const suspects: string[] = [];
    for (let i = 0; i < 5; i++) suspects.push(await addProduct());
    for (const suspect of suspects) await markStalled(suspect);
    worker.start();
    await observer.untilFinished(5);
    for (const suspect of suspects) expect(companionsOf(suspect)).toEqual([]);
  });

  it('lets the others run together again when it has failed', async () => {
    const { categorizeJob, most } = recorder(async ({ stalledBefore }) => {
      if (stalledBefore) throw new CategorizerError('WRONG_WIDTH', 'expected 16');
      await manyRoundTrips();
    });
    const { worker, observer } = makeWorker({ categorizeJob });
    const suspect = await addProduct();
    for (let i = 0; i < 10; i++) await addProduct();
    await markStalled(suspect);
    worker.start();
    await observer.untilFinished(11);
    expect(most()).toBeGreaterThan(1);
  });

  it('lets the others run together again when another worker took it meanwhile', async () => {
    const { categorizeJob, most } = recorder(async ({ id, stalledBefore }) => {
      if (stalledBefore) await redis().del(`${queue().toKey(id)}:lock`);
      else await manyRoundTrips();
    });
    const { worker, observer } = makeWorker({ categorizeJob });
    await markStalled(await addProduct());
    for (let i = 0; i < 10; i++) await addProduct();
    worker.start();
    await observer.untilFinished(10);
    expect(most()).toBeGreaterThan(1);
  });
});

describe('a job whose worker died', () => {
  /** Takes the oldest job as a worker does that then is gone: it is active, and nobody renews its lock. */
  async function takeAndDie(id: string): Promise<void> {
    await redis().lmove(queue().toKey('wait'), queue().toKey('active'), 'RIGHT', 'LEFT');
    expect(await (await stored(id)).getState()).toBe('active');
  }

  it('is taken by another, which tells the observer and knows that it stalled', async () => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob, lockMs: 500 });
    const id = await addProduct();
    await takeAndDie(id);
    worker.start();
    expect(await observer.untilStalled(1)).toEqual([id]);
    expect(await observer.untilFinished(1)).toMatchObject([{ jobId: id, outcome: 'completed' }]);
    expect(jobs).toMatchObject([{ id, stalledBefore: true }]);
  });

  it('for the third time is tried once more, and for the fourth time fails for good without being begun', async () => {
    const { categorizeJob, jobs } = recorder();
    const { worker, observer } = makeWorker({ categorizeJob, lockMs: 500 });
    const third = await addProduct();
    await takeAndDie(third);
    await redis().hset(queue().toKey(third), 'stc', 2);
    const fourth = await addProduct();
    await takeAndDie(fourth);
    await redis().hset(queue().toKey(fourth), 'stc', 3);
    worker.start();
    const finished = await observer.untilFinished(2);
    expect(finished.find(({ jobId }) => jobId === third)).toMatchObject({ outcome: 'completed' });
    expect(finished.find(({ jobId }) => jobId === fourth)).toMatchObject({
      outcome: 'failed',
      error: { code: 'STALLED' },
    });
    expect(jobs.map(({ id }) => id)).toEqual([third]);
    expect(await (await stored(fourth)).getState()).toBe('failed');
  });
});
