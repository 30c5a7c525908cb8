import { beforeEach, describe, expect, it } from 'vitest';
import { createRunRegistry } from '../../src/adapters/postgres/run-registry.ts';
import { createManageRuns } from '../../src/application/recategorization/manage-runs.ts';
import type { RunRegistry } from '../../src/application/recategorization/ports.ts';
import { RUN_STATES, type RunState } from '../../src/domain/run.ts';
import { FAKE_MODEL } from '../support/fake-predictor.ts';
import { createFakeProductQueue } from '../support/fake-product-queue.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { createNights } from '../support/recategorization-night.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const { database, open, sql } = useRecategorizationDatabase();

let registry: RunRegistry;
beforeEach(() => {
  registry = createRunRegistry(database());
});

const HOLDING = ['planned', 'running', 'awaiting_approval', 'applying'] as const;
const ENDED = ['finished', 'finished_with_rejects', 'cancelled', 'failed'] as const;

function create(id: string, name = 'manual') {
  return registry.create({ id, name, settings: runSettings({ minProducts: 7 }), model: FAKE_MODEL });
}

async function createIn(id: string, state: RunState): Promise<void> {
  await create(id);
  if (state !== 'planned') await registry.change(id, ['planned'], state);
}

async function stateOf(id: string): Promise<RunState | undefined> {
  return (await registry.get(id))?.state;
}

async function lockedSince(id: string): Promise<string> {
  return (await registry.get(id))?.lockedSince?.toISOString() ?? 'it holds no lock';
}

describe('a run that is created', () => {
  it('is planned, holds the lock, and remembers its settings and its model', async () => {
    const before = Date.now();
    const run = await create('night-1', 'nightly');
    expect(run).toEqual({
      id: 'night-1',
      name: 'nightly',
      state: 'planned',
      settings: runSettings({ minProducts: 7 }),
      model: { version: '1', sha256: '0'.repeat(64), categories: ['A', 'B', 'C'] },
      createdAt: expect.any(Date),
      stateSince: run.createdAt,
      lockedSince: run.createdAt,
    });
    expect(run.createdAt.getTime()).toBeGreaterThan(before - 60_000);
    expect(await registry.get('night-1')).toEqual(run);
    expect(await registry.locked()).toEqual(run);
  });

  it('has its own model where the same file has its categories in another order', async () => {
    await createIn('night-1', 'cancelled');
    const categories = FAKE_MODEL.categories.toReversed();
    await registry.create({
      id: 'night-2',
      name: 'n',
      settings: runSettings(),
      model: { ...FAKE_MODEL, categories },
    });
    expect((await registry.get('night-1'))?.model.categories).toEqual(['A', 'B', 'C']);
    expect((await registry.get('night-2'))?.model.categories).toEqual(['C', 'B', 'A']);
  });

  it('shares its model with others that have the same', async () => {
    await createIn('night-1', 'cancelled');
    await create('night-2');
    expect(await sql('SELECT FROM categorizer.models')).toHaveLength(1);
  });

  it('under an id that is taken is a conflict, which says what became of the other', async () => {
    await createIn('night-1', 'cancelled');
    const since = (await registry.get('night-1'))?.stateSince.toISOString();
    await expect(create('night-1')).rejects.toMatchObject({
      code: 'RUN_CONFLICT',
      retryable: false,
      message: `there is a run night-1 already: it is cancelled since ${since}; name another with --run`,
    });
  });

  it('under the id of the one that holds the lock is a conflict too: it is that run', async () => {
    await create('night-1');
    await expect(create('night-1')).rejects.toMatchObject({ code: 'RUN_CONFLICT' });
  });

  it('is one where two processes create one at the same moment', async () => {
    const other = open();
    try {
      const registries = [registry, createRunRegistry(other)];
      for (let round = 0; round < 10; round++) {
        const made = await Promise.allSettled(
          registries.map((each, i) =>
            each.create({ id: `r-${round}-${i}`, name: 'n', settings: runSettings(), model: FAKE_MODEL }),
          ),
        );
        const refused = made.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
        expect(refused).toMatchObject([{ code: 'RUN_LOCKED' }]);
        const holder = await registry.locked();
        expect(refused[0].message).toContain(`run ${holder?.id} holds the lock since`);
        await registry.change(holder?.id ?? '', ['planned'], 'cancelled');
      }
      expect(await registry.list({ limit: 100 })).toHaveLength(10);
    } finally {
      await other.close();
    }
  });
});

