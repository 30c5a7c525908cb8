import { DelayedError, type Job, type Worker } from 'bullmq';
import type { JobObserver, Logger } from '../../application/ports.ts';
import { PRODUCT_QUEUE } from '../../contract/index.ts';
import type { ModelInfo } from '../../domain/category.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { describeKind, describeMisfit, type VectorKind } from '../../domain/feature-space.ts';
import { misfitProgress, NO_MISFIT, readMisfit } from './misfit-record.ts';

/** The first pause of a job that was given back; it doubles up to the longest. */
const FIRST_PAUSE_MS = 500;

/** A worker that fits need not wait longer for its turn; another that does not may have the next turn as well. */
const LONGEST_PAUSE_MS = 5000;

/**
 * With very many such jobs the pauses are longer, so that giving them back takes little of Redis: each job that this worker
 * gave back in the last minute adds so much. 1,000 jobs settle at some 60 a second and 17 s each, 100,000 at 580 a second
 * and 3 minutes.
 */
const PAUSE_PER_RETURN_MS = 5;

const MINUTE_MS = 60_000;

/** Kinds of vectors that have lines in the log of their own: what is on the queue may name any number. */
const MOST_KINDS = 20;

export interface Misfits {
  /**
   * Gives a job back whose vectors the model was not made for: delayed, without using an attempt.
   *
   * @throws DelayedError as BullMQ wants it of a job that was delayed; CategorizerError `MODEL_MISMATCH` where no worker has
   *   fitted for too long
   */
  giveBack(job: Job, kind: VectorKind): Promise<never>;
}

/**
 * @param options.timeoutMs so long after it was given back for the first time a job fails
 * @param options.random from 0 to below 1
 */
export function createMisfits(options: {
  readonly worker: Pick<Worker, 'getBackend'>;
  readonly model: Pick<ModelInfo, 'space' | 'width'>;
  readonly timeoutMs: number;
  readonly observer: Pick<JobObserver, 'returned'>;
  readonly logger: Logger;
  readonly random?: () => number;
}): Misfits {
  const { worker, model, timeoutMs, observer, logger, random = Math.random } = options;
  const returns = countPerMinute();
  const say = createSayings(logger, model);

  return {
    async giveBack(job, kind) {
      const now = Date.now();
      const before = readMisfit(job.progress);
      const since = before?.since ?? now;
      const jobId = job.id ?? '';
      if (now - since >= timeoutMs) {
        // Whoever puts the job back gives it all of its time again.
        await job.updateProgress(NO_MISFIT);
        const waited = Math.round((now - since) / 1000);
        const advice =
          'start a worker with the right model, then: categorizer queue retry-failed --code MODEL_MISMATCH';
        const message = `no worker fitted for ${waited} s: the job has vectors of ${describeMisfit(kind, model)}; ${advice}`;
        throw new CategorizerError('MODEL_MISMATCH', message);
      }
      const rounds = (before?.rounds ?? 0) + 1;
      const pause = Math.min(pauseAfter(rounds, returns.add(now), random()), since + timeoutMs - now);
      const fieldsToUpdate = { progress: misfitProgress(kind, { since, rounds, due: Math.ceil(now + pause) }) };
      await worker.getBackend().moveToDelayed(jobId, now, Math.ceil(pause), job.token, {
        skipAttempt: true,
        fieldsToUpdate,
      });
      const runId: unknown = job.data?.runId;
      observer.returned({
        queue: PRODUCT_QUEUE,
        jobId,
        runId: typeof runId === 'string' ? runId : undefined,
        wanted: kind,
      });
      say(kind, jobId, now);
      throw new DelayedError();
    },
  };
}

/** Doubles, within bounds, and not in step with other jobs: 75 % to 125 % of it. */
function pauseAfter(rounds: number, returnsLastMinute: number, random: number): number {
  const growing = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(rounds - 1, 30));
  return Math.max(growing, returnsLastMinute * PAUSE_PER_RETURN_MS) * (0.75 + random / 2);
}

/** How many there were in the last minute: the share of the minute before that still belongs to it is estimated. */
function countPerMinute() {
  let start = 0;
  let current = 0;
  let previous = 0;
  return {
    add(now: number): number {
      const elapsed = now - start;
      if (elapsed >= MINUTE_MS) {
        previous = elapsed < 2 * MINUTE_MS ? current : 0;
        current = 0;
        start = now;
      }
      current++;
      return current + previous * (1 - (now - start) / MINUTE_MS);
    },
  };
}

/** One line for each kind of vectors and minute, with how many jobs it speaks of. */
function createSayings(logger: Logger, model: Pick<ModelInfo, 'space' | 'width'>) {
  const said = new Map<string, { at: number; jobs: number }>();
  return (kind: VectorKind, jobId: string, now: number): void => {
    const name = describeKind(kind);
    const label = said.has(name) || said.size < MOST_KINDS ? name : 'others';
    const last = said.get(label);
    const jobs = (last?.jobs ?? 0) + 1;
    if (last && now - last.at < MINUTE_MS) {
      last.jobs = jobs;
      return;
    }
    said.set(label, { at: now, jobs: 0 });
    const fields = { jobs, jobId, wanted: kind, model: { space: model.space, width: model.width } };
    logger.warn(
      fields,
      `jobs are left for a worker with another model: they have vectors of ${describeMisfit(kind, model)}`,
    );
  };
}
