import { beforeEach, describe, expect, it } from 'vitest';
import { FAKE_MODEL } from '../support/fake-predictor.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { createNights } from '../support/recategorization-night.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const { database, open, sql } = useRecategorizationDatabase();

let night: ReturnType<typeof createNights>;
beforeEach(() => {
  night = createNights(database());
});

interface CurrentRow {
  readonly product_id: string;
  readonly category_code: string | null;
  readonly confidence: number | null;
  readonly model_version: string | null;
  readonly model_sha256: string | null;
  readonly run_id: string | null;
  readonly changed_at: Date | null;
  readonly input_hash: Buffer;
}

async function rowOf(id: string): Promise<CurrentRow> {
  return (await sql<CurrentRow>('SELECT * FROM categorizer.current_categories WHERE product_id = $1', id))[0];
}

async function stateOf(id: string) {
  return (await night.registry.get(id))?.state;
}

async function reviewOf(id: string) {
  return (await sql<Record<string, unknown>>('SELECT * FROM categorizer.reviews WHERE product_id = $1', id))[0];
}

/** Everything that applying changes. */
async function everything() {
  const tables = ['product_categories', 'history', 'reviews', 'slices'];
  return Promise.all(tables.map((table) => sql(`SELECT * FROM categorizer.${table} ORDER BY 1, 2`)));
}

describe('a slice that is applied', () => {
  it('gives each product its category, with the confidence, the model, the run and the time', async () => {
    await night.offer(['P1']);
    await night.run('night-1', { P1: ['B', 0.75] });
    const [{ input_hash }] = await sql<{ input_hash: Buffer }>('SELECT input_hash FROM categorizer.product_categories');
    expect(input_hash).toHaveLength(16);
    expect(await rowOf('P1')).toEqual({
      product_id: 'P1',
      category_code: 'B',
      confidence: 0.75,
      model_version: '1',
      model_sha256: FAKE_MODEL.sha256,
      run_id: 'night-1',
      changed_at: expect.any(Date),
      input_hash,
    });
  });

  it('writes every change down, with what was before', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1', { P1: ['B', 0.75] });
    await night.offer(['P1', 'P2'], { version: 2 });
    await night.run('night-2', { P1: ['C', 0.5] });
    expect(await night.history()).toEqual([
      'night-1 apply P1: - -> B',
      'night-1 apply P2: - -> A',
      'night-2 apply P1: B -> C',
    ]);
    const [change] = await sql(`SELECT * FROM categorizer.history WHERE run_id = 'night-2'`);
    expect(change).toMatchObject({
      slice: 0,
      old_confidence: 0.75,
      new_confidence: 0.5,
      old_run_id: 'night-1',
      decided_by: null,
      at: expect.any(Date),
    });
  });

  it('leaves a category that stays with the run that set it, and the model and its confidence are the last', async () => {
    await night.offer(['P1']);
    await night.run('night-1', { P1: ['B', 0.75] });
    const before = await rowOf('P1');
    const model = { ...FAKE_MODEL, version: '2', sha256: 'f'.repeat(64) };
    await night.begin('night-2', {}, model);
    await night.makePlan('night-2', model);
    await night.stage('night-2', { P1: ['B', 0.875] }, model);
    await night.apply('night-2');
    const after = await rowOf('P1');
    expect(after).toMatchObject({ run_id: 'night-1', changed_at: before.changed_at, category_code: 'B' });
    expect(after).toMatchObject({ confidence: 0.875, model_version: '2', model_sha256: 'f'.repeat(64) });
    expect(after.input_hash).not.toEqual(before.input_hash);
    expect(await night.history()).toHaveLength(1);
  });

  it('counts a category that the ERP has already as kept, without a run that set it', async () => {
    await night.offer(['P1'], { category: 'A' });
    const source = { ...runSettings().source, categoryColumn: 'category' };
    const counts = await night.run('night-1', {}, { source });
    expect(counts).toMatchObject({ kept: 1, added: 0 });
    expect(await rowOf('P1')).toMatchObject({ category_code: 'A', run_id: null, changed_at: null });
    expect(await night.history()).toEqual([]);
  });

  it('is not planned again: a second night of the same catalogue writes nothing', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4']);
    await night.run('night-1', { P2: ['B', 0.4], P3: ['C', 0.9] });
    const before = await everything();
    expect(await night.run('night-2', {})).toMatchObject({ products: 4, skipped: 4 });
    expect(await everything()).toEqual(before);
  });

  it('that is applied again changes nothing', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4']);
    await night.prepare('night-1', { P2: ['B', 0.4] });
    await night.apply('night-1');
    const before = await everything();
    for (const number of [0, 1, 0]) await night.categories.apply('night-1', number);
    expect(await everything()).toEqual(before);
  });

  it('is applied once by two processes at the same moment', async () => {
    const other = open();
    try {
      await night.offer(['P1', 'P2', 'P3']);
      await night.prepare('night-1', { P2: ['B', 0.4] });
      await night.registry.change('night-1', ['running'], 'applying');
      await Promise.all([night, createNights(other), night].map(({ categories }) => categories.apply('night-1', 0)));
      expect(await night.history()).toEqual(['night-1 apply P1: - -> A', 'night-1 apply P3: - -> A']);
      expect(await night.current()).toEqual({ P1: 'A', P2: null, P3: 'A' });
    } finally {
      await other.close();
    }
  });

  it('is not listed any more among those that are left', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4', 'P5', 'P6', 'P7']);
    await night.prepare('night-1');
    await night.registry.change('night-1', ['running'], 'applying');
    expect(await night.categories.unapplied('night-1')).toEqual([0, 1, 2]);
    await night.categories.apply('night-1', 1);
    expect(await night.categories.unapplied('night-1')).toEqual([0, 2]);
    expect(Object.keys(await night.current())).toHaveLength(3);
  });

  it.each(['running', 'awaiting_approval', 'finished', 'cancelled', 'failed'] as const)(
    'of a run that is %s is not applied',
    async (state) => {
      await night.offer(['P1']);
      await night.prepare('night-1');
      if (state !== 'running') await night.registry.change('night-1', ['running'], state);
      await expect(night.categories.apply('night-1', 0)).rejects.toMatchObject({ code: 'RUN_STATE', retryable: true });
      expect(await night.current()).toEqual({});
    },
  );

  it('leaves products that were rejected as they are, and they are looked at again', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1');
    await night.offer(['P1', 'P2'], { version: 2 });
    await night.run('night-2', { P1: null, P2: ['B', 0.75] });
    expect(await night.current()).toEqual({ P1: 'A', P2: 'B' });
    expect(await night.prepare('night-3')).toMatchObject({ skipped: 1, kept: 1 });
  });

  it('leaves products that are not in the source any more as they are', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1');
    await sql(`DELETE FROM erp.products WHERE product_id = 'P1'`);
    await night.run('night-2', {}, { full: true });
    expect(await night.current()).toEqual({ P1: 'A', P2: 'A' });
  });
});

