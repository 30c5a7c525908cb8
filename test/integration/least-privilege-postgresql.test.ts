import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { type Database, openDatabase } from '../../src/adapters/postgres/connection.ts';
import { migrate } from '../../src/adapters/postgres/migrations.ts';
import { createRunReports } from '../../src/adapters/postgres/run-reports.ts';
import { revertRun } from '../../src/application/recategorization/revert-run.ts';
import { createFakeLogger } from '../support/fake-observers.ts';
import { createDatabase, query } from '../support/postgres-server.ts';
import { createNights } from '../support/recategorization-night.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const PAGE = new URL('../../docs/least-privilege-postgresql.md', import.meta.url);
const ROLES = ['nightly_owner', 'nightly_runner', 'nightly_applier', 'nightly_viewer', 'erp_screen'] as const;
type Role = (typeof ROLES)[number];

const logger = createFakeLogger();
const source = { ...runSettings().source, categoryColumn: 'category' };
let as: Record<Role | 'superuser', Database>;

/** As the page says it: roles, tables, grants. */
beforeAll(async () => {
  const server = inject('postgresUrl');
  const { url, drop } = await createDatabase(server);
  const blocks = [...(await readFile(PAGE, 'utf8')).matchAll(/^```sql\n(.*?)^```$/gms)].map(([, sql]) => sql);
  expect(blocks).toHaveLength(3);
  const [before, ...after] = blocks;
  await query(
    url,
    `CREATE SCHEMA erp; CREATE TABLE erp.products (product_id text PRIMARY KEY, features real[], category text);
     CREATE TABLE erp.salaries (name text); REVOKE ALL ON SCHEMA public FROM PUBLIC`,
  );
  await query(url, before);
  const urlOf = (role: string) => Object.assign(new URL(url), { username: role }).href;
  expect(await migrate({ url: urlOf('nightly_owner'), dryRun: false, logger })).not.toEqual([]);
  for (const block of after) await query(url, block);

  const open = (role: string) => openDatabase({ url: urlOf(role), logger });
  const roles = Object.fromEntries(ROLES.map((role) => [role, open(role)])) as Record<Role, Database>;
  as = { ...roles, superuser: openDatabase({ url, logger }) };
  await as.superuser.query(
    `INSERT INTO erp.products SELECT 'P' || n, ARRAY[n, n]::real[], 'A' FROM generate_series(1, 4) n`,
  );
  return async () => {
    for (const database of Object.values(as)) await database.close();
    await drop();
    await query(server, `DROP ROLE ${ROLES.toReversed().join(', ')}`);
  };
});

/** One column of the answer, in the order of its rows. */
async function column(role: Role | 'superuser', sql: string): Promise<unknown[]> {
  return (await as[role].query(sql)).map((row) => Object.values(row)[0]);
}

const refused = (role: Role, statement: string) =>
  expect(as[role].query(statement), `${role}: ${statement}`).rejects.toThrow(/permission denied|must be owner/);

async function expectRefused(role: Role, ...statements: string[]): Promise<void> {
  for (const statement of statements) await refused(role, statement);
}

const CHANGE = `UPDATE erp.products SET features = ARRAY[random(), 1]::real[]`;

describe('the owner of the tables', () => {
  it('has nothing to migrate twice, and reaches nothing of the ERP', async () => {
    await expectRefused('nightly_owner', 'SELECT FROM erp.products', 'CREATE SCHEMA other', CHANGE);
  });
});

describe('who runs recategorizations', () => {
  it('runs and reverts a night that keeps its own record, with reviews and a schedule', async () => {
    const night = createNights(as.nightly_runner);
    await night.run('record', { P1: ['B', 0.9], P2: ['B', 0.1], P3: null }, { source });
    expect(await night.registry.get('record')).toMatchObject({
      state: 'finished_with_rejects',
      applied: { written: 1 },
    });
    expect(await night.reviews.decide('P2', { categoryCode: 'C', decidedBy: 'ana' })).toBe(true);
    await night.run('decided', {}, { source });
    expect(await night.reviews.withdraw('P2')).toBe(true);
    await night.run('dry', {}, { source, dryRun: true });
    expect(await revertRun(night.categories, 'record', new AbortController().signal)).toMatchObject({ restored: 1 });
  });

  it('is told before anything is done that it may not write to the ERP', async () => {
    const night = createNights(as.nightly_runner);
    const checking = night.categories.checkWrites(runSettings({ source, apply: true }), ['A']);
    await expect(checking).rejects.toMatchObject({
      code: 'APPLY_FAILED',
      message: expect.stringContaining('permission denied'),
    });
  });

  it('changes neither the ERP nor the history, and makes nothing in the schema', async () => {
    await expectRefused(
      'nightly_runner',
      `UPDATE erp.products SET category = 'X'`,
      'DELETE FROM erp.products',
      'SELECT FROM erp.salaries',
      'DELETE FROM categorizer.history',
      `UPDATE categorizer.history SET new_category = 'X'`,
      'TRUNCATE categorizer.history',
      'DELETE FROM categorizer.runs',
      'DELETE FROM categorizer.product_categories',
      'DROP TABLE categorizer.history',
      'ALTER TABLE categorizer.history DISABLE TRIGGER ALL',
      'CREATE TABLE categorizer.other ()',
    );
  });
});

