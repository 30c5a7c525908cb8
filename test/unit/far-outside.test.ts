import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type FeatureStatistics, NO_CATEGORY } from '../../src/domain/category.ts';
import { createCountOutside } from '../../src/domain/far-outside.ts';
import type { FeatureMatrix } from '../../src/domain/features.ts';
import { makeProducts } from '../support/products.ts';

function matrix(rows: readonly (readonly number[])[]): FeatureMatrix {
  return { rows: rows.length, width: rows[0]?.length ?? 0, values: Float32Array.from(rows.flat()) };
}

/** A count of rows that all have a category. */
function counter(features: FeatureStatistics) {
  const count = createCountOutside(features);
  return (rows: FeatureMatrix) => count(rows, new Uint16Array(rows.rows));
}

function statistics(width: number, { spread = 1 }: { spread?: number } = {}): FeatureStatistics {
  const all = (value: number) => Array<number>(width).fill(value);
  return { mean: all(0), spread: all(spread), min: all(-2), max: all(3) };
}

describe('a row is far outside of what was seen in training', () => {
  const count = counter(statistics(2));

  it.each([
    { title: 'not within the range', row: [-2, 3], outside: 0 },
    { title: 'not beyond it by less than a quarter of the spread', row: [-2.24, 3.24], outside: 0 },
    { title: 'below it by more than that', row: [-2.26, 0], outside: 1 },
    { title: 'above it by more than that', row: [0, 3.26], outside: 1 },
    { title: 'once, with several such features', row: [-99, 99], outside: 1 },
  ])('$title', ({ row, outside }) => {
    expect(count(matrix([row]))).toBe(outside);
  });

  it('is counted for each row alone, wherever it stands', () => {
    expect(
      count(
        matrix([
          [9, 0],
          [0, 0],
          [0, -9],
          [1, 1],
          [9, 9],
        ]),
      ),
    ).toBe(3);
    expect(count({ rows: 0, width: 2, values: new Float32Array(0) })).toBe(0);
  });

  it('not where it has no category, as it is a reject', () => {
    const indexes = Uint16Array.of(NO_CATEGORY, 0);
    expect(
      createCountOutside(statistics(2))(
        matrix([
          [9, 0],
          [9, 0],
        ]),
        indexes,
      ),
    ).toBe(1);
  });

  it('at any other value of a feature that was always the same, rounding aside', () => {
    const constant = counter({ mean: [0.1], spread: [0], min: [0.1], max: [0.1] });
    expect(constant(matrix([[Math.fround(0.1)], [0.1000001]]))).toBe(0);
    expect(constant(matrix([[0.11], [0], [-0.1]]))).toBe(3);
  });

  it('with more than 1 % of its features, where there are hundreds', () => {
    const wide = counter(statistics(768));
    const row = (beyond: number) => Array.from({ length: 768 }, (_, i) => (i < beyond ? 50 : 0));
    expect(wide(matrix([row(7), row(8), row(768)]))).toBe(2);
  });
});

describe('the shipped model', () => {
  const { training } = JSON.parse(readFileSync('model/manifest.json', 'utf8'));
  const count = counter(training.features);

  it('finds products of its own kind inside', () => {
    expect(count(matrix(makeProducts(3000).map(({ features }) => features)))).toBe(0);
  });

  it('finds vectors of larger numbers outside', () => {
    expect(count(matrix(makeProducts(300).map(({ features }) => features.map((value) => 3 * value))))).toBe(200);
  });
});
