import { NO_CATEGORY } from './category.ts';

/**
 * Predictions of `rows` products in flat arrays, one place a row, in the order of the features.
 * A row without a category (`NO_CATEGORY`) has NaN as confidence and probabilities.
 */
export interface PredictionBatch {
  readonly rows: number;
  /** How many categories the model has: the width of `probabilities`. */
  readonly categories: number;
  /** rows category indexes. */
  readonly categoryIndexes: Uint16Array;
  /** rows probabilities of the chosen category, 0 to 1. */
  readonly confidences: Float32Array;
  /** rows × categories probabilities, row-major; each row sums to 1. */
  readonly probabilities: Float32Array;
}

/** Predictions in which every row is still without a category. */
export function emptyPredictions(rows: number, categories: number): PredictionBatch {
  return {
    rows,
    categories,
    categoryIndexes: new Uint16Array(rows).fill(NO_CATEGORY),
    confidences: new Float32Array(rows).fill(Number.NaN),
    probabilities: new Float32Array(rows * categories).fill(Number.NaN),
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
    probabilities: batch.probabilities.subarray(start * categories, (start + rows) * categories),
  };
}

/** Copies all rows of `source` into `target`, from row `start` on. */
export function writePredictions(target: PredictionBatch, start: number, source: PredictionBatch): void {
  target.categoryIndexes.set(source.categoryIndexes, start);
  target.confidences.set(source.confidences, start);
  target.probabilities.set(source.probabilities, start * target.categories);
}

/** Row i of `source` goes to row `rows[i]` of the result, which has `total` rows; the others have no category. */
export function scatterPredictions(source: PredictionBatch, rows: readonly number[], total: number): PredictionBatch {
  if (source.rows === total) return source;
  const target = emptyPredictions(total, source.categories);
  for (let i = 0; i < source.rows; i++) writePredictions(target, rows[i], slicePredictions(source, i, 1));
  return target;
}

/**
 * Softmax and its maximum for each row. Stable for large logits: the row's largest is subtracted first.
 *
 * @param logits rows × categories, row-major
 * @returns predictions; a row with a logit that is not finite has no category
 */
export function softmaxPredictions(logits: Float32Array, rows: number, categories: number): PredictionBatch {
  const result = emptyPredictions(rows, categories);
  const { categoryIndexes, confidences, probabilities } = result;
  for (let row = 0; row < rows; row++) {
    const start = row * categories;
    let best = 0;
    let finite = true;
    for (let c = 0; c < categories; c++) {
      const logit = logits[start + c];
      if (!Number.isFinite(logit)) finite = false;
      if (logit > logits[start + best]) best = c;
    }
    if (!finite) continue;
    const largest = logits[start + best];
    let sum = 0;
    for (let c = 0; c < categories; c++) sum += Math.exp(logits[start + c] - largest);
    for (let c = 0; c < categories; c++) probabilities[start + c] = Math.exp(logits[start + c] - largest) / sum;
    categoryIndexes[row] = best;
    confidences[row] = probabilities[start + best];
  }
  return result;
}
