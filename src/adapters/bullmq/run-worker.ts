import { setTimeout as pause } from 'node:timers/promises';
import { type Job, UnrecoverableError, WaitingChildrenError } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Logger } from '../../application/ports.ts';
import type { AdvanceRun } from '../../application/recategorization/advance-run.ts';
import type { Calendar } from '../../application/recategorization/ports.ts';
import { CategorizerError, messageOf } from '../../domain/errors.ts';
import { logErrors } from './connection.ts';
import { createPatience } from './patience.ts';
import { PatientWorker } from './patient-worker.ts';
import { isPassingRefusal } from './redis-errors.ts';
import { DUE_JOB, type DueJobData, RUN_QUEUE, repeatBy } from './run-queue.ts';

/** One run works at a time; schedules that come due meanwhile are told so at once. */
const CONCURRENCY = 4;
const LONGEST_PAUSE_MS = 30_000;
/** A run whose chunks the queue knows, but not as its own, as its job was made anew: looked for in this interval. */
const POLL_MS = 200;
/** Errors that nobody foresaw are defects, and defects do not go away: so often they are tried all the same. */
const UNFORESEEN_TRIES = 5;

export interface RunWorker {
  start(): void;
  /** Ends between two steps of a run; another process goes on with it. */
  close(): Promise<void>;
}

export function createRunWorker(options: {
  /** From `connectPatiently`. */
  readonly connection: Redis;
  readonly prefix: string;
  readonly lockMs: number;
  readonly calendar: Calendar;
  readonly advance: AdvanceRun;
  readonly startDue: (schedule: string, dueAt: Date) => Promise<void>;
  readonly giveUp: (runId: string, error: Error) => Promise<void>;
  readonly logger: Logger;
}): RunWorker {
  const { connection, prefix, lockMs, calendar, advance, startDue, giveUp, logger } = options;
  const stop = new AbortController();

  const patience = createPatience({ logger });
  const settings = {
    connection,
    prefix,
    concurrency: CONCURRENCY,
    autorun: false,
    lockDuration: lockMs,
    stalledInterval: lockMs,
    maxStalledCount: Number.MAX_SAFE_INTEGER,
    runRetryDelay: 1000,
    settings: {
      repeatStrategy: repeatBy(calendar),
      backoffStrategy: (attempts: number) => Math.min(1000 * 2 ** (attempts - 1), LONGEST_PAUSE_MS),
    },
  };
  const worker = new PatientWorker(RUN_QUEUE, processJob, settings, patience);
  worker.on('failed', (job, error) => {
    if (stop.signal.aborted) return;
    const sentence = job?.deferredFailure
      ? 'the job of a run is broken in Redis; it is made anew'
      : 'a step of a run failed; it is tried again';
    logger.warn({ jobId: job?.id, reason: error.message }, sentence);
  });
  logErrors(worker, (reason) => logger.warn({ reason }, 'run worker error'), isPassingRefusal);

  async function processJob(job: Job, token = ''): Promise<null> {
    if (job.name === DUE_JOB) {
      const { schedule }: DueJobData = job.data;
      await startDue(schedule, dueTimeOf(job));
      return null;
    }
    const runId = job.id ?? '';
    try {
      while ((await advance(runId, stop.signal)) === 'waiting') {
        if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
        await pause(POLL_MS, undefined, { signal: stop.signal }).catch(() => undefined);
      }
      return null;
    } catch (error) {
      if (error instanceof WaitingChildrenError || error instanceof CategorizerError) throw error;
      if (job.attemptsMade + 1 < UNFORESEEN_TRIES) throw error;
      await giveUp(runId, error instanceof Error ? error : new Error(messageOf(error)));
      throw new UnrecoverableError(messageOf(error));
    }
  }

  return {
    start() {
      worker.run().catch((error: Error) => logger.error({ reason: error.message }, 'run worker stopped'));
    },
    async close() {
      stop.abort();
      patience.end();
      await worker.close(connection.status !== 'ready');
    },
  };
}

/** When the schedule says, not when a worker came to it. Source: the ids that BullMQ's job schedulers give. */
function dueTimeOf({ id, timestamp, delay }: Job): Date {
  const planned = Number(/:(\d+)$/.exec(id ?? '')?.[1]);
  return new Date(Number.isNaN(planned) ? timestamp + delay : planned);
}
