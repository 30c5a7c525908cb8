import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { INPUT_HASH_BYTES } from '../../src/application/recategorization/ports.ts';
import { createSliceBuilder } from '../../src/application/recategorization/slice-builder.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import { cataloguePage, type PlannedProduct, vectorAsHash } from '../support/recategorization-plan.ts';

const WIDTH = 2;

function product(number: number, id = `P${number}`): PlannedProduct {
  return { id, features: [number + 1, -1 - number], current: `C${number}` };
}

const someProducts = fc
  .uniqueArray(
    fc.oneof(
      fc.stringMatching(/^[a-z0-9]{1,10}$/),
      fc.constantFrom('peça-№5', '🔩'.repeat(200), 'x'.repeat(200), ' ', '\u00a0'),
    ),
    { maxLength: 30 },
  )
  .map((ids) => ids.map((id, number) => product(number, id)));

/** Cuts products into pages, and those into slices. */
function slicesOf(pages: readonly (readonly PlannedProduct[])[], size: number) {
  const builder = createSliceBuilder(size, WIDTH);
  const slices = [];
  for (const products of pages) {
    const page = cataloguePage(products);
    const hashes = vectorAsHash(page.products.features);
    for (let row = 0; row < products.length; row++) {
      builder.add(page, row, hashes);
      if (builder.rows === size) slices.push(builder.take(slices.length));
    }
  }
  if (builder.rows > 0) slices.push(builder.take(slices.length));
  return slices;
}

describe('slices', () => {
  it('have every product once and in its order, each with its own vector, category and hash', () => {
    const pages = fc.array(someProducts, { maxLength: 3 });
    fc.assert(
      fc.property(pages, fc.integer({ min: 1, max: 12 }), (catalogue, size) => {
        const products = catalogue.flat();
        // Looked at when all are there: what a slice holds must not change when the next ones are built.
        const found = slicesOf(catalogue, size).flatMap(({ products: { ids, features }, ...slice }) =>
          unpackIds(ids, features.rows).map((id, row) => ({
            id,
            vector: [...features.values.subarray(row * WIDTH, (row + 1) * WIDTH)],
            current: slice.currentCategories[row],
            hash: [...slice.inputHashes.subarray(row * INPUT_HASH_BYTES, (row + 1) * INPUT_HASH_BYTES)],
          })),
        );
        expect(found).toEqual(
          products.map(({ id, features, current }) => ({
            id,
            vector: features,
            current,
            hash: [...vectorAsHash({ rows: 1, width: WIDTH, values: Float32Array.from(features) })],
          })),
        );
      }),
      { numRuns: 60 },
    );
  });

  it('are full but for the last, and numbered as they are taken', () => {
    const slices = slicesOf([[1, 2, 3, 4].map((n) => product(n)), [5, 6, 7].map((n) => product(n))], 3);
    expect(slices.map(({ number, products }) => [number, products.features.rows])).toEqual([
      [0, 3],
      [1, 3],
      [2, 1],
    ]);
  });

  it('hold the rows of a page that were added, wherever in the page they stand', () => {
    const page = cataloguePage(['a', 'bb', 'ç🔩', 'dddd'].map((id, number) => product(number, id)));
    const builder = createSliceBuilder(10, WIDTH);
    for (const row of [0, 2, 3]) builder.add(page, row, vectorAsHash(page.products.features));
    const { products, currentCategories } = builder.take(5);
    expect(unpackIds(products.ids, 3)).toEqual(['a', 'ç🔩', 'dddd']);
    expect(currentCategories).toEqual(['C0', 'C2', 'C3']);
  });

  it('begin empty after one was taken', () => {
    const builder = createSliceBuilder(2, WIDTH);
    const page = cataloguePage([product(1)]);
    builder.add(page, 0, vectorAsHash(page.products.features));
    expect(builder.rows).toBe(1);
    builder.take(0);
    expect(builder.rows).toBe(0);
    expect(builder.take(1).products.ids).toHaveLength(0);
  });
});
