import { beforeEach, describe, expect, it } from 'vitest';
import type { RunSettings } from '../../src/domain/run.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { createNights } from '../support/recategorization-night.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const { database, sql } = useRecategorizationDatabase();

let night: ReturnType<typeof createNights>;
beforeEach(() => {
  night = createNights(database());
});

const UPDATE = `UPDATE erp.products p SET category = c.category_code FROM categorizer_changes c
  WHERE c.product_id = p.product_id`;
const COMPARE = `${UPDATE} AND p.category IS NOT DISTINCT FROM c.previous_category_code`;
const CHANGE_ONE = `UPDATE erp.products SET category = 'ANA' WHERE product_id = 'P2'`;
const FUNCTION = `CREATE FUNCTION erp.write() RETURNS void LANGUAGE sql AS
  $$ UPDATE erp.products SET category = 'B' WHERE product_id <> 'P3' AND category = 'A' $$`;

const TABLE = { ...runSettings().source, categoryColumn: 'category' };
const QUERY = { ...TABLE, table: undefined, sql: 'SELECT * FROM erp.products -- all' };
/** Without the column nothing can be read back. */
const NO_COLUMN = runSettings().source;

const appliedOf = async () => (await night.registry.get('night-1'))?.applied;
const stateOf = async () => (await night.registry.get('night-1'))?.state;

/** Four products of category A that are to be B; then what somebody else does, and the statement. */
async function applyAfter(change: string, settings: Partial<RunSettings>): Promise<void> {
  await night.offer(['P1', 'P2', 'P3', 'P4'], { category: 'A' });
  const answers = Object.fromEntries(['P1', 'P2', 'P3', 'P4'].map((id) => [id, ['B', 0.9] as const]));
  await night.prepare('night-1', answers, { sliceSize: 100, ...settings });
  await sql(change);
  await night.apply('night-1');
  await night.categories.finish('night-1');
}

async function applied(): Promise<string[]> {
  return (await night.history()).map((line) => line.replace('night-1 ', ''));
}

describe('a statement that compares with what the run saw', () => {
  it.each([
    { title: 'the table with its column is read back', source: TABLE },
    { title: 'the query with its column is read back', source: QUERY },
  ])('has on record what somebody changed meanwhile: $title', async ({ source }) => {
    await applyAfter(CHANGE_ONE, { source, applySql: COMPARE });
    expect(await appliedOf()).toMatchObject({ written: 3, changed: 1, untouched: 0 });
    expect(await applied()).toContain('not_applied P2: A -> ANA');
    expect(await applied()).toHaveLength(4);
    expect(await night.current()).toEqual({ P1: 'B', P2: 'ANA', P3: 'B', P4: 'B' });
    expect(await stateOf()).toBe('finished');
  });

  it.each([
    { title: 'a table', source: TABLE },
    { title: 'a query', source: QUERY },
  ])('has on record what is gone: $title', async ({ source }) => {
    await applyAfter(`DELETE FROM erp.products WHERE product_id = 'P2'`, { source, applySql: COMPARE });
    expect(await appliedOf()).toMatchObject({ written: 3, gone: 1 });
    expect(Object.keys(await night.current())).toEqual(['P1', 'P3', 'P4']);
  });

  it('finds the products that it did not touch by their number alone, where no column is known', async () => {
    await applyAfter(CHANGE_ONE, { source: NO_COLUMN, applySql: `${UPDATE} AND p.category <> 'ANA'` });
    expect(await appliedOf()).toMatchObject({ written: 3, untouched: 1, samples: [{ productId: 'P2', found: null }] });
    expect(await applied()).toHaveLength(4);
    expect(await night.current()).toEqual({ P1: 'B', P2: null, P3: 'B', P4: 'B' });
    // Nobody can explain it: that is no run of which all is well.
    expect(await stateOf()).toBe('finished_with_rejects');
  });
});

