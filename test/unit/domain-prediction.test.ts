import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import {
  emptyPredictions,
  type PredictionBatch,
  predictionsOf,
  probabilitiesOf,
  scatterPredictions,
  slicePredictions,
  writePredictions,
} from '../../src/domain/prediction.ts';

const CATEGORIES = 3;

function softmax(rows: readonly (readonly number[])[]): PredictionBatch {
  return predictionsOf(Float32Array.from(rows.flat()), rows.length, rows[0]?.length ?? CATEGORIES);
}

/** The row as one object, to be compared. */
function rowOf(batch: PredictionBatch, row: number) {
  const { categoryIndexes, confidences } = batch;
  return {
    category: categoryIndexes[row],
    confidence: confidences[row],
    probabilities: probabilitiesOf(batch, row),
  };
}

function rowsOf(batch: PredictionBatch) {
  return Array.from({ length: batch.rows }, (_, row) => rowOf(batch, row));
}

const WITHOUT_CATEGORY = {
  category: NO_CATEGORY,
  confidence: Number.NaN,
  probabilities: [Number.NaN, Number.NaN, Number.NaN],
};

const finiteLogit = fc.float({ noNaN: true, noDefaultInfinity: true });
const badLogit = fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY);
const finiteRow = fc.array(finiteLogit, { minLength: CATEGORIES, maxLength: CATEGORIES });
const badRow = fc
  .tuple(finiteRow, fc.nat(CATEGORIES - 1), badLogit)
  .map(([row, place, logit]) => row.with(place, logit));

describe('the softmax of logits', () => {
  it('gives the probabilities of the textbook', () => {
    const [{ category, confidence, probabilities }] = rowsOf(softmax([[1, 2, 3]]));
    expect(category).toBe(2);
    expect(confidence).toBeCloseTo(0.66524096, 6);
    expect(probabilities[0]).toBeCloseTo(0.09003057, 6);
    expect(probabilities[1]).toBeCloseTo(0.24472847, 6);
  });

  it('is stable for logits far beyond what exp can take', () => {
    const batch = softmax([
      [1e4, 0, -1e4],
      [-1e4, -1e4, -1e4],
      [-1e4, -2e4, -3e4],
      [3e38, -3e38, 3e38],
      [1e4, 1e4 + 1, 1e4 - 1],
    ]);
    expect(rowOf(batch, 0)).toEqual({ category: 0, confidence: 1, probabilities: [1, 0, 0] });
    expect(rowOf(batch, 1).confidence).toBeCloseTo(1 / 3, 6);
    expect(rowOf(batch, 2)).toEqual({ category: 0, confidence: 1, probabilities: [1, 0, 0] });
    expect(rowOf(batch, 3)).toEqual({ category: 0, confidence: 0.5, probabilities: [0.5, 0, 0.5] });
    expect(rowOf(batch, 4)).toEqual(rowOf(softmax([[0, 1, -1]]), 0));
  });

  it('takes the first of categories that are equal', () => {
    const ties = [
      [5, 5, 1],
      [1, 5, 5],
      [0, 0, 0],
    ];
    expect([...softmax(ties).categoryIndexes]).toEqual([0, 1, 0]);
  });

  it('gives rows that each sum to 1, whose largest is the confidence of the category', () => {
    fc.assert(
      fc.property(fc.array(finiteRow, { minLength: 1, maxLength: 20 }), (rows) => {
        for (const [i, { category, confidence, probabilities }] of rowsOf(softmax(rows)).entries()) {
          expect(probabilities.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5);
          expect(probabilities.every((p) => p >= 0 && p <= 1)).toBe(true);
          expect(confidence).toBe(Math.fround(Math.max(...probabilities)));
          expect(confidence).toBe(Math.fround(probabilities[category]));
          expect(category).toBe(rows[i].indexOf(Math.max(...rows[i])));
        }
      }),
    );
  });

  it('does not change when the same constant is added to every logit of a row', () => {
    const smallRow = fc.array(fc.integer({ min: -40, max: 40 }), { minLength: CATEGORIES, maxLength: CATEGORIES });
    // Whole numbers of this size stay exact in float32, so that the sums have no rounding of their own.
    fc.assert(
      fc.property(smallRow, fc.integer({ min: -100_000, max: 100_000 }), (row, constant) => {
        expect(rowsOf(softmax([row.map((logit) => logit + constant)]))).toEqual(rowsOf(softmax([row])));
      }),
    );
  });

  it('leaves a row with a logit that is not finite without a category, and its neighbours as they are alone', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(finiteRow, badRow), { minLength: 1, maxLength: 12 }), (rows) => {
        for (const [i, row] of rowsOf(softmax(rows)).entries()) {
          expect(row).toEqual(rows[i].every(Number.isFinite) ? rowOf(softmax([rows[i]]), 0) : WITHOUT_CATEGORY);
        }
      }),
    );
  });

  it('keeps the logits as they came, without a copy', () => {
    const logits = Float32Array.of(1, 2, 3);
    expect(predictionsOf(logits, 1, CATEGORIES).logits).toBe(logits);
  });

  it('works for no rows, and for a single category', () => {
    expect(softmax([]).rows).toBe(0);
    expect(rowOf(softmax([[-7]]), 0)).toEqual({ category: 0, confidence: 1, probabilities: [1] });
  });
});

