import { beforeEach, describe, expect, it } from 'vitest';
import { revertRun } from '../../src/application/recategorization/revert-run.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { createNights } from '../support/recategorization-night.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const { database, open, sql } = useRecategorizationDatabase();

let night: ReturnType<typeof createNights>;
beforeEach(() => {
  night = createNights(database());
});

function revert(id: string, stop: AbortSignal = new AbortController().signal) {
  return revertRun(night.categories, id, stop);
}

const decide = (id: string, categoryCode: string) => night.reviews.decide(id, { categoryCode, decidedBy: 'ana' });

/** What of the categories a revert restores: everything but the input that was looked at, and when. */
function categories() {
  return sql(
    'SELECT product_id, category_code, confidence, model_id, run_id FROM categorizer.product_categories ORDER BY 1',
  );
}

describe('a run that is reverted', () => {
  it('leaves every product as it was before', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4']);
    await night.run('night-1', { P1: ['B', 0.625], P2: ['B', 0.75] });
    await sql(`DELETE FROM erp.products`);
    const before = await categories();
    await night.offer(['P1', 'P2', 'P5'], { version: 2 });
    await night.run('night-2', { P1: ['C', 0.5], P2: ['C', 1] });
    expect(await categories()).not.toEqual(before);

    expect(await revert('night-2')).toEqual({ restored: 3, kept: 0 });

    expect(await categories()).toEqual([
      ...before,
      { product_id: 'P5', category_code: null, confidence: null, model_id: null, run_id: null },
    ]);
  });

  it('writes down what was restored, beside what was changed', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1', { P1: ['B', 0.75] });
    await revert('night-1');
    expect(await night.history()).toEqual([
      'night-1 apply P1: - -> B',
      'night-1 apply P2: - -> A',
      'night-1 revert P1: B -> -',
      'night-1 revert P2: A -> -',
    ]);
    const [change] = await sql(`SELECT * FROM categorizer.history WHERE action = 'revert' AND product_id = 'P1'`);
    expect(change).toMatchObject({ old_confidence: 0.75, new_confidence: null, old_run_id: 'night-1', slice: 0 });
  });

  it('stays reverted: the same input is not asked for again', async () => {
    await night.offer(['P1']);
    await night.run('night-1', { P1: ['B', 0.75] });
    await revert('night-1');
    expect(await night.run('night-2', { P1: ['B', 0.75] })).toMatchObject({ skipped: 1 });
    expect(await night.current()).toEqual({ P1: null });
  });

  it('says so, and since when, and gives the lock free', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await revert('night-1');
    const run = await night.registry.get('night-1');
    expect(run).toMatchObject({ state: 'finished', revertStartedAt: expect.any(Date), revertedAt: expect.any(Date) });
    expect(run?.lockedSince).toBeUndefined();
    await night.begin('night-2');
  });

  it('that changed nothing restores nothing', async () => {
    await night.offer(['P1'], { category: 'A' });
    await night.run('night-1', {}, { source: { ...runSettings().source, categoryColumn: 'category' } });
    expect(await revert('night-1')).toEqual({ restored: 0, kept: 0 });
    expect(await night.current()).toEqual({ P1: 'A' });
  });

  it('that failed half way is reverted as far as it came', async () => {
    await night.offer(['P1', 'P2']);
    await night.prepare('night-1', {}, { sliceSize: 1 });
    await night.registry.change('night-1', ['running'], 'applying');
    await night.categories.apply('night-1', 0);
    await night.registry.change('night-1', ['applying'], 'failed');
    expect(await revert('night-1')).toEqual({ restored: 1, kept: 0 });
    expect(Object.values(await night.current())).toEqual([null]);
  });
});