describe('a statement that does not compare', () => {
  it('overwrites what somebody changed, and the history has what was overwritten, so that a revert finds it', async () => {
    await applyAfter(CHANGE_ONE, { source: TABLE, applySql: UPDATE });
    expect(await applied()).toContain('apply P2: ANA -> B');
    expect(await appliedOf()).toMatchObject({ written: 4, changed: 0 });
  });

  it('and touches rows beyond the changes is not taken for all well, where nothing can be read back', async () => {
    await applyAfter(
      `INSERT INTO erp.products SELECT product_id, features, 'A' FROM erp.products WHERE product_id = 'P1'`,
      {
        source: NO_COLUMN,
        applySql: UPDATE,
      },
    );
    expect(await appliedOf()).toMatchObject({ written: 4, excessRows: 1 });
    expect(await stateOf()).toBe('finished_with_rejects');
  });
});

describe('a statement whose rows say nothing', () => {
  const statements = [
    { title: 'a function', applySql: 'SELECT erp.write()' },
    { title: 'several statements', applySql: `SELECT 1; ${COMPARE} AND p.product_id <> 'P3'` },
    {
      title: 'one WITH an update',
      applySql: `WITH w AS (${COMPARE} AND p.product_id <> 'P3' RETURNING 1) SELECT count(*) FROM w`,
    },
  ];
  const sources = [
    { of: 'a table', source: TABLE },
    { of: 'a query', source: QUERY },
  ];

  it.each(statements.flatMap((statement) => sources.map((source) => ({ ...statement, ...source }))))(
    'is held to the column of $of: $title',
    async ({ applySql, source }) => {
      await sql(FUNCTION);
      await applyAfter(CHANGE_ONE, { source, applySql });
      expect(await appliedOf()).toMatchObject({ written: 2, changed: 1, untouched: 1 });
      expect(await night.current()).toEqual({ P1: 'B', P2: 'ANA', P3: 'A', P4: 'B' });
    },
  );

  it('is counted by its rows where the column shows nothing of it, as of a view that is refreshed later', async () => {
    await night.offer(['P1', 'P2', 'P3', 'P4'], { category: 'A' });
    await sql('CREATE MATERIALIZED VIEW erp.shown AS SELECT * FROM erp.products');
    const applySql = `${UPDATE} AND p.product_id <> 'P3'`;
    await applyAfter('SELECT 1', { source: { ...TABLE, table: 'erp.shown' }, applySql });
    expect(await appliedOf()).toMatchObject({ written: 3, untouched: 1, samples: [{ productId: 'P3' }] });
  });

  it('is believed where it puts the changes somewhere else, for the ERP to write them later', async () => {
    await sql('CREATE TABLE erp.inbox (product_id text, category text)');
    const applySql = 'INSERT INTO erp.inbox SELECT product_id, category_code FROM categorizer_changes';
    await applyAfter(CHANGE_ONE, { source: TABLE, applySql });
    expect(await sql('SELECT FROM erp.inbox')).toHaveLength(4);
    expect(await appliedOf()).toMatchObject({ written: 3, changed: 1, untouched: 0 });
    expect(await stateOf()).toBe('finished');
  });
});

it('the look at what the statement wrote is READ ONLY: a source that writes is refused, and nothing is done', async () => {
  await sql(`CREATE TABLE erp.log (product_id text);
    CREATE FUNCTION erp.log(id text) RETURNS text LANGUAGE sql VOLATILE AS
      $$ INSERT INTO erp.log VALUES (id); SELECT id $$`);
  await night.offer(['P1'], { category: 'A' });
  const source = { ...QUERY, sql: 'SELECT erp.log(product_id) AS product_id, features, category FROM erp.products' };
  await night.begin('night-1', { source });
  await expect(night.makePlan('night-1')).rejects.toMatchObject({
    code: 'SOURCE_INVALID',
    retryable: false,
    message: expect.stringContaining('the source (--source-sql) tries to write'),
  });
  // Planned from something else, the read after the statement is the first of this source.
  await sql(`UPDATE categorizer.runs SET settings = settings || '{"source": ${JSON.stringify(TABLE)}}'`);
  await night.makePlan('night-1');
  await night.stage('night-1', { P1: ['B', 0.9] });
  await sql(`UPDATE categorizer.runs SET settings = settings || $1`, { source, applySql: 'SELECT 1' });
  await expect(night.apply('night-1')).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
  expect(await sql('SELECT FROM erp.log')).toEqual([]);
  expect(await night.current()).toEqual({});
});
