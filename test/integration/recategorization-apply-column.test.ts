import { beforeEach, describe, expect, it } from 'vitest';
import { revertRun } from '../../src/application/recategorization/revert-run.ts';
import type { RunSettings } from '../../src/domain/run.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { createNights } from '../support/recategorization-night.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const { database, sql } = useRecategorizationDatabase();

let night: ReturnType<typeof createNights>;
beforeEach(() => {
  night = createNights(database());
});

const source = { ...runSettings().source, categoryColumn: 'category' };
const APPLY: Partial<RunSettings> = { source, apply: true, sliceSize: 100 };
const ALL_B = { P1: ['B', 0.9], P2: ['B', 0.9], P3: ['B', 0.9], P4: ['B', 0.9] } as const;

async function erp(from = 'erp.products'): Promise<Record<string, string | null>> {
  const rows = await sql<{ id: string; category: string | null }>(
    `SELECT product_id::text AS id, category::text AS category FROM ${from} ORDER BY 1`,
  );
  return Object.fromEntries(rows.map(({ id, category }) => [id, category]));
}

const appliedOf = async (id = 'night-1') => (await night.registry.get(id))?.applied;
const stateOf = async (id = 'night-1') => (await night.registry.get(id))?.state;
const rowOf = async (id: string) =>
  (
    await sql<Record<string, unknown>>(
      'SELECT category_code, run_id, confidence, model_version FROM categorizer.current_categories WHERE product_id = $1',
      id,
    )
  )[0];

/** What the history has of a product, as `action reason: seen -> found (wanted)`. */
async function historyOf(id: string): Promise<string[]> {
  const rows = await sql<{ line: string }>(
    `SELECT concat(action, ' ' || reason, ': ', coalesce(old_category, '-'), ' -> ', coalesce(new_category, '-'),
       ' (' || wanted_category || ')') AS line FROM categorizer.history WHERE product_id = $1 ORDER BY at`,
    id,
  );
  return rows.map(({ line }) => line);
}

/** All up to the apply, with four products of category A that are to be B; then what somebody else does. */
async function prepareThen(change: string, settings: Partial<RunSettings> = APPLY): Promise<void> {
  await night.offer(['P1', 'P2', 'P3', 'P4'], { category: 'A' });
  await night.prepare('night-1', ALL_B, settings);
  await sql(change);
  await night.apply('night-1');
  await night.categories.finish('night-1');
}

