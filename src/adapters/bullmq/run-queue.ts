import type { Job, RepeatStrategy } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Calendar, RunQueue, Schedule, ScheduleQueue } from '../../application/recategorization/ports.ts';
import { PRODUCT_QUEUE } from '../../contract/index.ts';
import { askRedis } from './connection.ts';
import { countWorkers } from './count-workers.ts';
import { TolerantQueue } from './tolerant-job.ts';

/** Where each working run has one job, the parent of its chunks, and each schedule its next time. */
export const RUN_QUEUE = 'product-runs';
const RUN_JOB = 'run';
/** A schedule is due. */
export const DUE_JOB = 'due';

export interface DueJobData {
  readonly schedule: string;
}

/** The record of a run is in the database, which says when it is over: its job is tried until then. */
const JOB_OPTIONS = {
  attempts: 1_000_000,
  backoff: { type: 'custom' },
  removeOnComplete: true,
  removeOnFail: true,
} as const;

/** The next times as they are shown: BullMQ's own fail where clocks change by half an hour, or at midnight. */
export function repeatBy(calendar: Calendar): RepeatStrategy {
  return (after, { pattern = '', tz = 'UTC' }) => calendar.next(pattern, tz, new Date(after), 1)[0].getTime();
}

/** @param options.connection from `connectOrFail` or `connectPatiently` */
export function createRunQueue(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly calendar: Calendar;
}): RunQueue & ScheduleQueue & { countWorkers(): Promise<number | undefined>; close(): Promise<void> } {
  const { connection, prefix, calendar } = options;
  const queue = new TolerantQueue(RUN_QUEUE, {
    connection,
    prefix,
    streams: { events: { maxLen: 1000 } },
    settings: { repeatStrategy: repeatBy(calendar) },
  });
  const products = new TolerantQueue(PRODUCT_QUEUE, { connection, prefix });
  // The call that fails says the same.
  for (const each of [queue, products]) each.on('error', () => undefined);
  /** Run that waited for chunks when no job was on the queue, at the last look. */
  let orphaned: string | undefined;

  const add = (runId: string) => queue.add(RUN_JOB, {}, { ...JOB_OPTIONS, jobId: runId });

  /** The chunks of a run can be removed by hand, or with their queue: nobody would ever wake it. */
  async function isOrphaned(job: Job): Promise<boolean> {
    if ((await job.getState()) !== 'waiting-children') return false;
    return (await products.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized')) === 0;
  }

  async function ensure(runId: string): Promise<void> {
    await askRedis(() => add(runId));
    const job = await askRedis(() => queue.getJob(runId));
    if (job && (await askRedis(() => job.isFailed()))) {
      // What was stored of it was broken. The run itself is in the database.
      await askRedis(() => job.remove({ removeChildren: false }));
      await askRedis(() => add(runId));
      orphaned = undefined;
    } else if (!job || !(await askRedis(() => isOrphaned(job)))) {
      orphaned = undefined;
    } else if (orphaned === runId) {
      await askRedis(() => job.remove({ removeChildren: false }));
      await askRedis(() => add(runId));
    } else {
      // Seen once it may be between two steps of the queue.
      orphaned = runId;
    }
  }

  async function hasNextJob(name: string, next: number | undefined): Promise<boolean> {
    return next !== undefined && (await askRedis(() => queue.getJob(`repeat:${name}:${next}`))) !== undefined;
  }

  /** What is as it should be is left alone: setting it again would drop a time that was missed and is still to come. */
  async function sync(schedules: readonly Schedule[]): Promise<void> {
    const found = new Map((await askRedis(() => queue.getJobSchedulers())).map((each) => [each.key, each]));
    for (const { name, cron, timeZone } of schedules) {
      const present = found.get(name);
      found.delete(name);
      const same = present?.pattern === cron && present.tz === timeZone;
      if (same && (await hasNextJob(name, present.next))) continue;
      const data: DueJobData = { schedule: name };
      await askRedis(() =>
        queue.upsertJobScheduler(name, { pattern: cron, tz: timeZone }, { name: DUE_JOB, data, opts: JOB_OPTIONS }),
      );
    }
    for (const name of found.keys()) await askRedis(() => queue.removeJobScheduler(name));
  }

  return {
    ensure,
    sync,
    countWorkers: () => askRedis(() => countWorkers(products)),
    async close() {
      await Promise.all([queue.close(), products.close()]);
    },
  };
}
