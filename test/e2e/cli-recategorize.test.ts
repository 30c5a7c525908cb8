import { beforeAll, describe, expect, inject, it } from 'vitest';
import { createWorkspace } from '../support/cli-workspace.ts';
import { predictedCategories } from '../support/load.ts';
import { openNightly, runNight } from '../support/nightly-commands.ts';
import { createErp, createErpTemplate, type ErpTemplate, SOURCE, WRITE_BACK } from '../support/nightly-erp.ts';
import { makeProducts, type TestProduct } from '../support/products.ts';

const PRODUCTS = makeProducts(300);
/** 2 %, each with the vector of a product of another category. */
const CHANGED = [3, 50, 51, 52, 150, 298].map((i) => ({ ...PRODUCTS[i], features: PRODUCTS[i + 1].features }));
const idsOf = (products: readonly TestProduct[]) => products.map(({ productId }) => productId).sort();

/** What `predict` says. */
let predicted: Map<string, string | null>;
let changedPredicted: Map<string, string | null>;
/** After the first night. */
let template: ErpTemplate;

beforeAll(async () => {
  const workspace = await createWorkspace();
  predicted = await predictedCategories(PRODUCTS, workspace.directory);
  changedPredicted = new Map(predicted);
  for (const [i, { productId }] of CHANGED.entries()) changedPredicted.set(productId, categoryOf(i));
  await workspace.remove();
  template = await createErpTemplate(inject('postgresUrl'), async (erp) => {
    await erp.put(PRODUCTS);
    await runNight(erp, 'night-1');
  });
  return () => template.drop();
});

/** Of the product whose vector it now has. */
function categoryOf(changed: number): string {
  const features = CHANGED[changed].features;
  const donor = PRODUCTS.find((product) => product.features === features);
  return predicted.get(donor?.productId ?? '') ?? '';
}

async function openSecondNight() {
  return openNightly(await template.copy());
}

/** Nothing was sent, and nothing waits to be done. */
async function expectNoJob({ queues }: Awaited<ReturnType<typeof openSecondNight>>): Promise<void> {
  const keys = await queues.redis.keys(`${queues.prefix}:*`);
  expect(keys.filter((key) => /:(payload|sent|product-categori\w+:\d|product-runs:night)/.test(key))).toEqual([]);
  expect(await queues.products.getJobCountByTypes('waiting', 'active', 'delayed', 'completed', 'failed')).toBe(0);
}