describe('a revert keeps', () => {
  it('what another run changed since, also where that run was reverted to another category', async () => {
    await night.offer(['P1', 'P2', 'P3']);
    await night.run('night-1');
    await night.offer(['P1'], { version: 2 });
    await night.run('night-2', { P1: ['B', 0.75] });
    expect(await revert('night-1')).toEqual({ restored: 2, kept: 1 });
    expect(await night.current()).toEqual({ P1: 'B', P2: null, P3: null });
  });

  it('nothing of what another run only looked at: that did not change it', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await night.offer(['P1'], { version: 2 });
    await night.run('night-2');
    expect(await revert('night-1')).toEqual({ restored: 1, kept: 0 });
    expect(await night.current()).toEqual({ P1: null });
  });

  it('what a person decided, in that run or since', async () => {
    await night.offer(['P1', 'P2', 'P3']);
    await night.run('night-1', { P1: ['B', 0.25] });
    await decide('P1', 'C');
    await night.offer(['P2', 'P3'], { version: 2 });
    await night.run('night-2', { P2: ['B', 0.75], P3: ['B', 0.75] });
    await decide('P2', 'C');
    await night.run('night-3');
    expect(await revert('night-2')).toEqual({ restored: 1, kept: 2 });
    expect(await night.current()).toEqual({ P1: 'C', P2: 'C', P3: 'A' });
  });

  it('what a person decided in that run, also where she took it back since: the model is asked anyway', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await decide('P1', 'C');
    await night.run('night-2');
    await night.reviews.withdraw('P1');
    expect(await revert('night-2')).toEqual({ restored: 0, kept: 1 });
    expect(await night.current()).toEqual({ P1: 'C' });
    expect(await night.run('night-3', { P1: ['B', 1] })).toMatchObject({ changed: 1 });
  });

  it('what a person found right since: tomorrow it would be the same again', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1');
    await night.offer(['P1', 'P2'], { version: 2 });
    await night.run('night-2', { P1: ['B', 0.75], P2: ['B', 0.75] });
    await decide('P1', 'B');
    expect(await revert('night-2')).toEqual({ restored: 1, kept: 1 });
    expect(await night.current()).toEqual({ P1: 'B', P2: 'A' });
    expect(await night.run('night-3')).toMatchObject({ skipped: 2 });
    expect(await night.current()).toEqual({ P1: 'B', P2: 'A' });
  });
});

describe('a revert that is killed', () => {
  beforeEach(async () => {
    await night.offer(['P1', 'P2', 'P3']);
    await night.run('night-1', {}, { sliceSize: 1 });
  });

  it('holds the lock, and the same call goes on', async () => {
    const slices = await night.categories.beginRevert('night-1');
    expect(slices).toEqual([0, 1, 2]);
    await night.categories.revert('night-1', 1);
    await expect(night.begin('night-2')).rejects.toMatchObject({ code: 'RUN_LOCKED' });

    expect(await revert('night-1')).toEqual({ restored: 3, kept: 0 });
    expect(await night.current()).toEqual({ P1: null, P2: null, P3: null });
    expect((await night.history()).filter((line) => line.includes('revert'))).toHaveLength(3);
  });

  it('has held the lock since the first time', async () => {
    await night.categories.beginRevert('night-1');
    const since = (await night.registry.get('night-1'))?.lockedSince;
    await night.categories.beginRevert('night-1');
    expect((await night.registry.get('night-1'))?.lockedSince).toEqual(since);
  });

  it('reverts no slice twice', async () => {
    await night.categories.beginRevert('night-1');
    await night.categories.revert('night-1', 0);
    const [before, lines] = [await categories(), await night.history()];
    await night.categories.revert('night-1', 0);
    expect(await categories()).toEqual(before);
    expect(await night.history()).toEqual(lines);
  });

  it('by a signal ends between two slices, and says how it goes on', async () => {
    const stopper = new AbortController();
    stopper.abort();
    await expect(revert('night-1', stopper.signal)).rejects.toMatchObject({
      code: 'INTERRUPTED',
      retryable: true,
      message: 'stopped by a signal; categorizer runs revert night-1 goes on',
    });
    expect(await night.current()).toEqual({ P1: 'A', P2: 'A', P3: 'A' });
    expect(await revert('night-1')).toEqual({ restored: 3, kept: 0 });
  });

  it('may be called by two people at once', async () => {
    const other = open();
    try {
      await night.categories.beginRevert('night-1');
      const both = [night, createNights(other)];
      for (const slice of [0, 1, 2]) {
        await Promise.all(both.map((each) => each.categories.revert('night-1', slice)));
      }
      const ends = await Promise.all(both.map((each) => each.categories.endRevert('night-1')));
      expect(ends).toEqual([
        { restored: 3, kept: 0 },
        { restored: 3, kept: 0 },
      ]);
      expect((await night.history()).filter((line) => line.includes('revert'))).toHaveLength(3);
    } finally {
      await other.close();
    }
  });
});

