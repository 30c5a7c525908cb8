import { beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { type Nightly, openNightly, runNight } from '../support/nightly-commands.ts';
import { createErpTemplate, type ErpTemplate, WRITE_BACK } from '../support/nightly-erp.ts';
import { shuffledModel } from '../support/nightly-models.ts';
import { makeProducts } from '../support/products.ts';

const PRODUCTS = makeProducts(300);
const NIGHT = ['recategorize', '--run', 'night-2', ...WRITE_BACK, '--local'];
const ISO_TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;

let template: ErpTemplate;
let night: Nightly;

beforeAll(async () => {
  template = await createErpTemplate(inject('postgresUrl'), async (erp) => {
    await erp.put(PRODUCTS);
    await runNight(erp, 'night-1');
  });
  return () => template.drop();
});
beforeEach(async () => {
  night = openNightly(await template.copy());
});

describe('a model with shuffled labels', () => {
  it('is held back with 4 and changes nothing; nothing else begins before somebody rejects it', async () => {
    const { erp, run, json } = night;
    const before = await erp.written();
    const shuffled = await shuffledModel();
    const held = await json(NIGHT, shuffled);
    expect(held.said).toMatchObject({
      state: 'awaiting_approval',
      model: { version: 'shuffled' },
      lockedSince: expect.any(String),
      counts: { products: 300, skipped: 0, kept: 0, changed: 300, added: 0 },
      holds: [
        { guard: 'max-change-ratio', message: expect.stringMatching(/^300 of 300 products .*: 100 %, more than 10 %/) },
      ],
    });
    expect(held.said.report.matrix).toHaveLength(3);
    expect(held.code).toBe(4);
    expect(await erp.written()).toEqual(before);

    const shown = await run(['runs', 'show', 'night-2']);
    expect(shown.stdout).toMatch(/^state +awaiting_approval since /m);
    expect(shown.stdout).toMatch(/^held by max-change-ratio +300 of 300 products would change/m);
    expect(shown.code).toBe(4);

    const second = await run(['recategorize', '--run', 'night-3', ...WRITE_BACK, '--local']);
    expect(second.stdout).toBe('');
    expect(second.stderr).toMatch(
      new RegExp(
        `^RUN_LOCKED: run night-2 holds the lock since ${ISO_TIME} and waits for approval: [^\n]*runs reject night-2\n$`,
      ),
    );
    expect(second.stderr).toContain(held.said.lockedSince);
    expect(second.code).toBe(1);

    expect(await run(['runs', 'reject', 'night-2', '--by', 'ana'])).toMatchObject({
      code: 0,
      stdout: 'run    night-2\nstate  cancelled\n',
    });
    const cancelled = await json(['runs', 'show', 'night-2']);
    expect(cancelled.said).toMatchObject({ state: 'cancelled', decidedBy: 'ana', finishedAt: expect.any(String) });
    expect(cancelled.said).not.toHaveProperty('lockedSince');
    expect(cancelled.code).toBe(1);
    expect(await erp.written()).toEqual(before);

    // With the right model the next night has nothing to do.
    const { code, said } = await json(['recategorize', '--run', 'night-3', ...WRITE_BACK]);
    expect(said.counts).toMatchObject({ skipped: 300 });
    expect(code).toBe(0);
    expect(await erp.written()).toEqual(before);
  });
});

describe('a run that is held back', () => {
  it('says every guard that holds it, is applied when it is approved, and not before', async () => {
    const { erp, json, run } = night;
    // A tenth of the catalogue is left, and of that one changed and one cannot be categorized.
    await erp.rows('DELETE FROM erp.products WHERE product_id <> ALL ($1)', [
      PRODUCTS.slice(0, 30).map((p) => p.productId),
    ]);
    const [changed, bad] = [PRODUCTS[3].productId, PRODUCTS[4].productId];
    await erp.put([
      { productId: changed, features: PRODUCTS[4].features },
      { productId: bad, features: [1, 2] },
    ]);
    const before = await erp.written();
    const guards = ['--max-change-ratio', '0.02', '--max-reject-ratio', '0.02', '--min-products', '31'];
    const held = await json([...NIGHT, ...guards]);
    expect(held.said.holds).toEqual([
      { guard: 'min-products', message: 'the source gave 30 products, fewer than 31 (--min-products)' },
      {
        guard: 'max-change-ratio',
        message: '1 of 30 products would change their category: 3.33333 %, more than 2 % (--max-change-ratio)',
      },
      {
        guard: 'max-reject-ratio',
        message: '1 of 30 products were rejected: 3.33333 %, more than 2 % (--max-reject-ratio)',
      },
    ]);
    expect(held.code).toBe(4);
    expect(await erp.written()).toEqual(before);

    const { code, said } = await json(['runs', 'approve', 'night-2', '--by', 'ana']);
    expect(said).toMatchObject({
      state: 'finished_with_rejects',
      decidedBy: 'ana',
      counts: { changed: 1, rejected: 1 },
    });
    expect(code).toBe(3);
    const categories = await erp.categories();
    const recorded = await erp.recorded();
    expect(categories.get(changed)).toBe(categories.get(PRODUCTS[7].productId));
    expect(recorded.get(changed)).toBe(categories.get(changed));
    expect((await erp.written()).history).toHaveLength(301);

    const again = await run(['runs', 'reject', 'night-2']);
    expect(again.stderr).toMatch(/^RUN_STATE: run night-2 is finished_with_rejects, and must be awaiting_approval /);
    expect(again.code).toBe(1);
  });
});
