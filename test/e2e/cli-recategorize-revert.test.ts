import { expect, inject, it } from 'vitest';
import { openNightly } from '../support/nightly-commands.ts';
import { createErp, WRITE_BACK } from '../support/nightly-erp.ts';
import { makeProducts } from '../support/products.ts';

const PRODUCTS = makeProducts(300);
/** Six, each with the vector of a product of another category. */
const CHANGED = [3, 50, 51, 52, 150, 298].map((i) => ({ ...PRODUCTS[i], features: PRODUCTS[i + 1].features }));
const [changedAgain, decided, confirmed, ...untouched] = CHANGED;

it('runs revert restores the categories in our tables and those of the ERP, but for what changed since', async () => {
  const { erp, run, json } = openNightly(await createErp(inject('postgresUrl')));
  const night = (id: string, ...more: string[]) => json(['recategorize', '--run', id, ...WRITE_BACK, ...more]);
  const both = async () => [await erp.categories(), await erp.recorded()];
  await erp.put(PRODUCTS);
  await night('night-1', '--local');
  const [first] = await both();

  await erp.put(CHANGED);
  expect((await night('night-2', '--local')).said.counts).toMatchObject({ changed: 6 });
  await erp.put([{ ...changedAgain, features: PRODUCTS[5].features }]);
  // One person says another category than that night did, and one the same.
  const said = (await erp.categories()).get(confirmed.productId);
  await erp.rows(
    `INSERT INTO categorizer.reviews (product_id, decided_category, decided_by) VALUES ($1, 'INFORMATICA', 'ana'), ($2, $3, 'rui')`,
    [decided.productId, confirmed.productId, said],
  );
  expect((await night('night-3', '--local')).said.counts).toMatchObject({ changed: 2, decided: 1 });
  const [third] = await both();

  const reverted = await json(['runs', 'revert', 'night-2']);
  expect(reverted).toEqual({ code: 0, said: { runId: 'night-2', restored: 3, kept: 3 } });
  const wanted = new Map(third);
  for (const { productId } of untouched) wanted.set(productId, first.get(productId) ?? null);
  expect(wanted).not.toEqual(third);
  expect(await both()).toEqual([wanted, wanted]);

  // What is restored stays so: its input was categorized.
  const before = await erp.written();
  expect((await night('night-4')).said.counts).toMatchObject({ skipped: 300 });
  expect(await erp.written()).toEqual(before);

  const again = await run(['runs', 'revert', 'night-2']);
  expect(again.stdout).toBe('');
  expect(again.stderr).toMatch(/^RUN_STATE: run night-2 was reverted 2\d{3}-[^\n]+\n$/);
  expect(again.code).toBe(1);
  expect((await run(['runs', 'show', 'night-2'])).stdout).toMatch(/^state +finished, reverted since /m);

  // The first night too: then those that only it gave a category have none.
  expect((await json(['runs', 'revert', 'night-1'])).said).toEqual({ runId: 'night-1', restored: 297, kept: 3 });
  const left = new Map(
    [...third].map(([id, code]) => [
      id,
      [changedAgain, decided, confirmed].some(({ productId }) => productId === id) ? code : null,
    ]),
  );
  expect(await both()).toEqual([left, left]);
});
