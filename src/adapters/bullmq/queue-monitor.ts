import type { Job, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { createCounts, increment } from '../../application/counts.ts';
import type { FailedJob, QueueDepth, QueueMonitor, RunMonitor, RunProgress } from '../../application/ports.ts';
import { PRODUCT_QUEUE, parseFailedReason, RESULT_QUEUE } from '../../contract/index.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { askRedis } from './connection.ts';
import { readMismatchedJobs } from './mismatched-jobs.ts';
import { readQueueLag } from './queue-lag.ts';
import { readRun } from './run-memory.ts';
import { TolerantQueue } from './tolerant-job.ts';

const PAGE = 200;
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
      queue.getWorkersCount(),
    ]);
    const jobs = Object.fromEntries(STATES.map((state) => [state, counts[state] ?? 0])) as QueueDepth['jobs'];
    const depth = { queue: queue.name, jobs, oldestWaitingAgeSeconds, paused, workers };
    return mismatched && mismatched.length > 0 ? { ...depth, mismatched } : depth;
  }

  async function* failedJobs(): AsyncGenerator<readonly Job[]> {
    for (let start = 0; ; start += PAGE) {
      const ids = await askRedis(() => products.getRanges(['failed'], start, start + PAGE - 1, true));
      if (ids.length === 0) return;
      const jobs = await askRedis(() => Promise.all(ids.map((id) => products.getJob(id))));
      yield jobs.filter((job) => job !== undefined);
    }
  }

  async function* failed(): AsyncGenerator<FailedJob> {
    for await (const jobs of failedJobs()) yield* jobs.map(toFailedJob);
  }

  async function progress(runId: string | undefined): Promise<RunProgress> {
    const counts = await askRedis(() => products.getJobCounts('waiting', 'active', 'delayed', 'prioritized', 'failed'));
    const byCode = createCounts();
    if (counts.failed > 0) {
      for await (const job of failed()) if (runId === undefined || job.runId === runId) increment(byCode, job.code);
    }
    const run = await askRedis(() => readRun(connection, prefix, runId));
    const unfinishedJobs = counts.waiting + counts.active + counts.delayed + counts.prioritized;
    const workers = unfinishedJobs > 0 ? await askRedis(() => products.getWorkersCount()) : 0;
    return { ...run, failed: byCode, unfinishedJobs, workers };
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
        throw new CategorizerError('REDIS_UNAVAILABLE', 'Redis is not connected', { retryable: true });
      }
      return askRedis(() => Promise.all(queues.map(depthOf)));
    },
    failed,
    retryFailed,
    progress,
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