describe('the program that writes the column itself', () => {
  it('writes it and counts what it wrote', async () => {
    await prepareThen('SELECT 1');
    expect(await erp()).toEqual({ P1: 'B', P2: 'B', P3: 'B', P4: 'B' });
    expect(await appliedOf()).toEqual({
      ...{ written: 4, changed: 0, gone: 0, locked: 0, untouched: 0, excessRows: 0, samples: [] },
    });
    expect(await stateOf()).toBe('finished');
  });

  it('leaves what somebody changed between plan and apply, and says so wherever it is asked', async () => {
    await prepareThen(`UPDATE erp.products SET category = 'ANA' WHERE product_id = 'P2'`);
    expect(await erp()).toEqual({ P1: 'B', P2: 'ANA', P3: 'B', P4: 'B' });
    expect(await rowOf('P2')).toEqual({ category_code: 'ANA', run_id: null, confidence: null, model_version: null });
    expect(await historyOf('P2')).toEqual(['not_applied changed: A -> ANA (B)']);
    expect(await appliedOf()).toMatchObject({
      ...{ written: 3, changed: 1 },
      samples: [{ productId: 'P2', reason: 'changed', seen: 'A', wanted: 'B', found: 'ANA' }],
    });
    expect(await stateOf()).toBe('finished');
  });

  it('does not overwrite it in the next night either, until the product itself changes', async () => {
    await prepareThen(`UPDATE erp.products SET category = 'ANA' WHERE product_id = 'P2'`);
    expect(await night.run('night-2', ALL_B, APPLY)).toMatchObject({ skipped: 4 });
    expect(await erp()).toMatchObject({ P2: 'ANA' });
    await night.offer(['P2'], { version: 2, category: 'ANA' });
    expect(await night.run('night-3', ALL_B, APPLY)).toMatchObject({ changed: 1 });
    expect(await erp()).toMatchObject({ P2: 'B' });
    expect(await historyOf('P2')).toEqual(['not_applied changed: A -> ANA (B)', 'apply: ANA -> B']);
  });

  it('leaves a change to no category, and one to the very category that it would have written', async () => {
    await prepareThen(`UPDATE erp.products SET category = CASE product_id WHEN 'P1' THEN 'B' END
      WHERE product_id IN ('P1', 'P2')`);
    expect(await erp()).toEqual({ P1: 'B', P2: null, P3: 'B', P4: 'B' });
    expect(await historyOf('P1')).toEqual(['not_applied changed: A -> B (B)']);
    expect(await historyOf('P2')).toEqual(['not_applied changed: A -> - (B)']);
    expect(await rowOf('P1')).toMatchObject({ category_code: 'B', run_id: null });
    await revertRun(night.categories, 'night-1', new AbortController().signal);
    expect(await erp()).toEqual({ P1: 'B', P2: null, P3: 'A', P4: 'A' });
  });

  it('counts what was deleted or has another number by now, and says nothing of them in the present categories', async () => {
    await prepareThen(`DELETE FROM erp.products WHERE product_id = 'P1';
      UPDATE erp.products SET product_id = 'Q2' WHERE product_id = 'P2'`);
    expect(await erp()).toEqual({ P3: 'B', P4: 'B', Q2: 'A' });
    expect(await night.current()).toEqual({ P3: 'B', P4: 'B' });
    expect(await historyOf('P1')).toEqual(['not_applied gone: A -> - (B)']);
    expect(await appliedOf()).toMatchObject({ written: 2, gone: 2 });
    expect(await stateOf()).toBe('finished');
    expect(await night.run('night-2', { Q2: ['B', 0.9] }, APPLY)).toMatchObject({ skipped: 2, changed: 1 });
  });

  it.each([
    {
      title: 'a trigger that swallows the update',
      guard: `CREATE FUNCTION erp.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER keep BEFORE UPDATE ON erp.products FOR EACH ROW WHEN (OLD.product_id = 'P2')
          EXECUTE FUNCTION erp.keep()`,
    },
    {
      title: 'a trigger that puts the former category back',
      guard: `CREATE FUNCTION erp.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.category := OLD.category; RETURN NEW; END $$;
        CREATE TRIGGER keep BEFORE UPDATE ON erp.products FOR EACH ROW WHEN (OLD.product_id = 'P2')
          EXECUTE FUNCTION erp.keep()`,
    },
  ])('counts what $title, is not finished as if all were well, and tries it again', async ({ guard }) => {
    await prepareThen(guard);
    expect(await erp()).toEqual({ P1: 'B', P2: 'A', P3: 'B', P4: 'B' });
    expect(await appliedOf()).toMatchObject({ written: 3, untouched: 1 });
    expect(await stateOf()).toBe('finished_with_rejects');
    expect(await rowOf('P2')).toMatchObject({ category_code: 'A', run_id: null });
    await sql('DROP TRIGGER keep ON erp.products');
    expect(await night.run('night-2', ALL_B, APPLY)).toMatchObject({ skipped: 3, changed: 1 });
    expect(await erp()).toMatchObject({ P2: 'B' });
  });

  it('takes what a trigger makes of a category for a change of the ERP', async () => {
    await prepareThen(`CREATE FUNCTION erp.map() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN NEW.category := NEW.category || '/1'; RETURN NEW; END $$;
      CREATE TRIGGER map BEFORE UPDATE ON erp.products FOR EACH ROW EXECUTE FUNCTION erp.map()`);
    expect(await erp()).toMatchObject({ P1: 'B/1' });
    expect(await night.current()).toMatchObject({ P1: 'B/1' });
    expect(await appliedOf()).toMatchObject({ written: 0, changed: 4 });
  });

  it.each([
    { title: 'a view', ddl: '' },
    {
      title: 'a view with a trigger in place of updates, which leaves one product alone',
      ddl: `CREATE FUNCTION erp.instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          UPDATE erp.products SET category = NEW.category WHERE product_id = OLD.product_id AND product_id <> 'P3';
          RETURN NEW; END $$;
        CREATE TRIGGER instead INSTEAD OF UPDATE ON erp.shown FOR EACH ROW EXECUTE FUNCTION erp.instead()`,
      left: { P3: 'A' },
    },
    {
      title: 'a view with a rule, which leaves one product alone',
      ddl: `CREATE RULE instead AS ON UPDATE TO erp.shown DO INSTEAD
        UPDATE erp.products p SET category = NEW.category WHERE p.product_id = OLD.product_id AND p.product_id <> 'P3'`,
      left: { P3: 'A' },
    },
  ])('writes through $title', async ({ ddl, left = {} }) => {
    await sql(`CREATE VIEW erp.shown AS SELECT * FROM erp.products; ${ddl}`);
    const settings = { ...APPLY, source: { ...source, table: 'erp.shown' } };
    await prepareThen(
      `UPDATE erp.products SET category = 'ANA' WHERE product_id = 'P1'; DELETE FROM erp.products
      WHERE product_id = 'P2'`,
      settings,
    );
    expect(await erp()).toEqual({ P1: 'ANA', P3: 'B', P4: 'B', ...left });
    const untouched = Object.keys(left).length;
    expect(await appliedOf()).toMatchObject({ written: 2 - untouched, changed: 1, gone: 1, untouched });
  });

  it('does not take a product that leaves a view when it is written for one that is gone', async () => {
    await sql(`CREATE VIEW erp.shown AS SELECT * FROM erp.products WHERE category IS DISTINCT FROM 'B'`);
    await prepareThen('SELECT 1', { ...APPLY, source: { ...source, table: 'erp.shown' } });
    expect(await erp()).toEqual({ P1: 'B', P2: 'B', P3: 'B', P4: 'B' });
    expect(await appliedOf()).toMatchObject({ written: 4, gone: 0 });
  });

  it.each([
    { type: 'varchar(20)', codes: ['A', 'B'], ids: 'text' },
    { type: 'char(7)', codes: ['A', 'B'], ids: 'char(9)' },
    { type: 'erp.kind', codes: ['A', 'B'], ids: 'uuid' },
    { type: 'integer', codes: ['17', '4'], ids: 'bigint' },
    { type: 'erp.code', codes: ['A', 'B'], ids: 'integer' },
  ])('writes a column of type $type, by an id of type $ids, and reverts it', async ({ type, codes, ids }) => {
    const idOf = (n: number) => (ids === 'uuid' ? `00000000-0000-0000-0000-00000000000${n}` : `${n}`);
    await sql(`CREATE TYPE erp.kind AS ENUM ('A', 'B'); CREATE DOMAIN erp.code AS varchar(3) CHECK (VALUE <> 'X');
      CREATE TABLE erp."Some Items" ("Item No" ${ids} PRIMARY KEY, features real[], "the ""category""" ${type})`);
    const [before, after] = codes;
    for (const n of [1, 2]) await sql(`INSERT INTO erp."Some Items" VALUES ('${idOf(n)}', '{1,1}', '${before}')`);
    const model = { ...night.model, categories: codes.map((code) => ({ code, name: code })) };
    const settings = {
      ...APPLY,
      source: { ...source, table: 'erp.Some Items', idColumn: 'Item No', categoryColumn: 'the "category"' },
    };
    await night.begin('night-1', settings, model);
    await night.categories.checkWrites(runSettings(settings), codes);
    await night.makePlan('night-1', model);
    expect(await night.stage('night-1', { [idOf(1)]: [after, 0.9], [idOf(2)]: [after, 0.9] }, model)).toMatchObject({
      changed: 2,
    });
    await night.apply('night-1');
    await night.categories.finish('night-1');
    const column = () => sql(`SELECT DISTINCT "the ""category"""::text AS category FROM erp."Some Items"`);
    expect(await column()).toEqual([{ category: after }]);
    expect(await appliedOf()).toMatchObject({ written: 2 });
    expect(await revertRun(night.categories, 'night-1', new AbortController().signal)).toEqual({
      restored: 2,
      kept: 0,
    });
    expect(await column()).toEqual([{ category: before }]);
  });
});

