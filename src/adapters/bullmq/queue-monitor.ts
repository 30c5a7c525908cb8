import type { Job, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { createCounts, increment } from '../../application/counts.ts';
import type { FailedJob, QueueActivity, QueueDepth, QueueMonitor, RunMonitor } from '../../application/ports.ts';
import { PRODUCT_QUEUE, parseFailedReason, RESULT_QUEUE } from '../../contract/index.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { askRedis, reasonOfOutage } from './connection.ts';
import { countWorkers } from './count-workers.ts';
import { brokenReason } from './job-hash.ts';
import { readMismatchedJobs } from './mismatched-jobs.ts';
import { readQueueLag } from './queue-lag.ts';
import { explainRedis, isForbidden } from './redis-errors.ts';
import { checkRedis } from './redis-health.ts';
import { TolerantQueue } from './tolerant-job.ts';

const PAGE = 200;
/** Each may hold as much data as a job is allowed to. */
const JOBS_AT_ONCE = 20;
const STATES = ['waiting', 'active', 'delayed', 'prioritized', 'failed', 'completed'] as const;

/**
 * Looks at both queues, and puts failed jobs back.
 *
 * @param options.connection from `connectForProbes` or `connectOrFail`: it must not wait for an absent Redis
 */
export function createQueueMonitor(options: {
  readonly connection: Redis;
  readonly prefix: string;
}): QueueMonitor & RunMonitor & { close(): Promise<void> } {
  const { connection, prefix } = options;
  const queues = [PRODUCT_QUEUE, RESULT_QUEUE].map((name) => new TolerantQueue(name, { connection, prefix }));
  for (const queue of queues) queue.on('error', () => undefined);
  const [products] = queues;

  async function depthOf(queue: Queue): Promise<QueueDepth> {
    const toKey = (type: string) => queue.toKey(type);
    const [counts, oldestWaitingAgeSeconds, mismatched, paused, workers] = await Promise.all([
      queue.getJobCounts(...STATES),
      readQueueLag(connection, toKey),
      queue === products ? readMismatchedJobs(connection, toKey) : undefined,
      queue.isPaused(),
      countWorkers(queue),
    ]);
    const jobs = Object.fromEntries(STATES.map((state) => [state, counts[state] ?? 0])) as QueueDepth['jobs'];
    const depth = { queue: queue.name, jobs, oldestWaitingAgeSeconds, paused, workers };
    return mismatched && mismatched.length > 0 ? { ...depth, mismatched } : depth;
  }

  async function* failed(): AsyncGenerator<FailedJob> {
    for (let start = 0; ; start += PAGE) {
      const ids = await askRedis(() => products.getRanges(['failed'], start, start + PAGE - 1, true));
      if (ids.length === 0) return;
      for (let at = 0; at < ids.length; at += JOBS_AT_ONCE) {
        const some = ids.slice(at, at + JOBS_AT_ONCE);
        const jobs = await askRedis(() => Promise.all(some.map(readFailed)));
        yield* jobs.filter((job) => job !== undefined);
      }
    }
  }

  async function readFailed(jobId: string): Promise<FailedJob | undefined> {
    const job = await products.getJob(jobId);
    if (job) return toFailedJob(job);
    if ((await products.getJobState(jobId)) !== 'failed') return undefined;
    return { jobId, runId: undefined, ...parseFailedReason(brokenReason('there is nothing under its key')) };
  }

  async function activity(): Promise<QueueActivity> {
    const counts = await askRedis(() => products.getJobCounts('waiting', 'active', 'delayed', 'prioritized'));
    const unfinishedJobs = Object.values(counts).reduce((sum, count) => sum + count, 0);
    if (unfinishedJobs === 0) return { unfinishedJobs, workers: 0, mismatchedJobs: 0 };
    const workers = await askRedis(() => countWorkers(products));
    // Most of the time such a job is delayed.
    const mismatchedJobs = counts.delayed > 0 ? await countMismatchedJobs() : 0;
    return { unfinishedJobs, workers, mismatchedJobs };
  }

  /** 0 where the Redis user may not look. */
  async function countMismatchedJobs(): Promise<number> {
    try {
      const mismatched = await readMismatchedJobs(connection, (type) => products.toKey(type));
      return mismatched.reduce((sum, { waiting, delayed }) => sum + waiting + delayed, 0);
    } catch (error) {
      if (isForbidden(error)) return 0;
      return askRedis(() => Promise.reject(error));
    }
  }

  async function failures(runId: string | undefined): Promise<Record<string, number>> {
    const byCode = createCounts();
    for await (const job of failed()) if (runId === undefined || job.runId === runId) increment(byCode, job.code);
    return byCode;
  }

  async function retryFailed(jobIds: readonly string[]): Promise<number> {
    const retryOne = async (id: string) => {
      const job = await products.getJob(id);
      if (job === undefined || !(await job.isFailed())) return 0;
      await job.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true });
      return 1;
    };
    const retried = await askRedis(() => Promise.all(jobIds.map(retryOne)));
    return retried.reduce<number>((sum, one) => sum + one, 0);
  }

  return {
    async depths() {
      // A queue that never was connected would wait for that, and a scrape with it.
      if (connection.status !== 'ready') {
        const cause = reasonOfOutage(connection);
        const message = `Redis is not connected${cause ? `: ${explainRedis(cause)}` : ''}`;
        throw new CategorizerError('REDIS_UNAVAILABLE', message, { retryable: true, cause });
      }
      return askRedis(() => Promise.all(queues.map(depthOf)));
    },
    health: () => checkRedis(connection, prefix, { readsOnly: true }),
    failed,
    retryFailed,
    activity,
    failures,
    async close() {
      await Promise.all(queues.map((queue) => queue.close()));
    },
  };
}

function toFailedJob(job: Job): FailedJob {
  const runId: unknown = job.data?.runId;
  return {
    jobId: job.id ?? '',
    runId: typeof runId === 'string' ? runId : undefined,
    ...parseFailedReason(job.failedReason ?? ''),
  };
}
