import { describe, expect, it } from 'vitest';
import { findLastDue } from '../../src/application/recategorization/find-last-due.ts';
import type { Run, Schedule } from '../../src/application/recategorization/ports.ts';
import { createStartDueRun, runIdAt } from '../../src/application/recategorization/start-due-run.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import type { RunState } from '../../src/domain/run.ts';
import { createFakeLogger } from '../support/fake-observers.ts';
import { FAKE_MODEL } from '../support/fake-predictor.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const DUE = new Date('2026-11-25T05:00:00Z');
const MINUTES = 60_000;

const NIGHTLY: Schedule = {
  name: 'nightly',
  cron: '0 2 * * *',
  timeZone: 'America/Sao_Paulo',
  missed: 'catch-up',
  settings: runSettings({ minProducts: 7 }),
  updatedAt: new Date('2026-01-01T00:00:00Z'),
};

function runIn(id: string, state: RunState): Run {
  const { name, settings } = NIGHTLY;
  const model = { version: '1', sha256: '0', categories: ['A'] };
  return { id, name, state, stateSince: DUE, settings, model, createdAt: DUE };
}

function setUp(
  options: { readonly missed?: Schedule['missed']; readonly lateBy?: number; readonly applySql?: string } = {},
) {
  const runs = new Map<string, Run>();
  const started: unknown[] = [];
  const ensured: string[] = [];
  const skipped: unknown[] = [];
  const logger = createFakeLogger();
  let refusal: Error | undefined;
  const startDue = createStartDueRun({
    schedules: {
      list: async () => [],
      async get(name) {
        const settings = { ...NIGHTLY.settings, applySql: options.applySql };
        return name === 'nightly' ? { ...NIGHTLY, settings, missed: options.missed ?? 'catch-up' } : undefined;
      },
      set: async () => undefined,
      remove: async () => false,
    },
    registry: {
      create: async () => runIn('', 'planned'),
      get: async (id) => runs.get(id),
      list: async () => [],
      locked: async () => undefined,
      change: async () => false,
      setApplySql: async () => undefined,
    },
    runs: {
      async start(run) {
        if (refusal) throw refusal;
        started.push(run);
        runs.set(run.id, runIn(run.id, 'planned'));
        return runIn(run.id, 'planned');
      },
    },
    runQueue: { ensure: async (id) => void ensured.push(id) },
    readModel: async () => FAKE_MODEL,
    observer: { skipped: (schedule, reason) => void skipped.push([schedule, reason]) },
    logger,
    now: () => DUE.getTime() + (options.lateBy ?? 0),
  });
  return {
    startDue,
    started,
    ensured,
    skipped,
    logger,
    become: (state: RunState) => runs.set(runIdAt('nightly', DUE), runIn(runIdAt('nightly', DUE), state)),
    refuse: (error: Error) => {
      refusal = error;
    },
  };
}