describe('the history', () => {
  it.each([
    { title: 'changed', statement: `UPDATE categorizer.history SET new_category = 'X'` },
    { title: 'changed where nothing fits', statement: 'UPDATE categorizer.history SET slice = 1 WHERE false' },
    { title: 'deleted', statement: 'DELETE FROM categorizer.history' },
    { title: 'truncated', statement: 'TRUNCATE categorizer.history' },
    { title: 'truncated with others', statement: 'TRUNCATE categorizer.history, categorizer.slices' },
  ])('cannot be $title, not even by its owner', async ({ statement }) => {
    await night.offer(['P1']);
    await night.run('night-1');
    await expect(sql(statement)).rejects.toThrow('categorizer.history is append-only');
    expect(await night.history()).toEqual(['night-1 apply P1: - -> A']);
  });

  it('has no second entry of a change: the database refuses it', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    const again = sql(
      `INSERT INTO categorizer.history (product_id, run_id, action, slice) VALUES ('P1', 'night-1', 'apply', 0)`,
    );
    await expect(again).rejects.toThrow('history_pkey');
  });
});

describe('a run that ends', () => {
  it('is finished, gives the lock free, and leaves nothing of its plan', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    const run = await night.registry.get('night-1');
    expect(run).toMatchObject({ state: 'finished', finishedAt: run?.stateSince });
    expect(run?.lockedSince).toBeUndefined();
    expect(await sql('SELECT FROM categorizer.staged')).toEqual([]);
    expect(await night.plan.slices('night-1')).toEqual([]);
  });

  it('never looks green where a product was rejected', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1', { P1: null });
    expect(await stateOf('night-1')).toBe('finished_with_rejects');
    // They can be looked at until the next run begins.
    expect(await sql('SELECT product_id FROM categorizer.rejects')).toEqual([{ product_id: 'P1' }]);
  });

  it('as a dry run leaves what it would have done, and has done nothing', async () => {
    await night.offer(['P1']);
    await night.prepare('night-1', {}, { dryRun: true });
    await night.categories.finish('night-1');
    expect(await stateOf('night-1')).toBe('finished');
    expect(await sql('SELECT product_id, category_code FROM categorizer.staged')).toEqual([
      { product_id: 'P1', category_code: 'A' },
    ]);
    expect(await night.current()).toEqual({});
    expect(await night.prepare('night-2')).toMatchObject({ added: 1 });
  });

  it('ends once: a second time nothing changes, though another run has a plan by then', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    const ended = await night.registry.get('night-1');
    await night.offer(['P1'], { version: 2 });
    await night.prepare('night-2');
    await night.categories.finish('night-1');
    expect(await night.registry.get('night-1')).toEqual(ended);
    expect(await night.plan.slices('night-2')).toHaveLength(1);
  });

  it.each(['cancelled', 'failed', 'awaiting_approval'] as const)(
    'does not end as finished when it is %s',
    async (state) => {
      await night.offer(['P1']);
      await night.prepare('night-1');
      await night.registry.change('night-1', ['running'], state);
      await night.categories.finish('night-1');
      expect(await stateOf('night-1')).toBe(state);
      expect(await night.plan.slices('night-1')).toHaveLength(1);
    },
  );
});

