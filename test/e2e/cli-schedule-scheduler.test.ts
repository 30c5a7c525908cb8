import { setTimeout as pause } from 'node:timers/promises';
import { beforeAll, beforeEach, expect, inject, it, onTestFinished } from 'vitest';
import { PATIENCE } from '../support/cli-live.ts';
import { parseExposition, sampleValue } from '../support/cli-metrics.ts';
import { type Nightly, openNightly, runNight } from '../support/nightly-commands.ts';
import { createErpTemplate, DATABASE_PASSWORD, type ErpTemplate, SOURCE } from '../support/nightly-erp.ts';
import { type SchedulerProcess, startScheduler } from '../support/nightly-scheduler.ts';
import { makeProducts } from '../support/products.ts';

/** Is read twice. */
const SLOW_SOURCE = ['--source-sql', 'SELECT p.* FROM erp.products p, (SELECT pg_sleep(0.7)) s'];

/** After a night: nothing is left to categorize, so that no worker is needed. */
let template: ErpTemplate;
let night: Nightly;

beforeAll(async () => {
  template = await createErpTemplate(inject('postgresUrl'), async (erp) => {
    await erp.put(makeProducts(20));
    await runNight(erp, 'night-1');
  });
  return () => template.drop();
});
beforeEach(async () => {
  night = openNightly(await template.copy());
});

async function addScheduler(): Promise<SchedulerProcess> {
  const scheduler = await startScheduler(night.env);
  onTestFinished(async () => {
    scheduler.kill('SIGKILL');
    await scheduler.ended;
    expect(JSON.stringify(scheduler.log())).not.toContain(DATABASE_PASSWORD);
  });
  return scheduler;
}

async function endScheduler(scheduler: SchedulerProcess): Promise<void> {
  scheduler.kill('SIGTERM');
  expect(await scheduler.ended).toBe(0);
}

interface ScheduledRun {
  readonly id: string;
  readonly state: string;
  readonly created_at: Date;
  readonly finished_at: Date | null;
}

function scheduledRuns(name: string): Promise<ScheduledRun[]> {
  return night.erp.rows<ScheduledRun & Record<string, unknown>>(
    'SELECT id, state, created_at, finished_at FROM categorizer.runs WHERE name = $1 ORDER BY created_at',
    [name],
  );
}

/** Times at which the schedule was due, as they were begun or skipped. */
function dueTimes(schedulers: readonly SchedulerProcess[], message: RegExp): number[] {
  const lines = schedulers.flatMap((scheduler) => scheduler.log()).filter(({ msg }) => message.test(`${msg}`));
  return lines.flatMap(({ dueAt }) => (typeof dueAt === 'string' ? [Date.parse(dueAt)] : [])).sort((a, b) => a - b);
}

const BEGUN = /^run begun$/;
const SKIPPED = /skipped: another run holds the lock$/;

it('two schedulers begin a run for each time that is due, never two at once; when one is killed the other goes on', async () => {
  const schedulers = await Promise.all([addScheduler(), addScheduler()]);
  await night.run(['schedule', 'set', 'often', '--cron', '*/2 * * * * *', '--tz', 'UTC', ...SLOW_SOURCE]);
  // Whoever is with the first run dies.
  const isWith = ({ log }: SchedulerProcess) => log().some(({ msg }) => msg === 'run goes on');
  await expect.poll(() => schedulers.some(isWith), { ...PATIENCE, interval: 10 }).toBe(true);
  const [victim, other] = isWith(schedulers[0]) ? schedulers : schedulers.toReversed();
  victim.kill('SIGKILL');
  await victim.ended;
  const state = async (run: number) => (await scheduledRuns('often'))[run]?.state;
  expect(await state(0)).toBe('planned');
  await expect.poll(() => state(0), PATIENCE).toBe('finished');
  expect(isWith(other)).toBe(true);
  await expect.poll(() => state(1), PATIENCE).toBe('finished');

  const exposed = parseExposition(await (await fetch(`${other.url}/metrics`)).text());
  const skipped = dueTimes([other], SKIPPED).length;
  await endScheduler(other);
  const due = dueTimes(schedulers, /./);
  expect(due).toEqual(due.map((_, i) => due[0] + 2000 * i));
  const begun = dueTimes(schedulers, BEGUN);
  expect(begun.length + dueTimes(schedulers, SKIPPED).length).toBe(due.length);

  const runs = await scheduledRuns('often');
  expect(runs.map(({ id }) => id)).toEqual(
    begun.map((at) => `often-${new Date(at).toISOString().replace(/[-:]|\.000/g, '')}`),
  );
  for (const [i, { created_at }] of runs.slice(1).entries()) {
    expect(created_at.getTime()).toBeGreaterThanOrEqual(runs[i].finished_at?.getTime() ?? Number.POSITIVE_INFINITY);
  }
  expect(skipped).toBeGreaterThan(0);
  const value = (name: string, labels: Record<string, string> = {}) =>
    sampleValue(exposed, `categorizer_${name}`, { run: 'often', ...labels });
  expect(value('run_skips_total', { reason: 'locked' })).toBe(skipped);
  expect(value('run_last_success_timestamp_seconds')).toBeCloseTo((runs[1].finished_at?.getTime() ?? 0) / 1000, 2);
  expect(value('run_duration_seconds')).toBeGreaterThan(0);
  expect(value('run_due_timestamp_seconds') % 2).toBe(0);
});

it('times that were missed while no scheduler ran are caught up with by one run', async () => {
  const { run } = night;
  const due = new Date(Math.ceil(Date.now() / 1000 + 3) * 1000);
  if (due.getUTCSeconds() === 59) due.setTime(due.getTime() + 1000);
  const seconds = due.getUTCSeconds();
  // Two times, a second apart; then none before tomorrow.
  const cron = `${seconds},${seconds + 1} ${due.getUTCMinutes()} ${due.getUTCHours()} * * *`;
  const { code, stderr } = await run(['schedule', 'set', 'nightly', '--cron', cron, '--tz', 'UTC', ...SOURCE]);
  expect(code, stderr).toBe(0);
  expect(Date.now(), 'set in time').toBeLessThan(due.getTime());
  await pause(due.getTime() + 1500 - Date.now());
  expect(await scheduledRuns('nightly')).toEqual([]);

  const scheduler = await addScheduler();
  const id = `nightly-${due.toISOString().replace(/[-:]|\.000/g, '')}`;
  await expect.poll(() => scheduledRuns('nightly'), PATIENCE).toMatchObject([{ id, state: 'finished' }]);
  await pause(500);
  await endScheduler(scheduler);
  expect(dueTimes([scheduler], BEGUN)).toEqual([due.getTime()]);
  expect(await scheduledRuns('nightly')).toHaveLength(1);
});
