import type { Job, JobProgress, RetryOptions } from 'bullmq';
import { PRODUCT_JOB } from '../../contract/index.ts';
import { summarize } from './dashboard-view.ts';
import { brokenReason } from './job-hash.ts';
import { MAX_DATA_BYTES } from './lenient-scripts.ts';
import { readJobHash } from './tolerant-backend.ts';
import { readTolerantly, TolerantJob, TolerantQueue } from './tolerant-job.ts';

/** More data than that is read only for the view of one job. */
const MAX_LISTED_BYTES = 256 * 1024;

/** A change that bull-board offers and that would do harm here. */
export class RefusedChange extends Error {
  override readonly name = 'RefusedChange';
  readonly status = 409;
  readonly code = 'CHANGE_REFUSED';
}

/** A job as the dashboard shows and changes it. */
class DashboardJob<
  D = unknown,
  R = unknown,
  N extends string = string,
  P extends JobProgress = JobProgress,
> extends TolerantJob<D, R, N, P> {
  /** Whether `data` is all of the job's data, and not a summary of it. */
  private isWhole = true;

  static override fromJSON<D, R, N extends string>(...args: Parameters<typeof Job.fromJSON>): Job<D, R, N> {
    return readTolerantly<D, R, N>(DashboardJob, ...args);
  }

  /** From now on `data` is what people shall see. */
  show(data: D): void {
    this.isWhole = false;
    this.data = data;
  }

  /** All of its attempts, as `categorizer queue retry-failed` gives it. */
  override async retry(state: 'completed' | 'failed' = 'failed', options: RetryOptions = {}): Promise<void> {
    if (state === 'completed') {
      throw new RefusedChange('a job that completed is not done again: its payload is gone and its result published');
    }
    await super.retry(state, { resetAttemptsMade: true, resetAttemptsStarted: true, ...options });
  }

  /** The editor is filled with what is shown: of a chunk that is a summary, which would replace its products. */
  override async updateData(data: D): Promise<void> {
    if (!this.isWhole) {
      throw new RefusedChange(
        `only the data of a '${PRODUCT_JOB}' job can be changed: send the products again instead`,
      );
    }
    await super.updateData(data);
  }
}

/** Shows every job that a state counts, and of large or broken ones what can be shown. */
export class DashboardQueue extends TolerantQueue {
  protected override get Job(): typeof Job {
    return DashboardJob;
  }

  /** Without the data of large ones: a page of chunks may hold a hundred megabytes. */
  readForList(jobId: string): Promise<Job | undefined> {
    return this.read(jobId, MAX_LISTED_BYTES, 'large: open the job to see the first of its products');
  }

  /** @param preview fields to show beside those of the job */
  readOne(jobId: string, preview?: (job: Job) => Promise<object>): Promise<Job | undefined> {
    return this.read(jobId, MAX_DATA_BYTES, 'more than a job may hold, and not read', preview);
  }

  private async read(
    jobId: string,
    mostBytes: number,
    note: string,
    preview: (job: Job) => Promise<object> = async () => ({}),
  ): Promise<Job | undefined> {
    const read = await readJobHash(this.backend, jobId, mostBytes);
    if (!read) return this.readAbsent(jobId);
    const { json, examined } = read;
    const bytes = examined.tooLong.data;
    const job = DashboardJob.fromJSON(this, json, jobId);
    if (!(job instanceof DashboardJob)) return job;
    const problem = bytes === undefined || mostBytes === MAX_DATA_BYTES ? job.deferredFailure : undefined;
    if (bytes !== undefined) job.show({ bytes, note, ...(problem !== undefined && { problem }) });
    else if (problem !== undefined) job.show({ problem, data: summarize(job.name, job.data) });
    else if (job.name !== PRODUCT_JOB || JSON.stringify(job.data ?? null).length > MAX_LISTED_BYTES) {
      job.show(withFields(summarize(job.name, job.data), await preview(job)));
    }
    return job;
  }

  /** An id that stands in a state but has no job, as a worker will find it. */
  private async readAbsent(jobId: string): Promise<Job | undefined> {
    if ((await this.backend.getState(jobId)) === 'unknown') return undefined;
    const problem = brokenReason('there is nothing under its key');
    const job = new DashboardJob(this, '', {}, {}, jobId);
    job.failedReason = problem;
    job.show({ problem });
    return job;
  }
}

function withFields(summary: unknown, fields: object): unknown {
  return typeof summary === 'object' && summary !== null && !Array.isArray(summary)
    ? { ...summary, ...fields }
    : summary;
}
