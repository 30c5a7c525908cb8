import { beforeEach, describe, expect, it } from 'vitest';
import { createRunPlan } from '../../src/adapters/postgres/run-plan.ts';
import type { PlanSink } from '../../src/application/recategorization/ports.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import { createGate } from '../support/fake-observers.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { createNights, resultOf } from '../support/recategorization-night.ts';
import { cataloguePage, vectorAsHash } from '../support/recategorization-plan.ts';

const { database, open, sql } = useRecategorizationDatabase();

let night: ReturnType<typeof createNights>;
beforeEach(() => {
  night = createNights(database());
});

const COUNTS = { products: 9, skipped: 4 };

/** A slice of products that are numbered. */
function slice(number: number, ids: readonly string[], current?: string) {
  const { products, currentCategories } = cataloguePage(
    ids.map((id, i) => ({ id, features: [i + 1, -i - 1] as const, current })),
  );
  return { number, products, currentCategories, inputHashes: vectorAsHash(products.features) };
}

const DECIDED = { categoryCode: 'B', decidedBy: 'ana', currentCategory: null, inputHash: new Uint8Array(16).fill(7) };

async function write(sink: PlanSink): Promise<typeof COUNTS> {
  await sink.slice(slice(0, ['P1', 'P2', 'P3'], 'A'));
  await sink.rejects([{ productId: null, code: 'INVALID_PRODUCT_ID', message: 'no id' }]);
  await sink.slice(slice(1, ['peça', '🔩']));
  await sink.decided(2, [{ ...DECIDED, productId: 'P9' }]);
  return COUNTS;
}

/** Everything of a plan that is in the database. */
async function planned() {
  const [row] = await sql<{ slices: number; staged: number; rejects: number }>(
    `SELECT (SELECT count(*)::int FROM categorizer.slices) AS slices,
       (SELECT count(*)::int FROM categorizer.staged) AS staged,
       (SELECT count(*)::int FROM categorizer.rejects) AS rejects`,
  );
  return row;
}

const NOTHING = { slices: 0, staged: 0, rejects: 0 };
const ALL = { slices: 3, staged: 1, rejects: 1 };

async function stateOf(id: string) {
  return (await night.registry.get(id))?.state;
}