describe('before anything is written', () => {
  it.each([
    {
      title: 'too short for a category',
      ddl: 'ALTER COLUMN category TYPE varchar(2)',
      says: /varchar|character varying/,
    },
    { title: 'a domain that is too short', ddl: `ALTER COLUMN category TYPE erp.short`, says: /another text/ },
    { title: 'a char that is too short', ddl: 'ALTER COLUMN category TYPE char(3)', says: /character\(3\)/ },
    {
      title: 'a number where categories are words',
      ddl: 'ALTER COLUMN category TYPE integer USING 1',
      says: /integer/,
    },
    { title: 'a list of other values', ddl: 'ALTER COLUMN category TYPE boolean USING true', says: /boolean/ },
    {
      title: 'generated',
      ddl: `DROP COLUMN category, ADD COLUMN category text GENERATED ALWAYS AS ('A') STORED`,
      says: /generated/,
    },
  ])('a column that is $title is refused', async ({ ddl, says }) => {
    await sql(`CREATE DOMAIN erp.short AS varchar(3); ALTER TABLE erp.products ${ddl}`);
    const checking = night.categories.checkWrites(runSettings(APPLY), ['LONG', 'A']);
    await expect(checking).rejects.toMatchObject({ code: 'APPLY_FAILED', retryable: false });
    await expect(checking).rejects.toThrow(says);
  });

  it('a view that cannot be updated is refused', async () => {
    await sql('CREATE VIEW erp.shown AS SELECT DISTINCT * FROM erp.products');
    const checking = night.categories.checkWrites(
      runSettings({ ...APPLY, source: { ...source, table: 'erp.shown' } }),
      [],
    );
    await expect(checking).rejects.toMatchObject({ code: 'APPLY_FAILED' });
    await expect(checking).rejects.toThrow('cannot update view');
  });
});

