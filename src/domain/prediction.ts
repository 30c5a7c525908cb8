import { NO_CATEGORY } from './category.ts';

/**
 * Predictions of `rows` products in flat arrays, one place a row, in the order of the features.
 * A row without a category (`NO_CATEGORY`) has NaN as confidence.
 */
export interface PredictionBatch {
  readonly rows: number;
  /** How many categories the model has: the width of `logits`. */
  readonly categories: number;
  /** rows category indexes. */
  readonly categoryIndexes: Uint16Array;
  /** rows probabilities of the chosen category, 0 to 1. */
  readonly confidences: Float32Array;
  /** rows × categories outputs of the model, row-major; `probabilitiesOf` makes probabilities of them. */
  readonly logits: Float32Array;
}

/** Predictions in which every row is still without a category. */
export function emptyPredictions(rows: number, categories: number): PredictionBatch {
  return {
    rows,
    categories,
    categoryIndexes: new Uint16Array(rows).fill(NO_CATEGORY),
    confidences: new Float32Array(rows).fill(Number.NaN),
    logits: new Float32Array(rows * categories).fill(Number.NaN),
  };
}

/** A view of some rows; it shares the memory of `batch`. */
export function slicePredictions(batch: PredictionBatch, start: number, rows: number): PredictionBatch {
  if (start === 0 && rows === batch.rows) return batch;
  const { categories } = batch;
  return {
    rows,
    categories,
    categoryIndexes: batch.categoryIndexes.subarray(start, start + rows),
    confidences: batch.confidences.subarray(start, start + rows),
    logits: batch.logits.subarray(start * categories, (start + rows) * categories),
  };
}

/** Copies all rows of `source` into `target`, from row `start` on. */
export function writePredictions(target: PredictionBatch, start: number, source: PredictionBatch): void {
  target.categoryIndexes.set(source.categoryIndexes, start);
  target.confidences.set(source.confidences, start);
  target.logits.set(source.logits, start * target.categories);
}

/** Row i of `source` goes to row `rows[i]` of the result, which has `total` rows; the others have no category. */
export function scatterPredictions(source: PredictionBatch, rows: readonly number[], total: number): PredictionBatch {
  if (source.rows === total) return source;
  const target = emptyPredictions(total, source.categories);
  for (let i = 0; i < source.rows; i++) writePredictions(target, rows[i], slicePredictions(source, i, 1));
  return target;
}

/**
 * The likeliest category of each row, with its probability: the softmax of the logits.
 *
 * @param logits rows × categories, row-major; kept, not copied
 * @returns predictions; a row with a logit that is not finite has no category
 */
export function predictionsOf(logits: Float32Array, rows: number, categories: number): PredictionBatch {
  const categoryIndexes = new Uint16Array(rows);
  const confidences = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const start = row * categories;
    let best = 0;
    let largest = logits[start];
    // x × 0 is 0 for finite numbers, and NaN for all others.
    let check = largest * 0;
    for (let c = 1; c < categories; c++) {
      const logit = logits[start + c];
      check += logit * 0;
      if (logit > largest) {
        largest = logit;
        best = c;
      }
    }
    if (check !== 0) {
      categoryIndexes[row] = NO_CATEGORY;
      confidences[row] = Number.NaN;
      continue;
    }
    categoryIndexes[row] = best;
    confidences[row] = 1 / sumOfExponentials(logits, start, categories, largest);
  }
  return { rows, categories, categoryIndexes, confidences, logits };
}

/** The probabilities of all categories for one row; they sum to 1. NaN where the row has no category. */
export function probabilitiesOf({ categories, logits }: PredictionBatch, row: number): number[] {
  const start = row * categories;
  const own = logits.subarray(start, start + categories);
  if (!own.every(Number.isFinite)) return Array.from(own, () => Number.NaN);
  const largest = Math.max(...own);
  const sum = sumOfExponentials(logits, start, categories, largest);
  return Array.from(own, (logit) => Math.exp(logit - largest) / sum);
}

/** Stable for large logits: the row's largest is subtracted first, and adds 1. */
function sumOfExponentials(logits: Float32Array, start: number, categories: number, largest: number): number {
  let sum = 0;
  for (let c = 0; c < categories; c++) {
    const logit = logits[start + c];
    sum += logit === largest ? 1 : Math.exp(logit - largest);
  }
  return sum;
}