describe('a schedule that is due', () => {
  it('begins a run of its name and settings, with the model as it is then', async () => {
    const { startDue, started } = setUp();
    await startDue('nightly', DUE);
    expect(started).toEqual([
      { id: 'nightly-20261125T050000Z', name: 'nightly', settings: NIGHTLY.settings, model: FAKE_MODEL },
    ]);
  });

  it.each([
    { title: 'does not compare', applySql: 'UPDATE p SET c = 1', warnings: 1 },
    {
      title: 'compares in a comment only',
      applySql: '/* previous_category_code */ SELECT write() -- Previous_Category_Code',
      warnings: 1,
    },
    { title: 'compares', applySql: 'UPDATE p SET c = 1 WHERE c = PREVIOUS_CATEGORY_CODE', warnings: 0 },
    { title: 'is not there', applySql: undefined, warnings: 0 },
  ])(
    'warns once of a statement that may overwrite the changes of others: it $title',
    async ({ applySql, warnings }) => {
      const { startDue, logger } = setUp({ applySql });
      await startDue('nightly', DUE);
      const said = logger.lines.filter(({ message }) => message.includes('does not mention previous_category_code'));
      expect(said.map(({ level }) => level)).toEqual(Array(warnings).fill('warn'));
    },
  );

  it('begins one run though it is told twice', async () => {
    const { startDue, started, skipped } = setUp();
    await startDue('nightly', DUE);
    await startDue('nightly', DUE);
    expect(started).toHaveLength(1);
    expect(skipped).toEqual([]);
  });

  it('begins another run at another time', async () => {
    const { startDue, started } = setUp();
    await startDue('nightly', DUE);
    await startDue('nightly', new Date('2026-11-26T05:00:00Z'));
    expect(started).toHaveLength(2);
  });

  it.each(['planned', 'running', 'applying'] as const)(
    'sees to it that its run, which is %s, has a job: who began it may have been killed before',
    async (state) => {
      const { startDue, started, ensured, become } = setUp();
      become(state);
      await startDue('nightly', DUE);
      expect(started).toEqual([]);
      expect(ensured).toEqual(['nightly-20261125T050000Z']);
    },
  );

  it.each(['awaiting_approval', 'finished', 'finished_with_rejects', 'cancelled', 'failed'] as const)(
    'leaves its run alone that is %s',
    async (state) => {
      const { startDue, started, ensured, become } = setUp();
      become(state);
      await startDue('nightly', DUE);
      expect([started, ensured]).toEqual([[], []]);
    },
  );

  it('and was removed meanwhile begins nothing', async () => {
    const { startDue, started, skipped } = setUp();
    await startDue('removed', DUE);
    expect([started, skipped]).toEqual([[], []]);
  });

  it('while another run holds the lock is skipped, which is seen from outside, with who holds it', async () => {
    const { startDue, refuse, skipped, logger } = setUp();
    refuse(new CategorizerError('RUN_LOCKED', 'run night-1 holds the lock since 2026-11-25'));
    await startDue('nightly', DUE);
    expect(skipped).toEqual([['nightly', 'locked']]);
    expect(logger.lines).toMatchObject([
      { level: 'warn', fields: { schedule: 'nightly', reason: 'run night-1 holds the lock since 2026-11-25' } },
    ]);
  });

  it.each([
    { title: 'an outage', error: new CategorizerError('DATABASE_UNAVAILABLE', 'away', { retryable: true }) },
    { title: 'a race with another scheduler', error: new CategorizerError('RUN_CONFLICT', 'there is a run') },
    { title: 'a defect', error: new TypeError('undefined is not a function') },
  ])('and cannot begin for $title is not skipped: the error travels on, and it is tried again', async ({ error }) => {
    const { startDue, refuse, skipped } = setUp();
    refuse(error);
    await expect(startDue('nightly', DUE)).rejects.toBe(error);
    expect(skipped).toEqual([]);
  });
});

describe('a schedule whose time was missed', () => {
  it('is caught up with, however late it is, under the id of its time', async () => {
    const { startDue, started, skipped } = setUp({ missed: 'catch-up', lateBy: 600 * MINUTES });
    await startDue('nightly', DUE);
    expect(started).toMatchObject([{ id: 'nightly-20261125T050000Z' }]);
    expect(skipped).toEqual([]);
  });

  it('is skipped where it says so, which is seen from outside', async () => {
    const { startDue, started, skipped } = setUp({ missed: 'skip', lateBy: 15 * MINUTES + 1 });
    await startDue('nightly', DUE);
    expect(started).toEqual([]);
    expect(skipped).toEqual([['nightly', 'missed']]);
  });

  it('is not missed yet within a quarter of an hour', async () => {
    const { startDue, started } = setUp({ missed: 'skip', lateBy: 15 * MINUTES });
    await startDue('nightly', DUE);
    expect(started).toHaveLength(1);
  });
});

describe('the id of a run', () => {
  it('is the name of the schedule and the time in UTC', () => {
    expect(runIdAt('nightly', new Date('2026-03-08T02:00:00-05:00'))).toBe('nightly-20260308T070000Z');
  });
});

describe('the time at which a schedule last came due', () => {
  async function lastDue(updatedAt: string) {
    const schedule = { ...NIGHTLY, updatedAt: new Date(updatedAt) };
    const calendar = { problem: () => undefined, next: () => [], previous: () => DUE };
    const schedules = { list: async () => [schedule], get: async () => undefined, set: async () => undefined };
    return findLastDue({ schedules: { ...schedules, remove: async () => false }, calendar }, new Date());
  }

  it('is known of one that was set before', async () => {
    expect(await lastDue('2026-11-25T05:00:00Z')).toEqual([{ name: 'nightly', at: DUE }]);
  });

  it('is none of one that was set after it: nobody waits for that run', async () => {
    expect(await lastDue('2026-11-25T05:00:01Z')).toEqual([]);
  });
});
