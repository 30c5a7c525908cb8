import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTally } from '../../src/application/outcome-tally.ts';
import type { CategorizedProducts } from '../../src/application/ports.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import type { RejectCode } from '../../src/domain/errors.ts';

const REVIEW_BELOW = 0.75;

type Outcome = { readonly category: string; readonly confidence: number } | { readonly reject: RejectCode };

interface TestResult {
  readonly modelVersion: string;
  readonly modelSha256: string;
  readonly products: CategorizedProducts;
}

/** @param categories the codes that the indexes of this result stand for */
function resultOf(
  outcomes: readonly Outcome[],
  categories: readonly string[] = ['A', 'B', 'C'],
  modelVersion = 'v1',
): TestResult {
  const products = {
    rows: outcomes.length,
    ids: outcomes.map((_, i) => `P${i}`),
    categories,
    categoryIndexes: Uint16Array.from(outcomes, (outcome) =>
      'reject' in outcome ? NO_CATEGORY : categories.indexOf(outcome.category),
    ),
    confidences: Float32Array.from(outcomes, (outcome) => ('reject' in outcome ? Number.NaN : outcome.confidence)),
    rejects: outcomes.flatMap((outcome, row) =>
      'reject' in outcome ? [{ row, code: outcome.reject, message: 'bad' }] : [],
    ),
  };
  return { modelVersion, modelSha256: 'a'.repeat(64), products };
}

function tallyOf(...results: readonly TestResult[]) {
  const tally = createTally(REVIEW_BELOW);
  for (const result of results) tally.add(result);
  return tally;
}

const code = fc.constantFrom<RejectCode[]>('WRONG_WIDTH', 'NON_FINITE_FEATURE', 'PREDICTION_FAILED');
const outcome: fc.Arbitrary<Outcome> = fc.oneof(
  fc.record({
    category: fc.constantFrom('A', 'B', 'C'),
    // Exact in float32, and so are their sums.
    confidence: fc.nat(16).map((sixteenths) => sixteenths / 16),
  }),
  code.map((reject) => ({ reject })),
);

describe('a tally', () => {
  it('counts every product once: by its category or by its code', () => {
    fc.assert(
      fc.property(fc.array(fc.array(outcome)), (results) => {
        const all = results.flat();
        const categorized = all.filter((one) => 'category' in one);
        const rejected = all.filter((one) => 'reject' in one);
        const summary = tallyOf(...results.map((outcomes) => resultOf(outcomes))).summary();
        expect(summary.products).toBe(all.length);
        expect(summary.categorized).toBe(categorized.length);
        expect(summary.rejected).toBe(rejected.length);
        expect(new Map(Object.entries(summary.byCategory))).toEqual(
          countsOf(categorized.map(({ category }) => category)),
        );
        expect(new Map(Object.entries(summary.rejectedByCode))).toEqual(countsOf(rejected.map(({ reject }) => reject)));
        const sum = categorized.reduce((total, { confidence }) => total + confidence, 0);
        expect(summary.meanConfidence).toBe(categorized.length > 0 ? sum / categorized.length : undefined);
        expect(summary.toReview).toBe(categorized.filter(({ confidence }) => confidence < REVIEW_BELOW).length);
      }),
    );
  });

  it('goes by the codes: results of several models have indexes that mean different things', () => {
    const older = resultOf([{ category: 'A', confidence: 1 }], ['A', 'B']);
    const newer = resultOf(
      [
        { category: 'A', confidence: 1 },
        { category: 'D', confidence: 1 },
      ],
      ['D', 'A'],
    );
    expect(tallyOf(older, newer).summary().byCategory).toEqual({ A: 2, D: 1 });
  });

  it('holds a confidence for worth a review that is below the bound, and not one that is the bound', () => {
    const result = resultOf([0.7499, 0.75, 0.7501].map((confidence) => ({ category: 'A', confidence })));
    expect(tallyOf(result).summary().toReview).toBe(1);
  });

  it('knows the products so far, before it is summed up', () => {
    const tally = tallyOf(resultOf([{ category: 'A', confidence: 1 }, { reject: 'WRONG_WIDTH' }]));
    expect(tally.products).toBe(2);
    tally.add(resultOf([{ category: 'B', confidence: 1 }]));
    expect(tally.products).toBe(3);
  });

  it('of nothing is all zeros, and has no mean', () => {
    expect(tallyOf().summary()).toEqual({
      products: 0,
      categorized: 0,
      rejected: 0,
      byCategory: {},
      rejectedByCode: {},
      meanConfidence: undefined,
      toReview: 0,
      models: [],
    });
  });

  it('knows who answered, with the products of each, the most first', () => {
    const results = ['v1', 'v2', 'v2'].map((version) => resultOf([{ category: 'A', confidence: 1 }], ['A'], version));
    const sha256 = 'a'.repeat(64);
    expect(tallyOf(...results).summary().models).toEqual([
      { version: 'v2', sha256, products: 2 },
      { version: 'v1', sha256, products: 1 },
    ]);
  });

  it('of rejects alone has no mean, and nothing to review', () => {
    const summary = tallyOf(resultOf([{ reject: 'WRONG_WIDTH' }, { reject: 'WRONG_WIDTH' }])).summary();
    expect(summary).toMatchObject({ rejected: 2, meanConfidence: undefined, toReview: 0 });
    expect(summary.rejectedByCode).toEqual({ WRONG_WIDTH: 2 });
  });

  it('sums the products far outside of the training over the results that know of them, and knows none where none does', () => {
    const result = resultOf([{ category: 'A', confidence: 1 }]);
    const tally = createTally(0.7);
    tally.add(result);
    expect(tally.summary().outside).toBeUndefined();
    for (const outside of [0, 3]) tally.add({ ...result, products: { ...result.products, outside } });
    expect(tally.summary().outside).toBe(3);
  });

  it('names no category that nothing came of', () => {
    expect(tallyOf(resultOf([{ category: 'B', confidence: 1 }])).summary().byCategory).toEqual({ B: 1 });
  });

  it('counts a category whatever its code is, one that every object has a property of too', () => {
    const codes = ['constructor', '__proto__', 'toString'];
    const result = resultOf(
      codes.map((category) => ({ category, confidence: 1 })),
      codes,
    );
    expect(Object.entries(tallyOf(result).summary().byCategory)).toEqual(codes.map((category) => [category, 1]));
  });
});

function countsOf(keys: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}