describe('recategorize', () => {
  it('in the first night gives every product its category, in our tables and in that of the ERP', async () => {
    const { erp, queues, json } = openNightly(await createErp(inject('postgresUrl')));
    await erp.put(PRODUCTS);
    const { code, said } = await json([
      'recategorize',
      '--run',
      'night-1',
      ...WRITE_BACK,
      '--local',
      '--slice-size',
      '64',
    ]);
    expect(said).toMatchObject({
      id: 'night-1',
      name: 'manual',
      state: 'finished',
      counts: { products: 300, skipped: 0, kept: 0, changed: 0, added: 300, review: 0, rejected: 0, decided: 0 },
      settings: {
        full: false,
        dryRun: false,
        sliceSize: 64,
        source: { table: 'erp.products', categoryColumn: 'category' },
      },
      report: { rejectedByCode: {}, rejectSamples: [], reviewSamples: [] },
    });
    expect(said).not.toHaveProperty('lockedSince');
    expect(code).toBe(0);
    expect(await erp.categories()).toEqual(predicted);
    expect(await erp.recorded()).toEqual(predicted);
    const history = await erp.rows(
      'SELECT product_id, run_id, action, old_category, decided_by FROM categorizer.history',
    );
    expect(history).toHaveLength(300);
    expect(new Set(history.map(({ product_id, ...change }) => JSON.stringify(change)))).toEqual(
      new Set([JSON.stringify({ run_id: 'night-1', action: 'apply', old_category: null, decided_by: null })]),
    );
    expect(await queues.results.getWaitingCount()).toBe(0);
  });

  it('in a night in which nothing changed sends nothing, and writes nothing but its own line in the record', async () => {
    const night = await openSecondNight();
    const before = await night.erp.written();
    // No worker is there, and none is missed.
    const { code, said } = await night.json(['recategorize', '--run', 'night-2', ...WRITE_BACK]);
    expect(said).toMatchObject({
      state: 'finished',
      counts: { products: 300, skipped: 300, kept: 0, changed: 0, added: 0 },
    });
    expect(code).toBe(0);
    expect(await night.erp.written()).toEqual(before);
    await expectNoJob(night);
  });

  it('when 2 % changed categorizes those, and touches no other', async () => {
    const { erp, json } = await openSecondNight();
    await erp.put(CHANGED);
    const before = await erp.written();
    const { code, said } = await json(['recategorize', '--run', 'night-2', ...WRITE_BACK, '--local']);
    expect(said.counts).toMatchObject({ products: 300, skipped: 294, kept: 0, changed: 6, added: 0, review: 0 });
    expect(code).toBe(0);
    expect(await erp.categories()).toEqual(changedPredicted);
    expect(await erp.recorded()).toEqual(changedPredicted);

    const after = await erp.written();
    for (const table of ['products', 'categories', 'history'] as const) {
      const known = new Set(before[table].map((row) => JSON.stringify(row)));
      const written = after[table].filter((row) => !known.has(JSON.stringify(row)));
      expect(written.map(({ product_id }) => product_id).sort(), table).toEqual(idsOf(CHANGED));
    }
    const history = await erp.rows(`SELECT * FROM categorizer.history WHERE run_id = 'night-2' ORDER BY product_id`);
    expect(
      history.map(({ product_id, old_category, new_category, old_run_id }) => [
        product_id,
        old_category,
        new_category,
        old_run_id,
      ]),
    ).toEqual(idsOf(CHANGED).map((id) => [id, predicted.get(id), changedPredicted.get(id), 'night-1']));
  });

  it('with --full categorizes every product, and finds nothing to change', async () => {
    const { erp, json } = await openSecondNight();
    const { history } = await erp.written();
    const { code, said } = await json(['recategorize', '--run', 'night-2', ...WRITE_BACK, '--full', '--local']);
    expect(said.counts).toMatchObject({ products: 300, skipped: 0, kept: 300, changed: 0, added: 0 });
    expect(code).toBe(0);
    expect((await erp.written()).history).toEqual(history);
    expect(await erp.categories()).toEqual(predicted);
  });

  it('with --dry-run reports what it would do, also beyond a guard, changes nothing, and ends with 0', async () => {
    const { erp, run, queues } = await openSecondNight();
    await erp.put(CHANGED);
    const before = await erp.written();
    const guard = ['--max-change-ratio', '0.01'];
    const { code, stdout } = await run([
      'recategorize',
      '--run',
      'night-2',
      ...WRITE_BACK,
      ...guard,
      '--dry-run',
      '--local',
    ]);
    expect(stdout).toMatch(/^state +finished, dry run since /m);
    expect(stdout).toMatch(/^held by max-change-ratio +6 of 300 products would change [^\n]*\(--max-change-ratio\)$/m);
    expect(stdout).toMatch(/^changed +6 +0 .*\(2\.00 % of the catalogue\)$/m);
    expect(code).toBe(0);
    expect(await erp.written()).toEqual(before);
    expect(await queues.results.getWaitingCount()).toBe(0);
  });

  it('without --apply-sql leaves the table of the ERP alone, and counts changes from what it recorded', async () => {
    const { erp, json } = await openSecondNight();
    await erp.rows('UPDATE erp.products SET category = NULL');
    await erp.put(CHANGED);
    const { products } = await erp.written();
    const { code, said } = await json(['recategorize', '--run', 'night-2', ...SOURCE, '--local']);
    expect(said.counts).toMatchObject({ skipped: 294, changed: 6, added: 0 });
    expect(code).toBe(0);
    expect((await erp.written()).products).toEqual(products);
    expect(await erp.recorded()).toEqual(changedPredicted);
  });
});