describe('a product that the model is not sure of', () => {
  it('keeps its category, and a person is asked, with the vector that was looked at', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1');
    await night.offer(['P1'], { version: 2 });
    expect(await night.run('night-2', { P1: ['B', 0.25] })).toMatchObject({ review: 1, changed: 0 });
    expect(await night.current()).toEqual({ P1: 'A', P2: 'A' });
    expect(await rowOf('P1')).toMatchObject({ confidence: 0.75, run_id: 'night-1' });
    expect(await reviewOf('P1')).toMatchObject({
      run_id: 'night-2',
      proposed_category: 'B',
      confidence: 0.25,
      current_category: 'A',
      features: [2, 2],
      decided_category: null,
      decided_by: null,
      decided_at: null,
    });
    expect(await reviewOf('P2')).toBeUndefined();
  });

  it('gets no category where it had none', async () => {
    await night.offer(['P1']);
    await night.run('night-1', { P1: ['B', 0.25] });
    expect(await night.current()).toEqual({ P1: null });
    expect(await rowOf('P1')).toMatchObject({ confidence: null, run_id: null, model_version: null });
    expect(await night.history()).toEqual([]);
  });

  it('is not looked at again with the same input', async () => {
    await night.offer(['P1']);
    await night.run('night-1', { P1: ['B', 0.25] });
    expect(await night.run('night-2')).toMatchObject({ skipped: 1 });
    expect(await reviewOf('P1')).toMatchObject({ run_id: 'night-1' });
  });

  it('at the bound is applied', async () => {
    await night.offer(['P1']);
    await night.run('night-1', { P1: ['B', 0.5] });
    expect(await night.current()).toEqual({ P1: 'B' });
    expect(await reviewOf('P1')).toBeUndefined();
  });

  it('is asked about with what was proposed last, since the first time', async () => {
    await night.offer(['P1']);
    await night.run('night-1', { P1: ['B', 0.25] });
    const first = await reviewOf('P1');
    await night.offer(['P1'], { version: 2 });
    await night.run('night-2', { P1: ['C', 0.125] });
    expect(await reviewOf('P1')).toMatchObject({
      run_id: 'night-2',
      proposed_category: 'C',
      confidence: 0.125,
      features: [2, 2],
      created_at: first.created_at,
    });
  });

  it('is not asked about any more when the model has become sure; others still are', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1', { P1: ['B', 0.25], P2: ['B', 0.25] });
    await night.offer(['P1'], { version: 2 });
    await night.run('night-2', { P1: ['B', 0.9] });
    expect(await reviewOf('P1')).toBeUndefined();
    expect(await reviewOf('P2')).toBeDefined();
    expect(await night.current()).toEqual({ P1: 'B', P2: null });
  });
});

