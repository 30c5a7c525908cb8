import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { connectPatiently } from '../../src/adapters/bullmq/connection.ts';
import { createRunQueue, DUE_JOB, RUN_QUEUE } from '../../src/adapters/bullmq/run-queue.ts';
import { createRunWorker } from '../../src/adapters/bullmq/run-worker.ts';
import { cronCalendar } from '../../src/adapters/cron/calendar.ts';
import { createSchedules } from '../../src/adapters/postgres/schedules.ts';
import type { Schedule } from '../../src/application/recategorization/ports.ts';
import { createFakeLogger, createGate } from '../support/fake-observers.ts';
import { uniquePrefix } from '../support/products.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const { database, sql } = useRecategorizationDatabase();

const SAO_PAULO = 'America/Sao_Paulo';

function schedule(changes: Partial<Schedule> = {}): Schedule {
  return {
    name: 'nightly',
    cron: '0 2 * * *',
    timeZone: SAO_PAULO,
    missed: 'catch-up',
    settings: runSettings(),
    updatedAt: new Date(),
    ...changes,
  };
}

describe('the record of the schedules', () => {
  it('keeps a schedule as it was set', async () => {
    const schedules = createSchedules(database());
    const { updatedAt, ...set } = schedule({ settings: runSettings({ applySql: `SELECT 'it''s'`, minProducts: 7 }) });
    await schedules.set(set);
    expect(await schedules.get('nightly')).toEqual({ ...set, updatedAt: expect.any(Date) });
    expect(await schedules.get('weekly')).toBeUndefined();
  });

  it('changes one as a whole, and knows since when it is so', async () => {
    const schedules = createSchedules(database());
    await schedules.set(schedule());
    await sql(`UPDATE categorizer.schedules SET updated_at = '2026-01-01', created_at = '2026-01-01'`);
    const changed = { ...schedule(), cron: '0 3 * * *', timeZone: 'UTC', missed: 'skip' as const };
    await schedules.set({ ...changed, settings: runSettings({ full: true }) });
    const found = await schedules.get('nightly');
    expect(found).toMatchObject({ cron: '0 3 * * *', timeZone: 'UTC', missed: 'skip', settings: { full: true } });
    expect(found?.updatedAt.getTime()).toBeGreaterThan(Date.now() - 60_000);
    expect(await schedules.list()).toHaveLength(1);
  });

  it('lists them by name, and removes one once', async () => {
    const schedules = createSchedules(database());
    for (const name of ['b', 'a', 'c']) await schedules.set(schedule({ name }));
    expect(await schedules.remove('b')).toBe(true);
    expect(await schedules.remove('b')).toBe(false);
    expect((await schedules.list()).map(({ name }) => name)).toEqual(['a', 'c']);
  });
});