describe('a plan', () => {
  beforeEach(async () => {
    await night.begin('night-1');
  });

  it('is there as a whole, and the run is running', async () => {
    await night.plan.create('night-1', (_, sink) => write(sink));
    expect(await planned()).toEqual(ALL);
    expect(await night.registry.get('night-1')).toMatchObject({ state: 'running', counts: COUNTS });
    expect(await night.plan.slices('night-1')).toEqual([
      { number: 0, products: 3, sends: 0, staged: false, applied: false, forModel: true },
      { number: 1, products: 2, sends: 0, staged: false, applied: false, forModel: true },
      { number: 2, products: 1, sends: 0, staged: true, applied: false, forModel: false },
    ]);
  });

  it('gives each slice back as it was', async () => {
    const given = [slice(0, ['P1', 'P2', 'P3'], 'A'), slice(1, ['peça', '🔩'])];
    await night.plan.create('night-1', (_, sink) => write(sink));
    for (const { number, products, currentCategories, inputHashes } of given) {
      const found = await night.plan.read('night-1', number);
      const { rows, width, values } = found.products.features;
      expect({ number: found.number, rows, width }).toEqual({ number, rows: products.features.rows, width: 2 });
      expect([...values]).toEqual([...products.features.values]);
      expect(unpackIds(found.products.ids, rows)).toEqual(unpackIds(products.ids, rows));
      expect(found.currentCategories).toEqual(currentCategories);
      expect([...found.inputHashes]).toEqual([...inputHashes]);
    }
  });

  it.each([
    { title: 'that it does not have', run: 'night-1', number: 3 },
    { title: 'that is not for the model', run: 'night-1', number: 2 },
    { title: 'of another run', run: 'night-0', number: 0 },
  ])('gives no slice $title', async ({ run, number }) => {
    await night.plan.create('night-1', (_, sink) => write(sink));
    await expect(night.plan.read(run, number)).rejects.toMatchObject({ code: 'RUN_STATE', retryable: false });
  });

  it('that fails half way leaves nothing of itself, and what was there before', async () => {
    await night.plan.create('night-1', (_, sink) => write(sink));
    await night.registry.change('night-1', ['running'], 'cancelled');
    await night.begin('night-2');
    const defect = new TypeError('a defect');
    const planning = night.plan.create('night-2', async (_, sink) => {
      await write(sink);
      throw defect;
    });
    await expect(planning).rejects.toBe(defect);
    expect(await stateOf('night-2')).toBe('planned');
    expect(await night.plan.slices('night-2')).toEqual([]);
    expect(await night.plan.slices('night-1')).toHaveLength(3);
    expect(await planned()).toEqual(ALL);
  });

  it('that failed is made by the next try', async () => {
    const failing = night.plan.create('night-1', async (_, sink) => {
      await write(sink);
      throw new TypeError('a defect');
    });
    await expect(failing).rejects.toThrow('a defect');
    await night.plan.create('night-1', (_, sink) => write(sink));
    expect(await planned()).toEqual(ALL);
  });

  it('takes the place of that of the run before', async () => {
    await night.plan.create('night-1', (_, sink) => write(sink));
    await night.registry.change('night-1', ['running'], 'failed');
    await night.begin('night-2');
    await night.plan.create('night-2', async (_, sink) => {
      await sink.slice(slice(0, ['P7']));
      return COUNTS;
    });
    expect(await planned()).toEqual({ slices: 1, staged: 0, rejects: 0 });
    expect(await night.plan.slices('night-1')).toEqual([]);
  });

  it('of a run that is given up meanwhile is dropped, which is worth another look', async () => {
    const planning = night.plan.create('night-1', async (_, sink) => {
      const counts = await write(sink);
      await night.registry.change('night-1', ['planned'], 'cancelled');
      return counts;
    });
    await expect(planning).rejects.toMatchObject({ code: 'RUN_STATE', retryable: true });
    expect(await stateOf('night-1')).toBe('cancelled');
    expect(await planned()).toEqual(NOTHING);
  });

  it('of a process that was taken for dead does not touch the one that was made meanwhile', async () => {
    await night.plan.create('night-1', (_, sink) => write(sink));
    const late = night.plan.create('night-1', async (_, sink) => {
      await sink.slice(slice(0, ['other']));
      return { products: 1, skipped: 0 };
    });
    await expect(late).rejects.toMatchObject({ code: 'RUN_STATE', retryable: true });
    expect(await planned()).toEqual(ALL);
    expect(await night.registry.get('night-1')).toMatchObject({ state: 'running', counts: COUNTS });
  });

  it('is made by one of two processes at once; the other is told at once, and to try again', async () => {
    const other = open();
    try {
      const [begun, goOn] = [createGate(), createGate()];
      const planning = night.plan.create('night-1', async (_, sink) => {
        begun.open();
        await goOn.passed;
        return write(sink);
      });
      await begun.passed;
      let called = false;
      const second = createRunPlan(other).create('night-1', async () => {
        called = true;
        return COUNTS;
      });
      await expect(second).rejects.toMatchObject({ code: 'RUN_LOCKED', retryable: true });
      expect(called).toBe(false);
      goOn.open();
      await planning;
      expect(await planned()).toEqual(ALL);
    } finally {
      await other.close();
    }
  });

  it('is lost with its connection, as when its process is killed', async () => {
    const planning = night.plan.create('night-1', async (_, sink) => {
      await write(sink);
      await sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()`);
      await sink.slice(slice(3, ['P8']));
      return COUNTS;
    });
    await expect(planning).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE', retryable: true });
    expect(await planned()).toEqual(NOTHING);
    expect(await stateOf('night-1')).toBe('planned');
    await night.plan.create('night-1', (_, sink) => write(sink));
    expect(await planned()).toEqual(ALL);
  });

  it('remembers the vector of a decision, only where there is one and its vector is not known', async () => {
    await sql(`INSERT INTO categorizer.reviews (product_id, decided_category, features) VALUES
      ('lacks', 'B', NULL), ('has', 'B', '{5,6}'), ('open', NULL, NULL)`);
    await night.plan.create('night-1', async (_, sink) => {
      for (const id of ['lacks', 'has', 'open', 'nobody']) await sink.decidedFeatures(id, Float32Array.of(0.1, -2));
      return COUNTS;
    });
    expect(await sql('SELECT product_id AS id, features FROM categorizer.reviews ORDER BY 1')).toEqual([
      { id: 'has', features: [5, 6] },
      { id: 'lacks', features: [0.1, -2] },
      { id: 'open', features: null },
    ]);
  });
});

describe('a plan of the catalogue in the database', () => {
  it('reads it, and plans what changed since it was applied', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4'], { category: 'C' });
    await night.run('night-1');
    await night.offer(['P2', 'P5'], { version: 2 });
    await night.begin('night-2');
    await night.makePlan('night-2');
    const { products, currentCategories } = await night.plan.read('night-2', 0);
    const ids = unpackIds(products.ids, products.features.rows);
    expect(Object.fromEntries(ids.map((id, row) => [id, currentCategories[row]]))).toEqual({ P2: 'A', P5: null });
    expect((await night.registry.get('night-2'))?.counts).toEqual({ products: 5, skipped: 3 });
  });
});

describe('a slice', () => {
  beforeEach(async () => {
    await night.begin('night-1');
    await night.plan.create('night-1', (_, sink) => write(sink));
  });

  async function stage(number: number, answers: Parameters<typeof resultOf>[1] = {}) {
    const read = await night.plan.read('night-1', number);
    await night.plan.stage('night-1', { slice: read, result: resultOf(read, answers), reviewBelow: 0.5 });
  }

  const staged = () =>
    sql<{
      slice: number;
    }>(`SELECT slice, product_id AS id, current_category AS "from", category_code AS "to", confidence,
      review_features AS review, encode(input_hash, 'hex') = repeat('07', 16) AS decided
      FROM categorizer.staged ORDER BY slice, product_id COLLATE "C"`);

  const rejected = () =>
    sql(`SELECT run_id AS run, slice, product_id AS id, code, message FROM categorizer.rejects
      WHERE slice IS NOT NULL ORDER BY product_id COLLATE "C"`);

  it('is staged with what the model said: what it is not sure of with its vector', async () => {
    await stage(0, { P1: ['A', 0.75], P2: ['B', 0.25], P3: ['C', 0.5] });
    expect(await staged()).toEqual([
      { slice: 0, id: 'P1', from: 'A', to: 'A', confidence: 0.75, review: null, decided: false },
      { slice: 0, id: 'P2', from: 'A', to: 'B', confidence: 0.25, review: [2, -2], decided: false },
      { slice: 0, id: 'P3', from: 'A', to: 'C', confidence: 0.5, review: null, decided: false },
      { slice: 2, id: 'P9', from: null, to: 'B', confidence: null, review: null, decided: true },
    ]);
    expect((await night.plan.slices('night-1')).map((each) => each.staged)).toEqual([true, false, true]);
  });

  it('is staged without the products that the model rejected: those are put aside with the reason', async () => {
    await stage(1, { peça: null });
    expect((await staged()).filter((row) => row.slice === 1)).toMatchObject([{ id: '🔩' }]);
    expect(await rejected()).toEqual([
      { run: 'night-1', slice: 1, id: 'peça', code: 'PREDICTION_FAILED', message: 'the output is not finite' },
    ]);
  });

  it('is staged with the hash of each input', async () => {
    await stage(0);
    const rows = await sql<{ id: string; hash: Buffer }>(
      'SELECT product_id AS id, input_hash AS hash FROM categorizer.staged WHERE slice = 0 ORDER BY 1',
    );
    const { inputHashes } = slice(0, ['P1', 'P2', 'P3']);
    expect(Buffer.concat(rows.map(({ hash }) => hash))).toEqual(Buffer.from(inputHashes));
  });

  it('is staged once, whatever comes the second time', async () => {
    await stage(0, { P1: null });
    const [first, aside] = [await staged(), await rejected()];
    await stage(0, { P2: null, P3: ['B', 0.1] });
    const read = await night.plan.read('night-1', 0);
    await night.plan.stageFailed('night-1', read, { code: 'STALLED', message: 'it stalled' });
    expect(await staged()).toEqual(first);
    expect(await rejected()).toEqual(aside);
  });

  it('is staged once by two processes at the same moment', async () => {
    await Promise.all([stage(0), stage(0), stage(1), stage(0)]);
    expect(await staged()).toHaveLength(6);
  });

  it('whose chunk failed for good has all its products rejected, once', async () => {
    const read = await night.plan.read('night-1', 1);
    for (let i = 0; i < 2; i++) {
      await night.plan.stageFailed('night-1', read, { code: 'STALLED', message: 'it stalled 3 times' });
    }
    await stage(1);
    expect(await rejected()).toEqual(
      ['peça', '🔩'].map((id) => ({ run: 'night-1', slice: 1, id, code: 'STALLED', message: 'it stalled 3 times' })),
    );
    expect(await planned()).toMatchObject({ staged: 1 });
  });

  it.each(['planned', 'awaiting_approval', 'applying', 'finished', 'cancelled', 'failed'] as const)(
    'of a run that is %s by now is not staged',
    async (state) => {
      const read = await night.plan.read('night-1', 0);
      await night.registry.change('night-1', ['running'], state);
      const refusal = { code: 'RUN_STATE', retryable: true };
      await expect(
        night.plan.stage('night-1', { slice: read, result: resultOf(read, {}), reviewBelow: 0.5 }),
      ).rejects.toMatchObject(refusal);
      await expect(
        night.plan.stageFailed('night-1', read, { code: 'STALLED', message: 'it stalled' }),
      ).rejects.toMatchObject(refusal);
      expect(await planned()).toEqual(ALL);
      expect((await night.plan.slices('night-1'))[0].staged).toBe(false);
    },
  );

  it('of a run before is not staged among those of the next', async () => {
    const read = await night.plan.read('night-1', 0);
    await night.registry.change('night-1', ['running'], 'failed');
    await night.begin('night-2');
    await night.plan.create('night-2', (_, sink) => write(sink));
    await expect(
      night.plan.stage('night-1', { slice: read, result: resultOf(read, {}), reviewBelow: 0.5 }),
    ).rejects.toMatchObject({ code: 'RUN_STATE' });
    expect((await night.plan.slices('night-2'))[0].staged).toBe(false);
    expect(await planned()).toEqual(ALL);
  });

  it('is staged as a whole or not at all when its run is given up at that moment', async () => {
    const ends = await Promise.allSettled([
      stage(0, { P1: null }),
      night.registry.change('night-1', ['running'], 'cancelled'),
      stage(1, { peça: null }),
    ]);
    const refused = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason] : []));
    for (const error of refused) expect(error).toMatchObject({ code: 'RUN_STATE', retryable: true });
    const slices = await night.plan.slices('night-1');
    expect(slices.filter((each) => !each.staged)).toHaveLength(refused.length);
    const expected = slices.reduce((sum, each) => sum + (each.staged ? each.products : 0), 0);
    expect((await staged()).length + (await rejected()).length).toBe(expected);
  });

  it('counts how often it was sent', async () => {
    await night.plan.sendAgain('night-1', [0]);
    await night.plan.sendAgain('night-1', [0, 1]);
    await night.plan.sendAgain('night-0', [0, 1]);
    expect((await night.plan.slices('night-1')).map(({ sends }) => sends)).toEqual([2, 1, 0]);
  });
});
