import type { ModelInfo } from '../../domain/category.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { isWorking, warningOf } from '../../domain/run.ts';
import type { Logger } from '../ports.ts';
import type { ManageRuns } from './manage-runs.ts';
import type { RunObserver, RunQueue, RunRegistry, Schedules } from './ports.ts';

/** A schedule that is called later than this was missed: no scheduler ran. */
const MISSED_AFTER_MS = 15 * 60_000;

/** Begins the run of a schedule that is due; told twice of one time, it begins one. */
export function createStartDueRun(dependencies: {
  readonly schedules: Schedules;
  readonly registry: RunRegistry;
  readonly runs: Pick<ManageRuns, 'start'>;
  readonly runQueue: RunQueue;
  readonly readModel: () => Promise<ModelInfo>;
  readonly observer: Pick<RunObserver, 'skipped'>;
  readonly logger: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}): (name: string, dueAt: Date) => Promise<void> {
  const { schedules, registry, runs, runQueue, readModel, observer, logger, now } = dependencies;
  return async (name, dueAt) => {
    const schedule = await schedules.get(name);
    if (!schedule) return;
    const fields = { schedule: name, dueAt: dueAt.toISOString() };
    if (schedule.missed === 'skip' && now() - dueAt.getTime() > MISSED_AFTER_MS) {
      logger.warn(fields, 'the time of a schedule was missed, and is skipped as it says');
      observer.skipped(name, 'missed');
      return;
    }
    const id = runIdAt(name, dueAt);
    const begun = await registry.get(id);
    if (begun) {
      if (isWorking(begun.state)) await runQueue.ensure(id);
      return;
    }
    try {
      await runs.start({ id, name, settings: schedule.settings, model: await readModel() });
      logger.info({ ...fields, runId: id }, 'run begun');
      const warning = warningOf(schedule.settings);
      if (warning !== undefined) logger.warn({ ...fields, runId: id }, warning);
    } catch (error) {
      if (!(error instanceof CategorizerError) || error.code !== 'RUN_LOCKED') throw error;
      logger.warn({ ...fields, reason: error.message }, 'a schedule is due and skipped: another run holds the lock');
      observer.skipped(name, 'locked');
    }
  };
}

/** `nightly-20261125T050000Z`: the same time has the same run, in UTC. */
export function runIdAt(name: string, at: Date): string {
  return `${name}-${at.toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`;
}
