import type { BatchObserver, BatchStart, JobObserver, Logger } from '../application/ports.ts';
import { messageOf } from '../domain/errors.ts';
import type { Metrics } from './metrics.ts';
import { startBatchSpan } from './tracing.ts';

/** More would make a line that nobody reads. */
const MAX_LOGGED_IDS = 10;

/** Everything that is seen of a batch: metrics, a span and a line at debug. Never the features. */
export function createBatchObserver(sinks: {
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** The queue that the jobs come from. */
  readonly queue: string;
}): BatchObserver {
  const { metrics, logger, queue } = sinks;
  return {
    started(batch) {
      metrics.batchStarted(batch);
      const span = startBatchSpan(queue, batch);
      return {
        async predict(rows, run) {
          try {
            return await span.child('predict', { 'categorizer.batch.rows': rows }, () => metrics.timeInference(run));
          } catch (error) {
            logger.warn(
              { ...describeBatch(batch), failedRows: rows, reason: withoutNumbers(error) },
              'the model failed',
            );
            throw error;
          }
        },
        finished(outcome) {
          if (outcome instanceof Error) {
            logger.warn({ ...describeBatch(batch), reason: outcome.message }, 'batch failed');
            span.end(outcome);
          } else {
            metrics.batchPredicted(outcome);
            logger.debug(describeBatch(batch), 'batch finished');
            span.end();
          }
        },
        publish: (jobs, run) => span.child('publish', { 'messaging.batch.message_count': jobs }, run),
      };
    },
  };
}

/** What is seen of a job: metrics, and a line when its state changes for the worse. */
export function createJobObserver(sinks: { readonly metrics: Metrics; readonly logger: Logger }): JobObserver {
  const { metrics, logger } = sinks;
  return {
    finished(job) {
      metrics.jobs.finished(job);
      const { jobId, runId, outcome, seconds, error } = job;
      if (outcome === 'completed') logger.debug({ jobId, runId, seconds }, 'job completed');
      else
        logger.warn({ jobId, runId, ...error }, outcome === 'failed' ? 'job failed for good' : 'job failed; retrying');
    },
    // The log has a line for each kind of vectors and minute.
    returned: (job) => metrics.jobs.returned(job),
    stalled(job) {
      metrics.jobs.stalled(job);
      logger.warn({ jobId: job.jobId }, 'job stalled: its worker died or froze; it is on the queue again');
    },
  };
}

/** A runtime's message may quote a value of the input. */
function withoutNumbers(error: unknown): string {
  return messageOf(error).replace(/\d+(\.\d+)?/g, '#');
}

function describeBatch({ rows, reason, waitSeconds, origins }: BatchStart): object {
  return {
    rows,
    reason,
    waitSeconds,
    jobs: origins.length,
    jobIds: origins.slice(0, MAX_LOGGED_IDS).map(({ jobId }) => jobId),
    runIds: [...new Set(origins.flatMap(({ runId }) => runId ?? []))].slice(0, MAX_LOGGED_IDS),
  };
}