describe('a decision', () => {
  const decide = (id: string, categoryCode: string) => night.reviews.decide(id, { categoryCode, decidedBy: 'ana' });

  it('is applied in the next night, without a model and a confidence, by whom', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1', { P1: ['B', 0.25] });
    await decide('P1', 'C');
    expect(await night.run('night-2')).toMatchObject({ added: 1, decided: 1, skipped: 1 });
    expect(await rowOf('P1')).toMatchObject({
      ...{ category_code: 'C', confidence: null, model_version: null, run_id: 'night-2' },
    });
    const [change] = await sql(`SELECT * FROM categorizer.history WHERE run_id = 'night-2'`);
    expect(change).toMatchObject({ product_id: 'P1', new_category: 'C', new_model_id: null, decided_by: 'ana' });
  });

  it('survives the next nights, also where all products are looked at', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await decide('P1', 'C');
    await night.run('night-2');
    await night.offer(['P1'], { version: 2 });
    await night.run('night-3', { P1: ['B', 1] });
    await night.run('night-4', { P1: ['B', 1] }, { full: true });
    expect(await night.current()).toEqual({ P1: 'C' });
    expect(await night.history()).toEqual(['night-1 apply P1: - -> A', 'night-2 apply P1: A -> C']);
  });

  it('that comes between the plan and the apply holds the category of the model back, and wins the next night', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1');
    await night.offer(['P1', 'P2'], { version: 2 });
    await night.prepare('night-2', { P1: ['B', 0.9], P2: ['B', 0.9] });
    await decide('P1', 'C');
    await night.apply('night-2');
    await night.categories.finish('night-2');
    expect(await night.current()).toEqual({ P1: 'A', P2: 'B' });
    expect(await night.history()).not.toContain('night-2 apply P1: A -> B');

    await night.run('night-3');
    expect(await night.current()).toEqual({ P1: 'C', P2: 'B' });
  });

  it('that comes between on a product for review is not asked about, and stays as it was made', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await night.offer(['P1'], { version: 2 });
    await night.prepare('night-2', { P1: ['B', 0.25] });
    await decide('P1', 'C');
    const decided = await reviewOf('P1');
    await night.apply('night-2');
    expect(await reviewOf('P1')).toEqual(decided);
    await night.categories.finish('night-2');
    await night.run('night-3');
    expect(await night.current()).toEqual({ P1: 'C' });
  });

  it.each([
    { title: 'that the model was sure of', answer: ['B', 0.9] as const },
    { title: 'for review', answer: ['B', 0.25] as const },
  ])(
    'that comes between on a product $title, and goes before the next night, leaves it to the model',
    async ({ answer }) => {
      await night.offer(['P1']);
      await night.prepare('night-1', { P1: answer });
      await sql(`INSERT INTO categorizer.reviews (product_id, decided_category) VALUES ('P1', 'C')`);
      await night.apply('night-1');
      await night.categories.finish('night-1');
      await sql('DELETE FROM categorizer.reviews');
      expect(await night.run('night-2')).toMatchObject({ skipped: 0, added: 1 });
    },
  );

  it('that is taken back between is not applied, and the model is asked the next night', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await decide('P1', 'C');
    await night.prepare('night-2');
    await night.reviews.withdraw('P1');
    await night.apply('night-2');
    await night.categories.finish('night-2');
    expect(await night.current()).toEqual({ P1: 'A' });
    await night.run('night-3', { P1: ['B', 0.9] });
    expect(await night.current()).toEqual({ P1: 'B' });
  });

  it('that is changed between is applied the next night', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await decide('P1', 'B');
    await night.prepare('night-2');
    await decide('P1', 'C');
    await night.apply('night-2');
    await night.categories.finish('night-2');
    expect(await night.current()).toEqual({ P1: 'A' });
    await night.run('night-3');
    expect(await night.current()).toEqual({ P1: 'C' });
    expect(await night.history()).toEqual(['night-1 apply P1: - -> A', 'night-3 apply P1: A -> C']);
  });

  it('is not closed as a review is when the model is sure', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1');
    await night.offer(['P1', 'P2'], { version: 2 });
    await night.prepare('night-2');
    await decide('P1', 'A');
    await night.apply('night-2');
    expect(await reviewOf('P1')).toMatchObject({ decided_category: 'A', decided_by: 'ana' });
  });
});

