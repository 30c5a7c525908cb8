import { beforeAll, beforeEach, expect, inject, it } from 'vitest';
import { type Nightly, openNightly, runNight } from '../support/nightly-commands.ts';
import { APPLY, createErpTemplate, type ErpTemplate, SOURCE, WRITE_BACK } from '../support/nightly-erp.ts';
import { makeProducts } from '../support/products.ts';

const PRODUCTS = makeProducts(60);
const [changed, deleted, ...others] = PRODUCTS.map(({ productId }) => productId);
const BLIND =
  'UPDATE erp.products p SET category = c.category_code FROM categorizer_changes c WHERE p.product_id = c.product_id';
const WARNING = /^warning: the statement of --apply-sql does not mention previous_category_code: .*--apply/gm;

/** A run that waits for approval, as anything may change before somebody gives it. */
let template: ErpTemplate;
let night: Nightly;

beforeAll(async () => {
  template = await createErpTemplate(inject('postgresUrl'), async (erp) => {
    await erp.put(PRODUCTS);
    const waiting = await runNight(erp, 'night', '--apply', '--min-products', '1000', '--json');
    expect(waiting.code).toBe(4);
  });
  return () => template.drop();
});
beforeEach(async () => {
  night = openNightly(await template.copy());
});

it('recategorize --apply writes the column, and what the ERP changed meanwhile stays, counted in every report', async () => {
  const { erp, run, json } = night;
  await erp.rows(`UPDATE erp.products SET category = 'ANA' WHERE product_id = $1`, [changed]);
  await erp.rows('DELETE FROM erp.products WHERE product_id = $1', [deleted]);

  const applied = await run(['runs', 'approve', 'night', '--by', 'ana']);
  expect(applied.stdout).toMatch(
    /^written +58 .*\nnot written +2\n {2}changed +1 .*its change stays\n {2}gone +1 .*$/m,
  );
  expect(applied.code).toBe(0);

  const categories = await erp.categories();
  expect(categories.get(changed)).toBe('ANA');
  expect(others.filter((id) => categories.get(id) === null)).toEqual([]);
  const recorded = await erp.recorded();
  expect(recorded.get(changed)).toBe('ANA');
  expect(recorded.has(deleted)).toBe(false);
  expect(
    await erp.rows(`SELECT product_id, reason FROM categorizer.history WHERE action = 'not_applied' ORDER BY reason`),
  ).toEqual([
    { product_id: changed, reason: 'changed' },
    { product_id: deleted, reason: 'gone' },
  ]);

  const { said } = await json(['runs', 'show', 'night']);
  expect(said).toMatchObject({
    settings: { apply: true, lockTimeoutMs: 5000 },
    applied: { written: 58, changed: 1, gone: 1 },
  });
  const report = (await run(['runs', 'report', 'night', '--html', '-'])).stdout;
  expect(report).toContain('58 were written, and 2 were not');
  expect(report).toContain('(<code>--apply</code>)');
  expect(report).toMatch(new RegExp(`<code>${changed}</code>.*ANA.*changed`, 's'));

  // With the same input nobody proposes it again.
  const next = await json(['recategorize', '--run', 'next', ...APPLY, '--local']);
  expect(next.said.counts).toMatchObject({ products: 59, skipped: 59 });
  expect((await erp.categories()).get(changed)).toBe('ANA');

  await erp.rows(`UPDATE erp.products SET category = 'RUI' WHERE product_id = $1`, [others[0]]);
  const reverted = await json(['runs', 'revert', 'night']);
  expect(reverted).toEqual({ code: 0, said: { runId: 'night', restored: 57, kept: 1 } });
  expect([...new Set((await erp.categories()).values())].sort()).toEqual(['ANA', 'RUI', null]);
});

it('a row that a transaction of the ERP holds is left out after --lock-timeout, and the command ends with 3', async () => {
  const { erp, run } = night;
  await run(['runs', 'reject', 'night']);
  await erp.rows('BEGIN');
  await erp.rows('SELECT FROM erp.products WHERE product_id = $1 FOR UPDATE', [changed]);
  const { code, stdout } = await run(['recategorize', '--run', 'held', ...APPLY, '--lock-timeout', '0.2', '--local']);
  await erp.rows('ROLLBACK');
  expect(stdout).toMatch(/^written +59 .*\nnot written +1\n {2}locked +1 .*$/m);
  expect(code).toBe(3);
  expect(await erp.rows('SELECT product_id FROM erp.products WHERE category IS NULL')).toEqual([
    { product_id: changed },
  ]);
});

it('a statement that cannot see what somebody changed is warned of once, wherever it is given', async () => {
  const { run } = night;
  await run(['runs', 'reject', 'night']);
  const set = (name: string, ...more: string[]) =>
    run(['schedule', 'set', name, '--cron', '0 2 1 1 *', '--tz', 'UTC', ...SOURCE, ...more]);
  const said = async (result: Promise<{ stderr: string; code: number | null }>) => {
    const { stderr, code } = await result;
    expect(code).toBe(0);
    return stderr.match(WARNING)?.length ?? 0;
  };
  expect(await said(set('blind', '--apply-sql', `-- previous_category_code\n${BLIND}`))).toBe(1);
  expect(await said(set('good', ...WRITE_BACK.slice(SOURCE.length)))).toBe(0);
  expect(await said(set('own', '--apply'))).toBe(0);
  expect(await said(run(['recategorize', '--schedule', 'blind', '--local']))).toBe(1);
});

it('a category that the column cannot hold fails the run before anything is categorized', async () => {
  const { erp, run, json } = night;
  await run(['runs', 'reject', 'night']);
  await erp.rows('ALTER TABLE erp.products ALTER COLUMN category TYPE varchar(5)');
  const { code, said } = await json(['recategorize', '--run', 'short', ...APPLY, '--dry-run']);
  expect(said).toMatchObject({ state: 'failed', failure: { state: 'planned', code: 'APPLY_FAILED' } });
  expect(said.failure.message).toMatch(/column "category" of erp\.products \(character varying\(5\)\) cannot hold/);
  expect(code).toBe(1);
});

it('--dry-run only reads, whatever the source would do', async () => {
  const { erp, run, json } = night;
  await run(['runs', 'reject', 'night']);
  await erp.rows(`CREATE FUNCTION erp.strike(id text) RETURNS text LANGUAGE sql VOLATILE AS
    $$ DELETE FROM erp.products WHERE product_id = id; SELECT id $$`);
  const evil = 'SELECT erp.strike(product_id) AS product_id, features FROM erp.products';
  const { code, said } = await json(['recategorize', '--run', 'dry', '--source-sql', evil, '--dry-run']);
  expect(said).toMatchObject({ state: 'failed', failure: { code: 'SOURCE_INVALID' } });
  expect(said.failure.message).toMatch(/^the source \(--source-sql\) tries to write, and it is only ever read: /);
  expect(code).toBe(1);
  const two = 'SELECT 1) s; COMMIT; DELETE FROM erp.products; SELECT * FROM (SELECT 1';
  expect((await json(['recategorize', '--run', 'two', '--source-sql', two, '--dry-run'])).said).toMatchObject({
    failure: { code: 'SOURCE_INVALID' },
  });
  expect(await erp.rows('SELECT FROM erp.products')).toHaveLength(60);
});
