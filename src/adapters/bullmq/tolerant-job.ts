import {
  ErrorCode,
  Job,
  type JobProgress,
  type Processor,
  Queue,
  type QueueOptions,
  UnrecoverableError,
  Worker,
  type WorkerOptions,
} from 'bullmq';
import { messageOf } from '../../domain/errors.ts';
import { brokenReason } from './job-hash.ts';
import { createTolerantBackend, failByForce, isFaultOfJob } from './tolerant-backend.ts';

type FromJson = Parameters<typeof Job.fromJSON>;

/** As a job of that class. Data that is not JSON is read as none, so that it is a bad job like any other. */
export function readTolerantly<D, R, N extends string>(
  JobClass: typeof Job,
  ...[queue, json, jobId]: FromJson
): Job<D, R, N> {
  const read = Job.fromJSON<D, R, N>;
  try {
    return read.call(JobClass, queue, json, jobId);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const deferredFailure = json.deferredFailure ?? brokenReason('data: not JSON');
    return read.call(JobClass, queue, { ...json, data: 'null', deferredFailure }, jobId);
  }
}

/** A job that ends: one that BullMQ cannot finish is moved to the failed set by force, and not taken again and again. */
export class TolerantJob<
  D = unknown,
  R = unknown,
  N extends string = string,
  P extends JobProgress = JobProgress,
> extends Job<D, R, N, P> {
  private isUnfinishable = false;

  static override fromJSON<D, R, N extends string>(...args: FromJson): Job<D, R, N> {
    return readTolerantly<D, R, N>(TolerantJob, ...args);
  }

  override async moveToCompleted(value: R, token: string, fetchNext?: boolean): Promise<unknown[] | undefined> {
    try {
      return (await super.moveToCompleted(value, token, fetchNext)) ?? undefined;
    } catch (error) {
      if (!isFaultOfJob(error)) throw error;
      this.isUnfinishable = true;
      // BullMQ now fails it with that.
      throw new UnrecoverableError(brokenReason(`it was done, but cannot be completed: ${messageOf(error)}`));
    }
  }

  override async moveToFailed<E extends Error>(
    reason: E,
    token: string,
    fetchNext?: boolean,
  ): Promise<unknown[] | undefined> {
    const options = { id: this.id ?? '', reason: reason.message };
    try {
      if (!this.isUnfinishable) return (await super.moveToFailed(reason, token, fetchNext)) ?? undefined;
      await failByForce(this.backend, { ...options, isInWork: false });
    } catch (error) {
      // It has no key, as its id is the name of a list that is empty now; or it was removed, and nothing is left to do.
      const isAbsent = error instanceof Error && 'code' in error && error.code === ErrorCode.JobNotExist;
      if (!isAbsent && !isFaultOfJob(error)) throw error;
      if (!(await failByForce(this.backend, { ...options, isInWork: isAbsent }))) throw error;
    }
    this.failedReason = reason.message;
    this.finishedOn = Date.now();
    return undefined;
  }
}

export class TolerantQueue extends Queue {
  constructor(name: string, options: QueueOptions) {
    super(name, options, createTolerantBackend);
  }

  protected override get Job(): typeof Job {
    return TolerantJob;
  }
}

export class TolerantWorker extends Worker {
  constructor(name: string, processor: Processor, options: WorkerOptions) {
    super(name, processor, options, createTolerantBackend);
  }

  protected override get Job(): typeof Job {
    return TolerantJob;
  }
}