describe('a revert of what the program wrote', () => {
  it('leaves what the ERP changed since, and what is gone, and has it on record', async () => {
    await prepareThen('SELECT 1');
    await sql(
      `UPDATE erp.products SET category = 'RUI' WHERE product_id = 'P1'; DELETE FROM erp.products WHERE product_id = 'P2'`,
    );
    expect(await revertRun(night.categories, 'night-1', new AbortController().signal)).toEqual({
      restored: 2,
      kept: 2,
    });
    expect(await erp()).toEqual({ P1: 'RUI', P3: 'A', P4: 'A' });
    expect(await historyOf('P1')).toEqual(['apply: A -> B', 'not_reverted changed: B -> RUI (A)']);
    expect(await historyOf('P2')).toEqual(['apply: A -> B', 'not_reverted gone: B -> - (A)']);
    expect(await rowOf('P1')).toEqual({ category_code: 'RUI', run_id: null, confidence: null, model_version: null });
  });
});

describe('a decision of a person', () => {
  const decide = (categoryCode: string) => night.reviews.decide('P1', { categoryCode, decidedBy: 'ana' });

  async function decideThenChange(): Promise<void> {
    await night.offer(['P1'], { category: 'A' });
    await night.run('night-0', {}, APPLY);
    await decide('B');
    await night.prepare('night-1', {}, APPLY);
    await sql(`UPDATE erp.products SET category = 'RUI'`);
    await night.apply('night-1');
    await night.categories.finish('night-1');
  }

  it('that meets a later change of the ERP rests: that was the later word', async () => {
    await decideThenChange();
    expect(await erp()).toEqual({ P1: 'RUI' });
    expect(await night.run('night-2', {}, { ...APPLY, full: true })).toMatchObject({ skipped: 1, decided: 0 });
    expect(await erp()).toEqual({ P1: 'RUI' });
  });

  it.each([
    { title: 'somebody decides again, be it the same', again: () => decide('B') },
    {
      title: 'the ERP says it again in its own screen',
      again: () => sql(`UPDATE categorizer.reviews SET decided_category = 'B'`),
    },
    { title: 'the ERP changes the category once more', again: () => sql(`UPDATE erp.products SET category = 'A'`) },
  ])('is applied again when $title', async ({ again }) => {
    await decideThenChange();
    await again();
    expect(await night.run('night-2', {}, APPLY)).toMatchObject({ decided: 1 });
    expect(await erp()).toEqual({ P1: 'B' });
  });
});
