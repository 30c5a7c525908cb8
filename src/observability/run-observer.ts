import type { Logger } from '../application/ports.ts';
import type { RunObserver } from '../application/recategorization/ports.ts';
import type { RunMetrics } from './run-metrics.ts';

/** What is seen of the runs: a metric for what did not begin, and a line for each end, loud where a person is needed. */
export function createRunObserver(sinks: { readonly metrics: RunMetrics; readonly logger: Logger }): RunObserver {
  const { metrics, logger } = sinks;
  return {
    skipped: metrics.schedules.skipped,
    ended({ id: runId, state, counts, applied, holds, failure }) {
      if (state === 'failed') logger.error({ runId, ...failure }, 'run failed');
      else if (state === 'awaiting_approval') logger.warn({ runId, holds, counts }, 'run waits for approval');
      else if (state === 'finished_with_rejects') logger.warn({ runId, counts, applied }, 'run finished, with rejects');
      else logger.info({ runId, state, counts, applied }, 'run is over');
    },
  };
}