describe('the lock', () => {
  it.each([
    { state: 'planned', says: 'is planned: categorizer runs resume night-1 goes on with it' },
    { state: 'running', says: 'is running: categorizer runs resume night-1 goes on with it' },
    {
      state: 'awaiting_approval',
      says: 'waits for approval: look with categorizer runs show night-1, then runs approve night-1 or runs reject night-1',
    },
    { state: 'applying', says: 'is applying: categorizer runs resume night-1 goes on with it' },
  ] as const)('of a run that is $state is named, with since when and how it is given free', async ({ state, says }) => {
    await createIn('night-1', state);
    const since = await lockedSince('night-1');
    const error = await create('night-2').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'RUN_LOCKED', retryable: false });
    expect(String(error)).toContain(`run night-1 holds the lock since ${since} and ${says}`);
    expect(await registry.get('night-2')).toBeUndefined();
  });

  it('of a run that is being reverted is named as well', async () => {
    await createIn('night-1', 'finished');
    await createNights(database()).categories.beginRevert('night-1');
    const since = await lockedSince('night-1');
    await expect(create('night-2')).rejects.toMatchObject({
      code: 'RUN_LOCKED',
      message: `run night-1 holds the lock since ${since} and is being reverted: finish with categorizer runs revert night-1`,
    });
  });

  it.each(ENDED)('is free when its run is %s', async (state) => {
    await createIn('night-1', state);
    expect(await registry.locked()).toBeUndefined();
    expect((await create('night-2')).state).toBe('planned');
  });

  it('is held since the same moment, whatever state the run goes through', async () => {
    await create('night-1');
    const since = await lockedSince('night-1');
    for (const [from, to] of [
      ['planned', 'running'],
      ['running', 'awaiting_approval'],
      ['awaiting_approval', 'applying'],
    ] as const) {
      await registry.change('night-1', [from], to);
      expect(await lockedSince('night-1')).toBe(since);
    }
  });

  it('is needed to go on with a failed run, and another may have it', async () => {
    await createIn('night-1', 'failed');
    await create('night-2');
    await expect(registry.change('night-1', ['failed'], 'running')).rejects.toMatchObject({
      code: 'RUN_LOCKED',
      message: expect.stringContaining('run night-2 holds the lock since'),
    });
    expect(await stateOf('night-1')).toBe('failed');
  });
});

describe('a state', () => {
  it('changes only where it is one of the given ones', async () => {
    for (const from of RUN_STATES) {
      const id = `from-${from}`;
      await createIn(id, from);
      const others = RUN_STATES.filter((state) => state !== from);
      expect(await registry.change(id, others, 'cancelled')).toBe(false);
      expect(await stateOf(id)).toBe(from);
      expect(await registry.change(id, [from, 'planned'], 'cancelled')).toBe(true);
      expect(await stateOf(id)).toBe('cancelled');
    }
  });

  it('of a run that is not there does not change', async () => {
    expect(await registry.change('night-1', RUN_STATES, 'cancelled')).toBe(false);
  });

  it('is changed by one of two processes that change it at the same moment', async () => {
    await createIn('night-1', 'awaiting_approval');
    const changes = (['applying', 'cancelled'] as const).map((to) =>
      registry.change('night-1', ['awaiting_approval'], to),
    );
    expect((await Promise.all(changes)).sort()).toEqual([false, true]);
  });

  it.each(HOLDING)('%s has no end', async (state) => {
    await createIn('night-1', state);
    expect((await registry.get('night-1'))?.finishedAt).toBeUndefined();
  });

  it.each(ENDED)('%s has one', async (state) => {
    await createIn('night-1', state);
    const run = await registry.get('night-1');
    expect(run?.finishedAt).toEqual(run?.stateSince);
  });

  it('remembers why the run was held back and who approved it', async () => {
    const holds = [{ guard: 'max-change-ratio', message: 'it "changes" much' }] as const;
    await createIn('night-1', 'running');
    await registry.change('night-1', ['running'], 'awaiting_approval', { holds });
    await registry.change('night-1', ['awaiting_approval'], 'applying', { decidedBy: 'ana' });
    expect(await registry.get('night-1')).toMatchObject({ holds, decidedBy: 'ana' });
  });

  it('failed says why, until the run goes on', async () => {
    const failure = { state: 'running', code: 'MODEL_MISMATCH', message: 'another model' } as const;
    await createIn('night-1', 'running');
    await registry.change('night-1', ['running'], 'failed', { failure });
    expect(await registry.get('night-1')).toMatchObject({ failure });
    await registry.change('night-1', ['failed'], 'running');
    const run = await registry.get('night-1');
    expect(run).not.toHaveProperty('failure');
    expect(run?.finishedAt).toBeUndefined();
    expect(run?.lockedSince).toBeDefined();
  });
});

