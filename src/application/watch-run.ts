import { CategorizerError } from '../domain/errors.ts';
import type { CollectProgress } from './collect-results.ts';
import type { Clock, RunMonitor, RunProgress } from './ports.ts';

/** While results are still to come they are looked for after so many milliseconds. */
const POLL_MS = 50;
/** Looking takes long where very many jobs have failed: it gets this part of the time. */
const POLL_SHARE = 0.1;

export interface RunWatch {
  /** Whether more results are to come; resolves when it is time to look again. */
  more(collected: CollectProgress): Promise<boolean>;
  /** Jobs of the run that are nowhere any more: neither on the queue, nor failed, nor collected. */
  missingJobs(): number;
  /** As of the last look. */
  progress(): RunProgress | undefined;
}

/**
 * Waits for a run to be complete: each of its jobs has a result or has failed. Of a run whose size is not known (its
 * producer keeps no record) it waits until no job of any run is left.
 *
 * @throws from `more`: CategorizerError `INTERRUPTED`
 */
export function watchRun(
  ports: { readonly monitor: RunMonitor; readonly clock: Clock },
  options: {
    readonly runId: string | undefined;
    readonly stop: AbortSignal;
    /** Called each time when results are still to come. */
    readonly onWait: (progress: RunProgress) => void;
  },
): RunWatch {
  const { monitor, clock } = ports;
  const { runId, stop, onWait } = options;
  let last: RunProgress | undefined;
  let missing = 0;
  let idleWith: number | undefined;

  return {
    async more({ results }) {
      const start = clock.now();
      const progress = await monitor.progress(runId);
      const took = clock.now() - start;
      last = progress;
      const { begun, totals, collected, failed, unfinishedJobs } = progress;
      const finished = results + collected + Object.values(failed).reduce((sum, count) => sum + count, 0);
      if (totals && finished >= totals.jobs) return false;
      // A job completes after its result is there: only what was looked for once more is not coming.
      const mayEnd = unfinishedJobs === 0 && (totals !== undefined || !begun);
      if (mayEnd && idleWith === finished) {
        missing = totals ? totals.jobs - finished : 0;
        return false;
      }
      idleWith = mayEnd ? finished : undefined;
      if (!mayEnd) onWait(progress);
      await new Promise<void>((resolve) => clock.after(Math.max(POLL_MS, took / POLL_SHARE), resolve));
      if (stop.aborted) {
        throw new CategorizerError('INTERRUPTED', 'stopped by a signal; nothing was taken off the queue');
      }
      return true;
    },
    missingJobs: () => missing,
    progress: () => last,
  };
}