describe('the statement of the ERP', () => {
  const source = { ...runSettings().source, categoryColumn: 'category' };
  const WRITE_BACK = `UPDATE erp.products p SET category = c.category_code FROM categorizer_changes c
    WHERE c.product_id = p.product_id`;

  beforeEach(async () => {
    await sql(`CREATE TABLE erp.seen (call serial, product_id text, category_code text, previous_category_code text,
      confidence real, run_id text, action text, transaction xid8 DEFAULT pg_current_xact_id())`);
  });
  const REMEMBER = `INSERT INTO erp.seen (product_id, category_code, previous_category_code, confidence, run_id, action)
    SELECT * FROM categorizer_changes`;

  async function erp(): Promise<Record<string, string | null>> {
    const rows = await sql<{ id: string; category: string }>(
      'SELECT product_id AS id, category FROM erp.products ORDER BY 1',
    );
    return Object.fromEntries(rows.map(({ id, category }) => [id, category]));
  }

  it('writes categories back, in the transaction of their slice', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4'], { category: 'B' });
    await night.run('night-1', { P2: ['C', 0.9], P4: ['B', 0.9] }, { source, applySql: WRITE_BACK });
    expect(await erp()).toEqual({ P1: 'A', P2: 'C', P3: 'A', P4: 'B' });
    expect(await night.current()).toEqual({ P1: 'A', P2: 'C', P3: 'A', P4: 'B' });
  });

  it('sees the changes of its slice and no other: not what stays, not what is for review, not what was rejected', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4', 'P5', 'P6', 'P7'], { category: 'B' });
    await night.offer(['P6']);
    await night.run(
      'night-1',
      { P1: ['A', 0.5], P2: ['B', 0.9], P3: ['C', 0.25], P4: null, P5: ['C', 0.75], P6: ['A', 0.875], P7: ['B', 0.9] },
      { source, applySql: REMEMBER, sliceSize: 5 },
    );
    const seen = await sql<{ product_id: string; transaction: string }>('SELECT * FROM erp.seen ORDER BY product_id');
    expect(seen).toMatchObject([
      { product_id: 'P1', category_code: 'A', previous_category_code: 'B', confidence: 0.5, run_id: 'night-1' },
      { product_id: 'P5', category_code: 'C', previous_category_code: 'B', confidence: 0.75, action: 'apply' },
      { product_id: 'P6', category_code: 'A', previous_category_code: null, confidence: 0.875 },
    ]);
  });

  it('is run once for each slice that changes something', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4', 'P5'], { category: 'A' });
    await sql('CREATE TABLE erp.calls (changes int)');
    const applySql = 'INSERT INTO erp.calls SELECT count(*) FROM categorizer_changes';
    await night.run('night-1', { P1: ['B', 1], P3: ['B', 1], P4: ['C', 1] }, { source, applySql, sliceSize: 1 });
    expect(await sql('SELECT changes FROM erp.calls')).toEqual([{ changes: 1 }, { changes: 1 }, { changes: 1 }]);
  });

  it('sees what a person decided, without a confidence', async () => {
    await night.offer(['P1'], { category: 'A' });
    await night.run('night-1', {}, { source, applySql: REMEMBER });
    await night.reviews.decide('P1', { categoryCode: 'C', decidedBy: 'ana' });
    await night.run('night-2', {}, { source, applySql: REMEMBER });
    expect(await sql('SELECT product_id, category_code, confidence FROM erp.seen')).toEqual([
      { product_id: 'P1', category_code: 'C', confidence: null },
    ]);
  });

  it('that fails takes its slice back as a whole, and leaves those before', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4'], { category: 'B' });
    await sql(`ALTER TABLE erp.products ADD CHECK (product_id <> 'P3' OR category <> 'A')`);
    await night.prepare('night-1', { P4: ['A', 0.25] }, { source, applySql: WRITE_BACK, sliceSize: 2 });
    const applying = night.apply('night-1');
    await expect(applying).rejects.toMatchObject({ code: 'APPLY_SQL_FAILED', retryable: false });
    await expect(applying).rejects.toThrow('the statement of --apply-sql failed on slice 1: ');
    await expect(applying).rejects.toThrow('products_check');
    expect(await erp()).toEqual({ P1: 'A', P2: 'A', P3: 'B', P4: 'B' });
    expect(await night.current()).toEqual({ P1: 'A', P2: 'A' });
    expect(await reviewOf('P4')).toBeUndefined();
    expect(await night.categories.unapplied('night-1')).toEqual([1]);
    expect(await night.history()).toEqual(['night-1 apply P1: B -> A', 'night-1 apply P2: B -> A']);
  });

  it('that failed is replaced by another, and the run goes on', async () => {
    await night.offer(['P1'], { category: 'B' });
    await night.prepare('night-1', {}, { source, applySql: 'UPDATE erp.nothing SET a = 1' });
    await expect(night.apply('night-1')).rejects.toMatchObject({ code: 'APPLY_SQL_FAILED' });
    await night.registry.setApplySql('night-1', WRITE_BACK);
    await night.apply('night-1');
    expect(await erp()).toEqual({ P1: 'A' });
  });

  it('that was ended by another, as in a deadlock, is tried again with less at once', async () => {
    await night.offer(['P1', 'P2'], { category: 'B' });
    const applySql = `DO $$ BEGIN
      IF (SELECT count(*) FROM categorizer_changes) > 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
      UPDATE erp.products p SET category = c.category_code FROM categorizer_changes c WHERE c.product_id = p.product_id;
    END $$`;
    await night.run('night-1', {}, { source, applySql });
    expect(await erp()).toEqual({ P1: 'A', P2: 'A' });
    expect(await night.history()).toEqual(['night-1 apply P1: B -> A', 'night-1 apply P2: B -> A']);
  });

  it('may be several statements', async () => {
    await night.offer(['P1'], { category: 'B' });
    await night.run('night-1', {}, { source, applySql: `${REMEMBER}; ${WRITE_BACK}` });
    expect(await erp()).toEqual({ P1: 'A' });
    expect(await sql('SELECT product_id FROM erp.seen')).toEqual([{ product_id: 'P1' }]);
  });

  describe('before it is needed', () => {
    it.each([
      { title: 'an update', statement: WRITE_BACK },
      { title: 'one that ends with a comment', statement: `${WRITE_BACK} -- all of them` },
      { title: 'an insert', statement: REMEMBER },
      { title: 'one with WITH', statement: `WITH c AS (SELECT * FROM categorizer_changes) ${WRITE_BACK}` },
      { title: 'a select of a function', statement: 'SELECT count(*) FROM categorizer_changes' },
      { title: 'several statements, which cannot be read ahead', statement: 'SELECT 1; SELECT nothing' },
      { title: 'a block, which cannot be read ahead', statement: 'DO $$ BEGIN PERFORM nothing(); END $$' },
    ])('is found right, and not run: $title', async ({ statement }) => {
      await night.offer(['P1'], { category: 'B' });
      await night.categories.checkStatement(statement);
      await night.categories.checkStatement(statement);
      expect(await erp()).toEqual({ P1: 'B' });
      expect(await sql('SELECT FROM erp.seen')).toEqual([]);
    });

    it.each([
      { title: 'a table that is not there', statement: 'UPDATE erp.nothing SET a = 1', says: 'erp.nothing' },
      { title: 'a column that is not there', statement: 'SELECT sku FROM categorizer_changes', says: 'sku' },
      { title: 'a slip', statement: 'UPDATE erp.products SETT category = 1', says: 'syntax error' },
      { title: 'a comment before a slip', statement: '-- back\nUPDATE erp.nothing SET a = 1', says: 'erp.nothing' },
      {
        title: 'comments of both kinds before one',
        statement: '/* a; * */ -- b\n/**/UPDATE erp.nothing SET a = 1',
        says: 'x',
      },
    ])('is refused for $title', async ({ statement, says }) => {
      const checking = night.categories.checkStatement(statement);
      await expect(checking).rejects.toMatchObject({ code: 'APPLY_SQL_FAILED', retryable: false });
      await expect(checking).rejects.toThrow(says);
    });
  });
});