describe('the queue of the schedules', () => {
  let prefix: string;
  let redis: Redis;
  let queue: Queue;
  beforeEach(() => {
    prefix = uniquePrefix();
    redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
    queue = new Queue(RUN_QUEUE, { connection: redis, prefix });
    // The clock alone: what waits for Redis must go on.
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-24T12:00:00Z') });
    return async () => {
      vi.useRealTimers();
      await queue.close();
      redis.disconnect();
    };
  });

  function open() {
    const runQueue = createRunQueue({ connection: redis, prefix, calendar: cronCalendar });
    onTestFinished(runQueue.close);
    return runQueue;
  }

  /** What it will call for: the schedule and the time, in UTC. */
  async function dueTimes(): Promise<string[]> {
    const jobs = await queue.getJobs(['delayed', 'waiting', 'prioritized']);
    return jobs
      .map(({ id, name, data, timestamp, delay }) => {
        expect(name).toBe(DUE_JOB);
        const at = new Date(Number(id?.split(':').at(-1))).toISOString();
        // Delayed until then.
        expect(new Date(timestamp + delay).toISOString()).toBe(at);
        return `${data.schedule} ${at}`;
      })
      .sort();
  }

  it('calls for each schedule at its next time', async () => {
    const { sync } = open();
    await sync([schedule(), schedule({ name: 'lunch', cron: '30 12 * * *', timeZone: 'Europe/Lisbon' })]);
    expect(await dueTimes()).toEqual(['lunch 2026-11-24T12:30:00.000Z', 'nightly 2026-11-25T05:00:00.000Z']);
  });

  it.each([
    { at: 'that does not exist that night', zone: 'America/New_York', cron: '30 2 * * *', now: '2026-03-08T03:00:00Z' },
    { at: 'that comes twice that night', zone: 'America/New_York', cron: '30 1 * * *', now: '2026-11-01T03:00:00Z' },
    { at: 'after the clocks changed', zone: 'Europe/Lisbon', cron: '0 2 * * *', now: '2026-03-29T00:30:00Z' },
    { at: 'where midnight does not exist', zone: 'America/Santiago', cron: '0 0 * * *', now: '2026-09-05T12:00:00Z' },
    {
      at: 'where clocks change by half an hour',
      zone: 'Australia/Lord_Howe',
      cron: '0 2 * * *',
      now: '2026-04-04T12:00:00Z',
    },
    { at: 'where clocks never change', zone: SAO_PAULO, cron: '0 0 * * *', now: '2026-10-17T12:00:00Z' },
  ])('calls at the time that is shown: one $at', async ({ zone, cron, now }) => {
    vi.setSystemTime(new Date(now));
    await open().sync([schedule({ cron, timeZone: zone })]);
    const [shown] = cronCalendar.next(cron, zone, new Date(now), 1);
    expect(await dueTimes()).toEqual([`nightly ${shown.toISOString()}`]);
  });

  it('calls once for a schedule, however often it is set up, by whichever process', async () => {
    const [one, other] = [open(), open()];
    await Promise.all([one, other, one].map(({ sync }) => sync([schedule()])));
    await other.sync([schedule()]);
    expect(await dueTimes()).toEqual(['nightly 2026-11-25T05:00:00.000Z']);
  });

  it.each([
    { what: 'time', change: { cron: '0 3 * * *' }, due: '2026-11-25T06:00:00.000Z' },
    { what: 'time zone', change: { timeZone: 'Europe/Lisbon' }, due: '2026-11-25T02:00:00.000Z' },
  ])('calls at another time, and at that alone, when the $what of a schedule is another', async ({ change, due }) => {
    const { sync } = open();
    await sync([schedule()]);
    await sync([schedule(change)]);
    expect(await dueTimes()).toEqual([`nightly ${due}`]);
  });

  it('calls no more for one that is removed', async () => {
    const { sync } = open();
    await sync([schedule(), schedule({ name: 'weekly', cron: '0 2 * * 1' })]);
    await sync([schedule({ name: 'weekly', cron: '0 2 * * 1' })]);
    expect(await dueTimes()).toEqual(['weekly 2026-11-30T05:00:00.000Z']);
    await sync([]);
    expect(await dueTimes()).toEqual([]);
    expect(await queue.getJobSchedulers()).toEqual([]);
  });

  it('does not drop a time that was missed and is still to come', async () => {
    const { sync } = open();
    await sync([schedule()]);
    // No scheduler ran for two days.
    vi.setSystemTime(new Date('2026-11-26T12:00:00Z'));
    await sync([schedule({ missed: 'skip', settings: runSettings({ full: true }) })]);
    expect(await dueTimes()).toEqual(['nightly 2026-11-25T05:00:00.000Z']);
  });

  it('calls again for a schedule whose next call was lost', async () => {
    const { sync } = open();
    await sync([schedule()]);
    const [job] = await queue.getDelayed();
    // BullMQ itself refuses to.
    await redis.zrem(queue.toKey('delayed'), job.id ?? '');
    await redis.del(queue.toKey(job.id ?? ''));
    expect(await dueTimes()).toEqual([]);
    await sync([schedule()]);
    expect(await dueTimes()).toEqual(['nightly 2026-11-25T05:00:00.000Z']);
  });

  it('calls again for all when Redis has lost everything', async () => {
    const { sync } = open();
    await sync([schedule()]);
    await redis.del(await redis.keys(`${prefix}:*`));
    await sync([schedule()]);
    expect(await dueTimes()).toEqual(['nightly 2026-11-25T05:00:00.000Z']);
  });

  describe('and its worker', () => {
    function work(startDue: (name: string, at: Date) => Promise<void>) {
      const logger = createFakeLogger();
      const connection = connectPatiently(inject('redisUrl'), logger);
      const worker = createRunWorker({
        ...{ connection, prefix, lockMs: 30_000, calendar: cronCalendar, startDue, logger },
        advance: async () => 'over',
        giveUp: async () => undefined,
      });
      onTestFinished(async () => {
        await worker.close();
        connection.disconnect();
      });
      worker.start();
    }

    it('come late for a time that was missed with that time, once, and then wait for the next', async () => {
      await open().sync([schedule()]);
      vi.setSystemTime(new Date('2026-11-27T12:00:00Z'));
      const called = createGate();
      const calls: string[] = [];
      work(async (name, at) => {
        calls.push(`${name} ${at.toISOString()}`);
        called.open();
      });
      await called.passed;
      await vi.waitFor(async () => expect(await dueTimes()).toEqual(['nightly 2026-11-28T05:00:00.000Z']));
      expect(calls).toEqual(['nightly 2026-11-25T05:00:00.000Z']);
    });

    it('call again where the run could not be begun, with the same time', async () => {
      await open().sync([schedule()]);
      vi.setSystemTime(new Date('2026-11-25T05:00:00Z'));
      const calls: string[] = [];
      work(async (name, at) => {
        calls.push(`${name} ${at.toISOString()}`);
        if (calls.length === 1) throw new Error('the database is away');
      });
      // The clock goes on meanwhile, and the pause before the next try passes.
      await vi.waitFor(() => expect(calls).toHaveLength(2), { timeout: 20_000, interval: 50 });
      expect(calls).toEqual(Array.from({ length: 2 }, () => 'nightly 2026-11-25T05:00:00.000Z'));
    });
  });

  describe('and the jobs of runs', () => {
    it('have one for a run, however often it is asked for', async () => {
      const { ensure } = open();
      await Promise.all([ensure('night-1'), ensure('night-1')]);
      await ensure('night-1');
      const jobs = await queue.getJobs(['waiting']);
      expect(jobs.map(({ id, name }) => [id, name])).toEqual([['night-1', 'run']]);
    });

    it('have it anew where it is gone', async () => {
      const { ensure } = open();
      await ensure('night-1');
      await queue.remove('night-1');
      await ensure('night-1');
      expect(await queue.getWaitingCount()).toBe(1);
    });

    it('are not touched when schedules are set up and removed', async () => {
      const { ensure, sync } = open();
      await ensure('night-1');
      await sync([schedule()]);
      await sync([]);
      expect(await queue.getWaitingCount()).toBe(1);
    });
  });
});
