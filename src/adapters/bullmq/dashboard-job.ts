import type { Job, JobProgress, QueueOptions, RetryOptions } from 'bullmq';
import { PRODUCT_JOB } from '../../contract/index.ts';
import { summarize } from './dashboard-view.ts';
import { brokenReason } from './job-hash.ts';
import { MAX_DATA_BYTES } from './lenient-scripts.ts';
import { evaluate, readJobHash } from './tolerant-backend.ts';
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
  /** Whether nothing but its id is there. */
  isAbsent = false;

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
    // One of many that are put back at once: it must not keep the others.
    if (this.isAbsent) return;
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

/** Rows of a job's log that are shown, and bytes of each. */
const MOST_LOG_ROWS = 200;
const MOST_ROW_BYTES = 4096;
const MOST_SCHEDULERS = 100;

/** KEYS: a job's log. ARGV: most rows, most bytes of one. */
const READ_LOGS = {
  name: 'categorizerReadLogs',
  lua: `
local rows = {}
if redis.call('TYPE', KEYS[1]).ok ~= 'list' then return rows end
for i = 0, math.min(redis.call('LLEN', KEYS[1]), tonumber(ARGV[1])) - 1 do
  rows[#rows + 1] = string.sub(redis.call('LINDEX', KEYS[1], i), 1, tonumber(ARGV[2]))
end
return rows`,
};

/** Shows every job that a state counts, and of large or broken ones what can be shown. */
export class DashboardQueue extends TolerantQueue {
  constructor(name: string, options: QueueOptions) {
    super(name, options);
    // What bull-board reads by itself, such as a tree of jobs, it shows without their data.
    this.backend.getJobData = async (id) => {
      const read = await readJobHash(this.backend, id, 0);
      return read && { ...read.json, data: 'null' };
    };
  }

  protected override get Job(): typeof Job {
    return DashboardJob;
  }

  /** A page of them; one whose hash is broken has nothing but its name. */
  override async getJobSchedulers() {
    const found = await this.backend.getJobSchedulersRange(0, MOST_SCHEDULERS - 1, true);
    const ids = found.filter((_, i) => i % 2 === 0);
    const schedulers = await Promise.all(
      ids.map((id) =>
        this.getJobScheduler(id).catch((error: unknown) => {
          if (!(error instanceof SyntaxError)) throw error;
          return { key: id, name: 'broken: what it makes jobs of is not JSON' };
        }),
      ),
    );
    return schedulers.filter((each) => each !== undefined && each !== null);
  }

  async readLogs(jobId: string): Promise<string[]> {
    const rows = await evaluate(
      this.backend,
      READ_LOGS,
      [this.toKey(`${jobId}:logs`)],
      [MOST_LOG_ROWS, MOST_ROW_BYTES],
    );
    return Array.isArray(rows) ? rows.map(String) : [];
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
    else if (problem !== undefined && job.data !== null) job.show({ problem, data: summarize(job.name, job.data) });
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
    job.isAbsent = true;
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
