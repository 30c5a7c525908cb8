import { type Job, type Processor, WaitingError, type WorkerOptions } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Patience } from './patience.ts';
import { isPassingRefusal, isRedisToBlame } from './redis-errors.ts';
import { TolerantWorker } from './tolerant-job.ts';

/** BullMQ's number of the error that says that a job has no lock any more. */
const NO_LOCK = -2;

/**
 * Gives a job its lock back that ran out while Redis refused to renew it, if nobody else has it and the job is in work.
 *
 * KEYS: lock of the job, list of jobs in work, set of those that may have stalled. ARGV: job id, token, milliseconds.
 */
const TAKE_LOCK_AGAIN = `
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local at = redis.pcall('LPOS', KEYS[2], ARGV[1])
if not at or type(at) == 'table' then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('SREM', KEYS[3], ARGV[1])
return 1
`;

/**
 * A worker that a refusing Redis costs no attempts. Without it a job whose result was published fails when Redis is full
 * at that moment, and a fetch that is refused is repeated at once, without end.
 */
export class PatientWorker extends TolerantWorker {
  private readonly patience: Patience;
  private readonly redis: Redis;

  constructor(name: string, processor: Processor, options: WorkerOptions & { connection: Redis }, patience: Patience) {
    super(name, processor, options);
    this.patience = patience;
    this.redis = options.connection;
    this.on('error', patience.note);
  }

  protected override async moveToActive(token: string, name?: string): Promise<Job> {
    try {
      return await super.moveToActive(token, name);
    } catch (error) {
      await this.patience.pauseAfter(error);
      throw error;
    }
  }

  protected override handleCompleted(...[result, job, token, ...rest]: Parameters<TolerantWorker['handleCompleted']>) {
    return this.finish(job, token, () => super.handleCompleted(result, job, token, ...rest));
  }

  protected override async handleFailed(...[error, job, token, ...rest]: Parameters<TolerantWorker['handleFailed']>) {
    if (isRedisToBlame(error)) return this.handBack(job, token, error);
    // Each try would add another copy of the same.
    const { stacktrace } = job;
    return this.finish(job, token, () => {
      job.stacktrace = [...(stacktrace ?? [])];
      return super.handleFailed(error, job, token, ...rest);
    });
  }

  /** Tries until Redis takes it; meanwhile the job keeps its lock, or gets it back. */
  private finish<T>(job: Job, token: string, transition: () => Promise<T>): Promise<T> {
    const id = job.id ?? '';
    let again = false;
    return this.patience.outlast(async () => {
      if (again) await this.extendJobLocks([id], [token], this.opts.lockDuration ?? 0);
      again = true;
      this.lockManager.untrackJob(id);
      try {
        return await transition();
      } catch (error) {
        if (isPassingRefusal(error)) this.lockManager.trackJob(id, token, job.processedOn ?? 0);
        const lost = error instanceof Error && 'code' in error && error.code === NO_LOCK;
        if (lost && (await this.takeLockAgain(id, token))) return await transition();
        throw error;
      }
    });
  }

  /** Redis, and not the job, is to blame: it waits again, with all of the attempts that it had. */
  private async handBack(job: Job, token: string, error: Error): Promise<Job> {
    await this.patience.pauseAfter(error);
    this.emit('error', error);
    // Where that is refused as well, the job goes to another worker when its lock runs out.
    await job.moveToWait(token);
    return super.handleFailed(new WaitingError(), job, token, () => false);
  }

  override async extendJobLocks(jobIds: string[], tokens: string[], duration: number): Promise<string[]> {
    const failed = new Set(await this.noting(() => super.extendJobLocks(jobIds, tokens, duration)));
    const lost = jobIds.flatMap((id, i) => (failed.has(id) ? [{ id, token: tokens[i] }] : []));
    const taken = await Promise.all(lost.map(({ id, token }) => this.takeLockAgain(id, token)));
    return lost.flatMap(({ id }, i) => (taken[i] ? [] : [id]));
  }

  private async takeLockAgain(id: string, token: string): Promise<boolean> {
    const keys = [this.toKey(`${id}:lock`), this.keys.active, this.keys.stalled];
    const args = [id, token, this.opts.lockDuration ?? 0];
    return (await this.noting(() => this.redis.eval(TAKE_LOCK_AGAIN, keys.length, ...keys, ...args))) === 1;
  }

  /**
   * The look for stalled jobs, the only thing that BullMQ's worker calls through this. Right after Redis refused there
   * are jobs whose locks could not be renewed: their workers first get the time to do that.
   */
  protected override async checkConnectionError<T>(look: () => Promise<T>, delayMs?: number): Promise<T | undefined> {
    if (this.patience.refusedWithin(this.opts.lockDuration ?? 0)) return undefined;
    return super.checkConnectionError(() => this.noting(look), delayMs);
  }

  private async noting<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      this.patience.note(error);
      throw error;
    }
  }
}
