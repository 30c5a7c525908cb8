import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOnnxPredictor } from '../../src/adapters/onnx/onnx-predictor.ts';
import type { CategoryPredictor } from '../../src/application/ports.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { type FeatureMatrix, MAX_FLOAT32 } from '../../src/domain/features.ts';
import { type PredictionBatch, predictionsOf, probabilitiesOf } from '../../src/domain/prediction.ts';
import { makeProducts, WIDTH } from '../support/products.ts';

const MODEL_PATH = 'model/model.onnx';

let predictor: CategoryPredictor;
beforeAll(async () => {
  predictor = await createOnnxPredictor({ modelPath: MODEL_PATH, threads: 1 });
});
afterAll(() => predictor.close());

function matrix(rows: readonly (readonly number[])[], width = WIDTH): FeatureMatrix {
  return { rows: rows.length, width, values: Float32Array.from(rows.flat()) };
}

function rowOf(batch: PredictionBatch, row: number) {
  return {
    category: batch.categoryIndexes[row],
    confidence: batch.confidences[row],
    probabilities: probabilitiesOf(batch, row),
  };
}

/** The runtime may add up in another order in a batch of another size: the last digits are not compared. */
function expectSameRow(a: ReturnType<typeof rowOf>, b: ReturnType<typeof rowOf>): void {
  expect(a.confidence).toBeCloseTo(b.confidence, 5);
  a.probabilities.forEach((probability, i) => {
    expect(probability).toBeCloseTo(b.probabilities[i], 5);
  });
  const isTie = a.probabilities.filter((probability) => Math.abs(probability - a.confidence) < 1e-5).length > 1;
  if (!isTie) expect(a.category).toBe(b.category);
}

const features = makeProducts(300).map((product) => product.features);

describe('the shipped model', () => {
  it('says what it is', () => {
    expect(predictor.model).toMatchObject({
      name: 'product-category',
      width: WIDTH,
      categories: [{ code: 'AUTOPECAS' }, { code: 'INFORMATICA' }, { code: 'MATERIAL_CONSTRUCAO' }],
    });
    expect(predictor.model.sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('reproduces the golden sample: the categories and probabilities that the training gave', async () => {
    const golden: { inputs: number[][]; logits: number[][] } = JSON.parse(readFileSync('model/golden.json', 'utf8'));
    const found = await predictor.predict(matrix(golden.inputs));
    const expected = predictionsOf(Float32Array.from(golden.logits.flat()), golden.inputs.length, 3);
    expect([...found.categoryIndexes]).toEqual([...expected.categoryIndexes]);
    for (let row = 0; row < golden.inputs.length; row++) {
      const [a, b] = [rowOf(found, row), rowOf(expected, row)];
      expect(a.confidence).toBeCloseTo(b.confidence, 4);
      a.probabilities.forEach((probability, i) => {
        expect(probability).toBeCloseTo(b.probabilities[i], 4);
      });
    }
  });

  it('finds the centre that a product was made around', async () => {
    const found = await predictor.predict(matrix(features));
    expect([...found.categoryIndexes]).toEqual(features.map((_, i) => i % 3));
  });
});

describe('a row', () => {
  it('gets the same answer alone and in any batch, at any place in it', async () => {
    const alone = await Promise.all(features.map((row) => predictor.predict(matrix([row]))));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(features.length - 1), { minLength: 1, maxLength: 600 }), async (places) => {
        const batch = await predictor.predict(matrix(places.map((place) => features[place])));
        expect(batch.rows).toBe(places.length);
        for (const [row, place] of places.entries()) expectSameRow(rowOf(batch, row), rowOf(alone[place], 0));
      }),
      { numRuns: 40 },
    );
  });

  it('gets the same answer with random features of any size', async () => {
    const row = fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: WIDTH, maxLength: WIDTH });
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 40 }), async (rows) => {
        const batch = await predictor.predict(matrix(rows));
        for (const [i, one] of rows.entries()) {
          expectSameRow(rowOf(batch, i), rowOf(await predictor.predict(matrix([one])), 0));
        }
      }),
      { numRuns: 25 },
    );
  });

  it.each([
    { title: 'with NaN', value: Number.NaN },
    { title: 'with infinity', value: Number.POSITIVE_INFINITY },
    { title: 'so large that the output overflows', value: MAX_FLOAT32 },
  ])('$title is without a category, and its neighbours are as they are without it', async ({ value }) => {
    const [before, bad, after] = [features[0], Array<number>(WIDTH).fill(value), features[1]];
    const batch = await predictor.predict(matrix([before, bad, after]));
    const clean = await predictor.predict(matrix([before, after]));
    expect(rowOf(batch, 1)).toEqual({
      category: NO_CATEGORY,
      confidence: Number.NaN,
      probabilities: [Number.NaN, Number.NaN, Number.NaN],
    });
    expectSameRow(rowOf(batch, 0), rowOf(clean, 0));
    expectSameRow(rowOf(batch, 2), rowOf(clean, 1));
  });
});

describe('runs at the same time', () => {
  it('each give their own rows', async () => {
    const batches = Array.from({ length: 60 }, (_, i) => features.slice(i, i + 1 + (i % 7)));
    const found = await Promise.all(batches.map((rows) => predictor.predict(matrix(rows))));
    for (const [i, batch] of found.entries()) {
      expect([...batch.categoryIndexes]).toEqual(batches[i].map((_, row) => (i + row) % 3));
    }
  });
});

describe('a matrix that does not fit the model', () => {
  it.each([WIDTH - 1, WIDTH + 1, 1])('of width %i is refused', async (width) => {
    await expect(predictor.predict(matrix([Array<number>(width).fill(0)], width))).rejects.toThrow();
  });

  it('does no harm to the next one', async () => {
    await expect(predictor.predict(matrix([[1]], 1))).rejects.toThrow();
    expect((await predictor.predict(matrix([features[1]]))).categoryIndexes[0]).toBe(1);
  });
});

describe('a predictor', () => {
  it('of several threads gives the same answers', async () => {
    const threaded = await createOnnxPredictor({ modelPath: MODEL_PATH, threads: 2 });
    const [one, two] = await Promise.all([predictor.predict(matrix(features)), threaded.predict(matrix(features))]);
    for (let row = 0; row < features.length; row++) expectSameRow(rowOf(one, row), rowOf(two, row));
    await threaded.close();
  });

  it('that is closed may be closed again, and says that it is closed, which another worker is not', async () => {
    const closed = await createOnnxPredictor({ modelPath: MODEL_PATH, threads: 1 });
    await closed.close();
    await closed.close();
    await expect(closed.predict(matrix([features[0]]))).rejects.toMatchObject({
      code: 'PREDICTOR_UNAVAILABLE',
      retryable: true,
    });
  });
});