describe('predictions that are empty', () => {
  it('have no category in any row', () => {
    expect(rowsOf(emptyPredictions(2, CATEGORIES))).toEqual([WITHOUT_CATEGORY, WITHOUT_CATEGORY]);
  });
});

const someBatch = fc.array(fc.oneof(finiteRow, badRow), { minLength: 1, maxLength: 12 }).map(softmax);

describe('a slice of predictions', () => {
  it('has the rows that were asked for, and shares their memory', () => {
    fc.assert(
      fc.property(someBatch, fc.nat(), fc.nat(), (batch, a, b) => {
        const start = a % batch.rows;
        const rows = b % (batch.rows - start + 1);
        const slice = slicePredictions(batch, start, rows);
        expect(slice.rows).toBe(rows);
        expect(rowsOf(slice)).toEqual(rowsOf(batch).slice(start, start + rows));
        expect(slice.logits.buffer).toBe(batch.logits.buffer);
      }),
    );
  });
});

describe('predictions that are written into others', () => {
  it('take their rows from the start that was said on, and leave the others', () => {
    fc.assert(
      fc.property(someBatch, fc.nat(5), fc.nat(5), (source, before, after) => {
        const target = emptyPredictions(before + source.rows + after, CATEGORIES);
        writePredictions(target, before, source);
        expect(rowsOf(target)).toEqual([
          ...Array(before).fill(WITHOUT_CATEGORY),
          ...rowsOf(source),
          ...Array(after).fill(WITHOUT_CATEGORY),
        ]);
      }),
    );
  });

  it('give the whole again when they are the slices of it', () => {
    fc.assert(
      fc.property(someBatch, fc.nat(), (batch, at) => {
        const cut = at % (batch.rows + 1);
        const target = emptyPredictions(batch.rows, CATEGORIES);
        writePredictions(target, 0, slicePredictions(batch, 0, cut));
        writePredictions(target, cut, slicePredictions(batch, cut, batch.rows - cut));
        expect(rowsOf(target)).toEqual(rowsOf(batch));
      }),
    );
  });
});

describe('predictions that are scattered', () => {
  it('stand in the rows that were accepted; the rejected rows between have no category', () => {
    fc.assert(
      fc.property(someBatch, fc.infiniteStream(fc.nat(3)), (source, gaps) => {
        let next = 0;
        const places = Array.from({ length: source.rows }, () => {
          const place = next + (gaps.next().value ?? 0);
          next = place + 1;
          return place;
        });
        const total = next + (gaps.next().value ?? 0);
        const result = scatterPredictions(source, places, total);
        expect(result.rows).toBe(total);
        for (const [row, found] of rowsOf(result).entries()) {
          const i = places.indexOf(row);
          expect(found).toEqual(i < 0 ? WITHOUT_CATEGORY : rowOf(source, i));
        }
      }),
    );
  });

  it('are all without a category where no row was accepted', () => {
    const none = scatterPredictions(emptyPredictions(0, CATEGORIES), [], 2);
    expect(rowsOf(none)).toEqual([WITHOUT_CATEGORY, WITHOUT_CATEGORY]);
  });
});
