import { beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { type Nightly, openNightly, runNight } from '../support/nightly-commands.ts';
import { createErp, createErpTemplate, type ErpTemplate, SOURCE, WRITE_BACK } from '../support/nightly-erp.ts';
import type { CliResult } from '../support/processes.ts';
import { makeProducts } from '../support/products.ts';

const PRODUCTS = makeProducts(60);

/** What an ERP does that does not like one category of one product. */
const REFUSE_ONE = `
  CREATE FUNCTION erp.refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the period of % is closed', NEW.product_id; END $$;
  CREATE TRIGGER refuse BEFORE UPDATE ON erp.products FOR EACH ROW
    WHEN (NEW.product_id = '${PRODUCTS[30].productId}' AND NEW.category IS NOT NULL) EXECUTE FUNCTION erp.refuse()`;
const FAILED = {
  state: 'failed',
  failure: {
    state: 'applying',
    code: 'APPLY_SQL_FAILED',
    message: expect.stringMatching(/ on slice 1: the period of \S+ is closed/),
  },
};

/** After a night that failed so. */
let template: ErpTemplate;
let failed: CliResult;
let night: Nightly;

beforeAll(async () => {
  template = await createErpTemplate(inject('postgresUrl'), async (erp) => {
    await erp.put(PRODUCTS);
    await erp.rows(REFUSE_ONE);
    failed = await runNight(erp, 'night', '--slice-size', '20', '--json');
  });
  return () => template.drop();
});

/** Products that have a category: in the ERP, in our table, and changes in the history. */
async function counts(): Promise<number[]> {
  const { erp } = night;
  const categorized = (found: Map<string, string | null>) => [...found.values()].filter((code) => code !== null).length;
  const history = await erp.rows(`SELECT FROM categorizer.history WHERE action = 'apply'`);
  return [categorized(await erp.categories()), categorized(await erp.recorded()), history.length];
}

describe('recategorize whose --apply-sql fails', () => {
  beforeEach(async () => {
    night = openNightly(await template.copy());
  });

  it('fails with 1: what it applied before stays, and of the slice that failed nothing is done, here as there', async () => {
    expect(failed.code).toBe(1);
    const said = JSON.parse(failed.stdout);
    expect(said).toMatchObject(FAILED);
    expect(said).not.toHaveProperty('lockedSince');
    expect(await counts()).toEqual([20, 20, 20]);
  });

  it('goes on with runs resume when the ERP was mended, and does nothing twice', async () => {
    const again = await night.json(['runs', 'resume', 'night']);
    expect(again).toMatchObject({ code: 1, said: FAILED });
    await night.erp.rows('DROP TRIGGER refuse ON erp.products');
    const { code, said } = await night.json(['runs', 'resume', 'night']);
    expect(said).toMatchObject({ state: 'finished', counts: { added: 60 } });
    expect(said).not.toHaveProperty('failure');
    expect(code).toBe(0);
    expect(await counts()).toEqual([60, 60, 60]);
  });

  it('goes on with another statement', async () => {
    const skipping = `${WRITE_BACK.at(-1)} AND p.product_id <> '${PRODUCTS[30].productId}'`;
    const slip = await night.run(['runs', 'resume', 'night', '--apply-sql', 'UPDATE erp.product SET category = NULL']);
    expect(slip.stderr).toMatch(/^APPLY_SQL_FAILED: [^\n]*erp\.product/);
    expect(slip.code).toBe(1);
    const { code, said } = await night.json(['runs', 'resume', 'night', '--apply-sql', skipping]);
    // What the statement left alone is nowhere said to be written.
    expect(said).toMatchObject({ state: 'finished_with_rejects', applied: { written: 59, untouched: 1 } });
    expect(code).toBe(3);
    expect(await counts()).toEqual([59, 59, 59]);
  });

  it('can be reverted: what was applied of it is taken back', async () => {
    const { code, said } = await night.json(['runs', 'revert', 'night']);
    expect(said).toEqual({ runId: 'night', restored: 20, kept: 0 });
    expect(code).toBe(0);
    expect(await counts()).toEqual([0, 0, 20]);
  });
});

it('a slip in --apply-sql is found before anything is done', async () => {
  night = openNightly(await createErp(inject('postgresUrl')));
  await night.erp.put(PRODUCTS);
  const slip = ['--apply-sql', 'UPDATE erp.products SET kategory = NULL'];
  const { code, said } = await night.json(['recategorize', '--run', 'night', ...SOURCE, ...slip]);
  expect(said).toMatchObject({ state: 'failed', failure: { state: 'planned', code: 'APPLY_SQL_FAILED' } });
  expect(said.failure.message).toContain('kategory');
  expect(code).toBe(1);
  expect(await counts()).toEqual([0, 0, 0]);
  expect(await night.queues.products.getJobCountByTypes('waiting', 'completed')).toBe(0);
});
