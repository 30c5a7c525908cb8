import { Counter, Gauge } from 'prom-client';
import type { RunObserver, RunStatistic } from '../application/recategorization/ports.ts';
import { changedRatio, RUN_STATES } from '../domain/run.ts';
import { createProcessMetrics, type ProcessMetrics } from './process-metrics.ts';

/** What of the counts of a run is a part of its products. */
const OUTCOMES = ['skipped', 'kept', 'changed', 'added', 'review', 'rejected'] as const;

export interface RunMetrics extends ProcessMetrics {
  readonly schedules: Pick<RunObserver, 'skipped'>;
}

/** When a schedule last came due. */
export interface Due {
  readonly name: string;
  readonly at: Date;
}

/**
 * The runs as the database has them, read at scrape time: the same in every process, and after a restart. Where that
 * fails the gauges are left out, as an old figure would lie.
 */
export function createRunMetrics(sources: {
  readonly runs: () => Promise<readonly RunStatistic[]>;
  readonly due: () => Promise<readonly Due[]>;
}): RunMetrics {
  const { http, expose, registers } = createProcessMetrics(readRuns);
  const gauge = (name: string, help: string, ...labels: string[]) =>
    new Gauge({ name: `categorizer_${name}`, help, labelNames: ['run', ...labels], registers });

  const lastSuccess = gauge('run_last_success_timestamp_seconds', 'When a run last finished with no product rejected.');
  const lastEnd = gauge('run_last_end_timestamp_seconds', 'When a run last finished, with or without rejects.');
  const due = gauge('run_due_timestamp_seconds', 'When the schedule last came due.');
  const duration = gauge('run_duration_seconds', 'Time from the begin of the newest run to its end, or until now.');
  const products = gauge('run_products', 'Products of the newest run by what became of them.', 'outcome');
  const changed = gauge('run_changed_ratio', 'Share of the catalogue whose category the newest run changes.');
  const state = gauge('run_state', '1 for the state that the newest run is in.', 'state');
  const stateSince = gauge('run_state_since_timestamp_seconds', 'Since when the newest run is in its state.');
  const gauges = [lastSuccess, lastEnd, due, duration, products, changed, state, stateSince];
  const skipped = new Counter({
    name: 'categorizer_run_skips_total',
    help: 'Times of a schedule that began no run: missed, or another run held the lock.',
    labelNames: ['run', 'reason'],
    registers,
  });

  async function readRuns(): Promise<void> {
    const [runs, schedules] = await Promise.all([sources.runs(), sources.due()]).catch(() => [[], []] as const);
    for (const each of gauges) each.reset();
    for (const { name: run, at } of schedules) {
      due.set({ run }, seconds(at));
      for (const reason of ['missed', 'locked']) skipped.inc({ run, reason }, 0);
    }
    for (const statistic of runs) setRun(statistic);
  }

  function setRun({ name: run, counts, durationSeconds, lastSuccessAt, lastEndAt, ...newest }: RunStatistic): void {
    if (lastSuccessAt) lastSuccess.set({ run }, seconds(lastSuccessAt));
    if (lastEndAt) lastEnd.set({ run }, seconds(lastEndAt));
    duration.set({ run }, durationSeconds);
    for (const each of RUN_STATES) state.set({ run, state: each }, Number(each === newest.state));
    stateSince.set({ run }, seconds(newest.stateSince));
    // While it is planned and categorized nothing is known but how many there are.
    if (counts?.changed === undefined) return;
    for (const outcome of OUTCOMES) products.set({ run, outcome }, counts[outcome]);
    changed.set({ run }, changedRatio(counts));
  }

  return {
    http,
    expose,
    schedules: { skipped: (run, reason) => skipped.inc({ run, reason }) },
  };
}

function seconds(date: Date): number {
  return date.getTime() / 1000;
}
