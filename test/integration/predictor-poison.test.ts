import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOnnxPredictor } from '../../src/adapters/onnx/onnx-predictor.ts';
import { createCategorizeProducts } from '../../src/application/categorize-products.ts';
import { createMicroBatcher } from '../../src/application/micro-batcher.ts';
import type { BatchObserver, CategoryPredictor } from '../../src/application/ports.ts';
import { systemClock } from '../../src/composition.ts';
import { packIds } from '../../src/contract/index.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { checkPackedProducts } from '../../src/domain/packed-products.ts';
import { readProducts } from '../../src/domain/product.ts';
import { type ModelDirectory, makeModelDirectory, readFixture, tableGolden } from '../support/model-directory.ts';

const unobserved: BatchObserver = {
  started: () => ({ predict: (_rows, run) => run(), finished: () => undefined, publish: (_jobs, run) => run() }),
};

/** A real model on which the whole batch fails when the first feature of one row is not 0, 1 or 2. */
let directory: ModelDirectory;
let predictor: CategoryPredictor;
beforeAll(async () => {
  directory = makeModelDirectory({ onnx: readFixture('poison'), golden: tableGolden(0) });
  predictor = await createOnnxPredictor({ modelPath: directory.modelPath, threads: 1 });
});
afterAll(async () => {
  await predictor.close();
  directory.remove();
});

function setUp() {
  const batcher = createMicroBatcher({
    predictor,
    observer: unobserved,
    clock: systemClock,
    maxRows: 64,
    maxWaitMs: 1,
  });
  const counts = { categorized: 0, rejected: 0 };
  const categorize = createCategorizeProducts({
    batcher,
    observer: {
      products: (outcome, count) => {
        counts[outcome] += count;
      },
      outside: () => undefined,
    },
    model: predictor.model,
  });
  const { width } = predictor.model;
  return {
    categorize: (products: readonly unknown[]) => categorize(readProducts(products, width)),
    categorizePacked: (firsts: readonly number[], ids = firsts.map((_, i) => `P${i}`)) => {
      const values = Float32Array.from(firsts.flatMap((first) => [first, 0]));
      const table = { ids: packIds(ids), features: { rows: firsts.length, width, values } };
      return categorize(checkPackedProducts(table, width));
    },
    counts,
  };
}

const product = (first: number, i: number) => ({ productId: `P${i}`, features: [first, 0] });

describe('a product on which the model fails', () => {
  it('is rejected alone with PREDICTION_FAILED; the others of its batch have their categories', async () => {
    const { categorize, counts } = setUp();
    const firsts = Array.from({ length: 200 }, (_, i) => (i % 50 === 7 ? 9 : i % 3));
    const { predictions, rejects } = await categorize(firsts.map(product));
    expect(rejects.map(({ row, code }) => ({ row, code }))).toEqual(
      [7, 57, 107, 157].map((row) => ({ row, code: 'PREDICTION_FAILED' })),
    );
    firsts.forEach((first, row) => {
      if (first !== 9) expect(predictions.categoryIndexes[row]).toBe(first);
    });
    expect(counts).toEqual({ categorized: 196, rejected: 4 });
  });

  it('does not touch the products of other jobs in its batch', async () => {
    const { categorize } = setUp();
    const jobs = [product(0, 0), product(9, 1), product(1, 2), product(2, 3)].map((one) => categorize([one]));
    const outcomes = await Promise.all(jobs);
    expect(outcomes.map(({ rejects }) => rejects.map(({ code }) => code))).toEqual([[], ['PREDICTION_FAILED'], [], []]);
    expect(outcomes.map(({ predictions }) => predictions.categoryIndexes[0])).toEqual([0, 65535, 1, 2]);
  });

  it('stands among the rejects in its place, between products that were refused before the model', async () => {
    const { categorize } = setUp();
    const { rejects } = await categorize([
      product(0, 0),
      { productId: '', features: [0, 0] },
      product(9, 2),
      { productId: 'a', features: [] },
    ]);
    expect(rejects.map(({ row, code }) => [row, code])).toEqual([
      [1, 'INVALID_PRODUCT_ID'],
      [2, 'PREDICTION_FAILED'],
      [3, 'WRONG_WIDTH'],
    ]);
  });

  it.each([
    { title: 'all of which were accepted', ids: undefined, refused: [] },
    { title: 'some of which were refused before', ids: ['P0', '', 'P2', 'P3', 'P4', ''], refused: [1, 5] },
  ])('is rejected alone in a packed chunk as well, $title', async ({ ids, refused }) => {
    const { categorizePacked, counts } = setUp();
    const firsts = [0, 1, 9, 2, 9, 0];
    const { predictions, rejects } = await categorizePacked(firsts, ids);
    const failed = [2, 4].map((row) => [row, 'PREDICTION_FAILED']);
    const expected = [...refused.map((row) => [row, 'INVALID_PRODUCT_ID']), ...failed];
    expect(rejects.map(({ row, code }) => [row, code])).toEqual(expected.toSorted(([a], [b]) => Number(a) - Number(b)));
    const rejected = rejects.map(({ row }) => row);
    expect([...predictions.categoryIndexes]).toEqual(
      firsts.map((first, row) => (rejected.includes(row) ? NO_CATEGORY : first)),
    );
    expect(counts).toEqual({ categorized: 6 - rejected.length, rejected: rejected.length });
  });
});