describe('a run cannot be reverted', () => {
  it('twice', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await revert('night-1');
    const at = (await night.registry.get('night-1'))?.revertedAt?.toISOString();
    await expect(revert('night-1')).rejects.toMatchObject({
      code: 'RUN_STATE',
      message: `run night-1 was reverted ${at}: only an ended run can be reverted, and once`,
    });
    expect((await night.registry.get('night-1'))?.lockedSince).toBeUndefined();
  });

  it.each(['planned', 'running', 'awaiting_approval', 'applying'] as const)('while it is %s', async (state) => {
    await night.begin('night-1');
    if (state !== 'planned') await night.registry.change('night-1', ['planned'], state);
    await expect(revert('night-1')).rejects.toMatchObject({
      code: 'RUN_STATE',
      message: `run night-1 is ${state}: only an ended run can be reverted, and once`,
    });
  });

  it('where there is none', async () => {
    await expect(revert('night-0')).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' });
  });

  it('while another holds the lock, which is named', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await night.begin('night-2');
    await expect(revert('night-1')).rejects.toMatchObject({
      code: 'RUN_LOCKED',
      message: expect.stringContaining('run night-2 holds the lock since'),
    });
    expect((await night.registry.get('night-1'))?.revertStartedAt).toBeUndefined();
  });

  it('slice by slice before it is begun', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await expect(night.categories.revert('night-1', 0)).rejects.toMatchObject({ code: 'RUN_STATE' });
    expect(await night.current()).toEqual({ P1: 'A' });
  });
});

describe('several runs', () => {
  it('that are reverted in the reverse order leave the first state', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4']);
    await night.run('night-1', { P1: ['B', 0.5], P2: ['C', 0.75] });
    const first = await categories();
    await night.offer(['P1', 'P2', 'P3'], { version: 2 });
    await night.run('night-2', { P1: ['C', 0.5], P2: ['C', 0.875], P3: ['B', 1] });
    await night.offer(['P1', 'P3', 'P4'], { version: 3 });
    await night.run('night-3', { P1: ['A', 0.5], P3: ['A', 1], P4: ['C', 0.625] });

    await revert('night-3');
    await revert('night-2');

    // P2 kept its category in the second night, and the model that looked at it last is on record.
    const rows = (await categories()) as { product_id: string }[];
    const expected = first.map((row) => ({ ...(row as object), ...('P2' === rowId(row) && { confidence: 0.875 }) }));
    expect(rows).toEqual(expected);
    await revert('night-1');
    expect(await night.current()).toEqual({ P1: null, P2: null, P3: null, P4: null });
  });

  it('that are reverted in their order keep what the later ones changed, and then what was before those', async () => {
    await night.offer(['P1']);
    await night.run('night-1', { P1: ['A', 0.75] });
    await night.offer(['P1'], { version: 2 });
    await night.run('night-2', { P1: ['B', 0.75] });
    expect(await revert('night-1')).toEqual({ restored: 0, kept: 1 });
    expect(await night.current()).toEqual({ P1: 'B' });
    expect(await revert('night-2')).toEqual({ restored: 1, kept: 0 });
    expect(await night.current()).toEqual({ P1: 'A' });
  });
});

function rowId(row: unknown): string {
  return (row as { product_id: string }).product_id;
}

describe('the statement of the ERP', () => {
  const source = { ...runSettings().source, categoryColumn: 'category' };
  const WRITE_BACK = `UPDATE erp.products p SET category = c.category_code FROM categorizer_changes c
    WHERE c.product_id = p.product_id`;

  it('takes part in the revert, and sees what is restored', async () => {
    await sql('CREATE TABLE erp.seen (product_id text, new text, old text, confidence real, run_id text, action text)');
    const applySql = `INSERT INTO erp.seen SELECT * FROM categorizer_changes; ${WRITE_BACK}`;
    await night.offer(['P1'], { category: 'B' });
    await night.offer(['P2']);
    await night.run('night-1', { P1: ['C', 0.75] }, { source, applySql });
    await sql('DELETE FROM erp.seen');
    await revert('night-1');
    expect(await sql('SELECT product_id AS id, category FROM erp.products ORDER BY 1')).toEqual([
      { id: 'P1', category: 'B' },
      { id: 'P2', category: null },
    ]);
    expect(await sql('SELECT * FROM erp.seen ORDER BY 1')).toMatchObject([
      { product_id: 'P1', new: 'B', old: 'C', run_id: 'night-1', action: 'revert' },
      { product_id: 'P2', new: null, old: 'A', run_id: 'night-1', action: 'revert' },
    ]);
  });

  it('that fails takes its slice back; the revert goes on when it is mended', async () => {
    await night.offer(['P1', 'P2'], { category: 'B' });
    await night.run('night-1', {}, { source, applySql: WRITE_BACK, sliceSize: 1 });
    await sql(`ALTER TABLE erp.products ADD CONSTRAINT stays CHECK (product_id <> 'P2' OR category = 'A')`);
    await expect(revert('night-1')).rejects.toMatchObject({ code: 'APPLY_SQL_FAILED' });
    expect(await night.current()).toEqual({ P1: 'B', P2: 'A' });
    await sql('ALTER TABLE erp.products DROP CONSTRAINT stays');
    expect(await revert('night-1')).toEqual({ restored: 2, kept: 0 });
    expect(await sql('SELECT DISTINCT category FROM erp.products')).toEqual([{ category: 'B' }]);
  });
});