describe('the statement of a run', () => {
  it('is put in the place of another, and the other settings stay', async () => {
    await create('night-1');
    await registry.setApplySql('night-1', `UPDATE erp.products SET category = 'it''s "new"'`);
    expect((await registry.get('night-1'))?.settings).toEqual(
      runSettings({ minProducts: 7, applySql: `UPDATE erp.products SET category = 'it''s "new"'` }),
    );
  });
});

describe('the runs', () => {
  it('are listed, the newest first, of all names or of one', async () => {
    for (const [id, name] of [
      ['r-1', 'nightly'],
      ['r-2', 'manual'],
      ['r-3', 'nightly'],
    ]) {
      await create(id, name);
      await registry.change(id, ['planned'], 'cancelled');
    }
    const ids = async (options: { limit: number; name?: string }) => (await registry.list(options)).map(({ id }) => id);
    expect(await ids({ limit: 10 })).toEqual(['r-3', 'r-2', 'r-1']);
    expect(await ids({ limit: 2 })).toEqual(['r-3', 'r-2']);
    expect(await ids({ limit: 10, name: 'nightly' })).toEqual(['r-3', 'r-1']);
    expect(await ids({ limit: 10, name: 'weekly' })).toEqual([]);
  });
});

describe('a failed run that is being reverted, or was', () => {
  function manage() {
    const { plan } = createNights(database());
    return createManageRuns({
      registry,
      plan,
      runQueue: { ensure: async () => undefined },
      queue: createFakeProductQueue(),
      chunks: { outcome: async () => ({ state: 'pending' }), removeResults: async () => undefined },
    });
  }

  async function failHalfWay(): Promise<ReturnType<typeof createNights>> {
    const night = createNights(database());
    await night.offer(['P1', 'P2']);
    await night.prepare('night-1', {}, { sliceSize: 1 });
    await registry.change('night-1', ['running'], 'applying');
    await night.categories.apply('night-1', 0);
    const failure = { state: 'applying', code: 'APPLY_SQL_FAILED', message: 'no' } as const;
    await registry.change('night-1', ['applying'], 'failed', { failure });
    return night;
  }

  it('does not go on: what is restored would stay so, and the run would look finished', async () => {
    const { categories } = await failHalfWay();
    const slices = await categories.beginRevert('night-1');
    const refusal = {
      code: 'RUN_STATE',
      message: 'run night-1 was reverted, or is being reverted: start a new one',
    };
    await expect(manage().resume('night-1')).rejects.toMatchObject(refusal);
    for (const slice of slices) await categories.revert('night-1', slice);
    await categories.endRevert('night-1');
    await expect(manage().resume('night-1')).rejects.toMatchObject(refusal);
    expect(await stateOf('night-1')).toBe('failed');
  });

  it('goes on where it is not', async () => {
    await failHalfWay();
    expect((await manage().resume('night-1')).state).toBe('applying');
  });
});
