import { Job, type JobJson, type JobProgress, type RetryOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import { PRODUCT_JOB } from '../../contract/index.ts';
import { summarize } from './dashboard-view.ts';
import { TolerantQueue } from './tolerant-job.ts';

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
> extends Job<D, R, N, P> {
  /** Whether `data` is all of the job's data, and not a summary of it. */
  private isWhole = true;

  /** Data that is no JSON is read as none, as workers do. */
  static override fromJSON<D, R, N extends string>(
    queue: Parameters<typeof Job.fromJSON>[0],
    json: JobJson,
    jobId?: string,
  ): Job<D, R, N> {
    const read = Job.fromJSON<D, R, N>;
    try {
      return read.call(DashboardJob, queue, json, jobId);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return read.call(DashboardJob, queue, { ...json, data: 'null' }, jobId);
    }
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

/** Lists jobs without reading the data of large ones: a page of chunks may hold a hundred megabytes. */
export class DashboardQueue extends TolerantQueue {
  protected override get Job(): typeof Job {
    return DashboardJob;
  }

  async readForList(connection: Redis, jobId: string): Promise<Job | undefined> {
    const key = this.toKey(jobId);
    const bytes = await connection.hstrlen(key, 'data');
    if (bytes <= MAX_LISTED_BYTES) return this.readOne(jobId);
    return this.readWithoutData(connection, key, { jobId, bytes });
  }

  /** @param preview fields to show beside those of the job */
  async readOne(jobId: string, preview: (job: Job) => Promise<object> = async () => ({})): Promise<Job | undefined> {
    const job = await this.getJob(jobId);
    if (!(job instanceof DashboardJob)) return job;
    const isEditable = job.name === PRODUCT_JOB && JSON.stringify(job.data ?? null).length <= MAX_LISTED_BYTES;
    if (!isEditable) job.show(withFields(summarize(job.name, job.data), await preview(job)));
    return job;
  }

  private async readWithoutData(
    connection: Redis,
    key: string,
    { jobId, bytes }: { readonly jobId: string; readonly bytes: number },
  ): Promise<Job> {
    const values = await connection.hmget(key, ...Object.values(FIELDS));
    const raw = Object.fromEntries(Object.keys(FIELDS).map((field, i) => [field, values[i] ?? undefined]));
    const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
    const json: JobJson = {
      id: jobId,
      name: raw.name ?? '',
      data: 'null',
      opts: DashboardJob.optsFromJSON(raw.opts),
      progress: 0,
      attemptsMade: Number(raw.attemptsMade ?? 0),
      attemptsStarted: Number(raw.attemptsStarted ?? 0),
      stalledCounter: Number(raw.stalledCounter ?? 0),
      timestamp: Number(raw.timestamp ?? 0),
      delay: number(raw.delay),
      priority: number(raw.priority),
      processedOn: number(raw.processedOn),
      finishedOn: number(raw.finishedOn),
      failedReason: raw.failedReason ?? '',
      stacktrace: raw.stacktrace,
      processedBy: raw.processedBy,
      returnvalue: 'null',
    };
    const job = DashboardJob.fromJSON(this, json, jobId);
    if (job instanceof DashboardJob) job.show({ bytes, note: 'large: open the job to see the first of its products' });
    return job;
  }
}

function withFields(summary: unknown, fields: object): unknown {
  return typeof summary === 'object' && summary !== null && !Array.isArray(summary)
    ? { ...summary, ...fields }
    : summary;
}

/** Fields of a job, and how BullMQ 6 names them in Redis. */
const FIELDS = {
  name: 'name',
  opts: 'opts',
  timestamp: 'timestamp',
  delay: 'delay',
  priority: 'priority',
  processedOn: 'processedOn',
  finishedOn: 'finishedOn',
  failedReason: 'failedReason',
  stacktrace: 'stacktrace',
  attemptsMade: 'atm',
  attemptsStarted: 'ats',
  stalledCounter: 'stc',
  processedBy: 'pb',
} as const;
