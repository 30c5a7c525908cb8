import { beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { type Nightly, openNightly, runNight } from '../support/nightly-commands.ts';
import { createErpTemplate, type ErpTemplate, WRITE_BACK } from '../support/nightly-erp.ts';
import { newModel, shippedCategories } from '../support/nightly-models.ts';
import { makeProducts, WIDTH } from '../support/products.ts';

const SURE = makeProducts(100);
/** The model says INFORMATICA of all of these, and is not sure. */
const UNSURE = ['U-1', 'U-2', 'U-3'].map((productId, i) => ({
  productId,
  features: Array.from({ length: WIDTH }, () => Math.fround(1.1 + i / 100)),
}));
const NIGHT = ['recategorize', ...WRITE_BACK, '--run'];

/** After a first night. */
let template: ErpTemplate;
let night: Nightly;

beforeAll(async () => {
  template = await createErpTemplate(inject('postgresUrl'), async (erp) => {
    await erp.put([...SURE, ...UNSURE]);
    await runNight(erp, 'night-1');
  });
  return () => template.drop();
});
beforeEach(async () => {
  night = openNightly(await template.copy());
});

/** As the ERP does it. */
async function decideBySql(productId: string, categoryCode: string): Promise<void> {
  await night.erp.rows(
    `INSERT INTO categorizer.reviews (product_id, decided_category, decided_by) VALUES ($1, $2, 'erp')
     ON CONFLICT (product_id) DO UPDATE SET decided_category = excluded.decided_category, decided_by = excluded.decided_by`,
    [productId, categoryCode],
  );
}

async function listed(...options: string[]): Promise<Record<string, unknown>[]> {
  const { code, stdout } = await night.run(['review', 'list', '--json', ...options]);
  expect(code).toBe(0);
  return linesOf(stdout).map((line) => JSON.parse(line));
}

const linesOf = (text: string) => text.split('\n').filter((line) => line !== '');

/** Product id and decided category, of two that the model is unsure of, and of one that it is sure of. */
const [{ productId: SURE_ID }] = SURE;
const DECIDED = [
  [SURE_ID, 'INFORMATICA'],
  ['U-1', 'AUTOPECAS'],
  ['U-2', 'MATERIAL_CONSTRUCAO'],
] as const;

/** In our table and in the ERP's; and that nothing was decided for the third. */
async function expectDecided(): Promise<void> {
  for (const categories of [await night.erp.categories(), await night.erp.recorded()]) {
    for (const [id, category] of [...DECIDED, ['U-3', null]] as const)
      expect([id, categories.get(id)]).toEqual([id, category]);
  }
}

describe('a product that the model is unsure of', () => {
  it('is not given a category, and is listed', async () => {
    const [categories, recorded] = [await night.erp.categories(), await night.erp.recorded()];
    for (const { productId } of UNSURE) {
      expect([categories.get(productId), recorded.get(productId)], productId).toEqual([null, null]);
    }
    const [first, ...rest] = await listed();
    expect(first).toEqual({
      ...{ productId: 'U-1', runId: 'night-1', proposedCategory: 'INFORMATICA', confidence: expect.any(Number) },
      ...{ currentCategory: null, createdAt: expect.stringMatching(/^2\d{3}-\d\d-\d\dT.*Z$/) },
      ...{ decidedCategory: null, decidedBy: null, decidedAt: null },
    });
    expect(rest.map(({ productId }) => productId)).toEqual(['U-2', 'U-3']);

    const { code, stdout } = await night.run(['review', 'list', '--limit', '1']);
    const [header, ...lines] = stdout.trimEnd().split('\n');
    expect(header).toMatch(/^product +has +proposed +confidence +decided +by +since$/);
    expect(lines).toEqual([expect.stringMatching(/^U-1 +- +INFORMATICA +0\.[0-6]\d\d +- +- +\S+ \S+ UTC$/)]);
    expect(code).toBe(0);
  });

  it('has from the next run on the category that a person decided, by command or by SQL', async () => {
    const { erp, run, json } = night;
    expect((await erp.categories()).get(SURE_ID)).toBe('AUTOPECAS');
    const decided = await run(['review', 'decide', 'U-1', 'AUTOPECAS', '--by', 'ana']);
    expect(decided).toMatchObject({ code: 0, stderr: '' });
    await decideBySql('U-2', 'MATERIAL_CONSTRUCAO');
    await decideBySql(SURE_ID, 'INFORMATICA');

    // The model is not needed for that: no worker is there.
    const { code, said } = await json([...NIGHT, 'night-2']);
    expect(said.counts).toMatchObject({ products: 103, skipped: 100, changed: 1, added: 2, decided: 3, review: 0 });
    expect(code).toBe(0);
    await expectDecided();
    const history = await erp.rows(`SELECT * FROM categorizer.history WHERE run_id = 'night-2' ORDER BY product_id`);
    expect(history.map(({ product_id, new_category, decided_by }) => [product_id, new_category, decided_by])).toEqual(
      DECIDED.map(([id, category]) => [id, category, id === 'U-1' ? 'ana' : 'erp']),
    );
    expect((await listed('--decided')).map(({ productId, decidedBy }) => [productId, decidedBy]).sort()).toEqual([
      [SURE_ID, 'erp'],
      ['U-1', 'ana'],
      ['U-2', 'erp'],
    ]);

    // As training data, with the vectors that were looked at.
    const exported = await run(['review', 'export']);
    const [header, ...rows] = linesOf(exported.stdout).map((line) => line.split(','));
    expect(header).toEqual(['product_id', ...Array.from({ length: WIDTH }, (_, i) => `f${i}`), 'category']);
    const numbers = (cells: string[]) => cells.map((cell) => Math.fround(Number(cell)));
    expect(rows.map((cells) => [cells[0], ...numbers(cells.slice(1, -1)), cells.at(-1)])).toEqual(
      [SURE[0], UNSURE[0], UNSURE[1]].map(({ features }, i) => [DECIDED[i][0], ...features, DECIDED[i][1]]),
    );
    expect(exported).toMatchObject({ code: 0, stderr: '3 decisions\n' });
  });

  it('keeps it when another model categorizes everything, until the decision is taken back', async () => {
    const { erp, run, json } = night;
    for (const [id, category] of DECIDED) await decideBySql(id, category);
    await json([...NIGHT, 'night-2']);
    const { history } = await erp.written();

    const model = await newModel();
    const { code, said } = await json([...NIGHT, 'night-3', '--full', '--local'], model);
    expect(said).toMatchObject({ model: { version: 'new' }, counts: { skipped: 3, kept: 99, changed: 0, review: 1 } });
    expect(code).toBe(0);
    await expectDecided();
    expect((await erp.written()).history).toEqual(history);

    expect((await run(['review', 'withdraw', 'U-1'])).code).toBe(0);
    const asked = await json([...NIGHT, 'night-4', '--local'], model);
    expect(asked.said.counts).toMatchObject({ skipped: 102, review: 1 });
    expect((await listed()).map(({ productId, runId }) => [productId, runId]).sort()).toEqual([
      ['U-1', 'night-4'],
      ['U-3', 'night-3'],
    ]);
  });

  it('is not changed by a run that was planned before the decision', async () => {
    const { erp, json } = night;
    // Both are sure now; the run waits for approval.
    await erp.put([UNSURE[0], UNSURE[1]].map(({ productId }) => ({ productId, features: SURE[1].features })));
    await erp.put([{ productId: SURE[0].productId, features: SURE[1].features }]);
    const held = await json([...NIGHT, 'night-2', '--max-change-ratio', '0', '--local']);
    expect(held).toMatchObject({ code: 4, said: { counts: { changed: 1, added: 2 } } });
    await decideBySql('U-1', 'AUTOPECAS');

    expect((await json(['runs', 'approve', 'night-2'])).code).toBe(0);
    const categories = await erp.categories();
    expect([categories.get('U-1'), categories.get('U-2')]).toEqual([null, 'INFORMATICA']);
    expect((await erp.recorded()).get('U-1')).toBeNull();

    expect((await json([...NIGHT, 'night-3'])).said.counts).toMatchObject({ skipped: 102, added: 1, decided: 1 });
    expect((await erp.categories()).get('U-1')).toBe('AUTOPECAS');
  });
});

describe('a decision', () => {
  it('on a category that the model does not know, or on a product that no run has seen, is refused', async () => {
    const { run } = night;
    const category = await run(['review', 'decide', 'U-1', 'MOVEIS']);
    expect(category).toMatchObject({ code: 1, stdout: '' });
    expect(category.stderr).toBe(
      `UNKNOWN_CATEGORY: "MOVEIS" is none of the model's categories: ${(await shippedCategories()).join(', ')}\n`,
    );
    const product = await run(['review', 'decide', 'X-1', 'AUTOPECAS']);
    expect(product).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^REVIEW_NOT_FOUND: [^\n]*X-1"\n$/),
    });
    const withdrawn = await run(['review', 'withdraw', 'U-1']);
    expect(withdrawn).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^REVIEW_NOT_FOUND: [^\n]*U-1"\n$/),
    });
  });

  it('of the ERP on a category that the model does not know is rejected by the next run, which ends with 3', async () => {
    await decideBySql('U-1', 'MOVEIS');
    const { code, said } = await night.json([...NIGHT, 'night-2']);
    expect(said.report.rejectSamples).toEqual([
      { productId: 'U-1', code: 'UNKNOWN_CATEGORY', message: expect.stringContaining('erp decided on "MOVEIS"') },
    ]);
    expect(said).toMatchObject({ state: 'finished_with_rejects', counts: { skipped: 102, rejected: 1 } });
    expect(code).toBe(3);
  });
});