describe('who applies', () => {
  it('writes the category column of the ERP, and reverts it', async () => {
    await as.superuser.query(CHANGE);
    const night = createNights(as.nightly_applier);
    const settings = { source, apply: true } as const;
    await night.categories.checkWrites(runSettings(settings), ['A', 'B']);
    await night.run('applied', { P1: ['B', 0.9], P4: ['B', 0.9] }, settings);
    expect(await column('superuser', 'SELECT category FROM erp.products ORDER BY product_id')).toEqual([
      'B',
      'A',
      'A',
      'B',
    ]);
    await revertRun(night.categories, 'applied', new AbortController().signal);
    expect(await column('superuser', 'SELECT DISTINCT category FROM erp.products')).toEqual(['A']);
  });

  it('has on record what a policy of the ERP keeps from being written', async () => {
    await as.superuser.query(CHANGE);
    await as.superuser.query(`ALTER TABLE erp.products ENABLE ROW LEVEL SECURITY`);
    await as.superuser.query(`CREATE POLICY reading ON erp.products FOR SELECT USING (true)`);
    await as.superuser.query(`CREATE POLICY writing ON erp.products FOR UPDATE USING (product_id <> 'P1')`);
    const night = createNights(as.nightly_applier);
    await night.run('policy', { P1: ['B', 0.9], P4: ['B', 0.9] }, { source, apply: true });
    expect(await night.registry.get('policy')).toMatchObject({
      ...{ state: 'finished_with_rejects', applied: { written: 1, untouched: 1, samples: [{ productId: 'P1' }] } },
    });
    await as.superuser.query(`ALTER TABLE erp.products DISABLE ROW LEVEL SECURITY`);
  });

  it('writes no other column, and adds and removes no product', async () => {
    await expectRefused(
      'nightly_applier',
      CHANGE,
      'DELETE FROM erp.products',
      `INSERT INTO erp.products VALUES ('X')`,
      'TRUNCATE erp.products',
      'DELETE FROM categorizer.history',
    );
  });
});

describe('who looks', () => {
  it('sees runs, reports and reviews', async () => {
    const night = createNights(as.nightly_viewer);
    expect(await night.registry.list({ limit: 9 })).not.toEqual([]);
    expect(await createRunReports(as.nightly_viewer).get('applied')).toMatchObject({ matrix: expect.any(Array) });
    expect(await night.reviews.list({ decided: false, limit: 9 })).toBeInstanceOf(Array);
    for await (const page of night.reviews.training()) expect(page).toBeInstanceOf(Array);
    expect(await night.reviews.withoutFeatures()).toBe(0);
  });

  it('changes nothing, and sees nothing of the ERP', async () => {
    const night = createNights(as.nightly_viewer);
    await expect(night.reviews.decide('P1', { categoryCode: 'B', decidedBy: 'x' })).rejects.toThrow(
      'permission denied',
    );
    await expect(night.begin('viewer')).rejects.toThrow('permission denied');
    await expectRefused('nightly_viewer', 'SELECT FROM erp.products', `UPDATE categorizer.runs SET name = 'x'`);
  });
});

describe('the screen of the ERP', () => {
  it('decides, decides otherwise and takes back, and the model is asked again', async () => {
    const decide = (code: string) =>
      as.erp_screen.query(
        `INSERT INTO categorizer.reviews (product_id, decided_category, decided_by) VALUES ('P4', $1, 'rui')
         ON CONFLICT (product_id) DO UPDATE SET decided_category = excluded.decided_category, decided_by = excluded.decided_by`,
        [code],
      );
    const hash = () =>
      column('superuser', `SELECT length(input_hash) FROM categorizer.product_categories WHERE product_id = 'P4'`);
    await decide('B');
    await decide('C');
    expect(
      await column('erp_screen', `SELECT decided_category FROM categorizer.reviews WHERE product_id = 'P4'`),
    ).toEqual(['C']);
    expect(await hash()).toEqual([16]);
    await as.erp_screen.query(`DELETE FROM categorizer.reviews WHERE product_id = 'P4'`);
    expect(await hash()).toEqual([0]);
    expect(await column('erp_screen', 'SELECT count(*)::integer FROM categorizer.current_categories')).toEqual([4]);
  });

  it('does nothing else', async () => {
    await expectRefused(
      'erp_screen',
      `UPDATE categorizer.reviews SET proposed_category = 'B'`,
      'SELECT FROM categorizer.history',
      'SELECT FROM categorizer.runs',
      `UPDATE categorizer.product_categories SET category_code = 'B'`,
      'TRUNCATE categorizer.reviews',
      'CREATE TABLE categorizer.other ()',
    );
  });
});
