import { CategorizerError, messageOf } from '../domain/errors.ts';
import { type FeatureMatrix, sliceRows } from '../domain/features.ts';
import { emptyPredictions, type PredictionBatch, writePredictions } from '../domain/prediction.ts';
import type { BatchObservation, CategoryPredictor } from './ports.ts';

/**
 * Runs a batch. One that fails is halved until the rows that cause it are found; those have no category in what comes
 * back, and every other row has its own.
 *
 * @throws CategorizerError `PREDICTOR_UNAVAILABLE` where the model fails on a row of zeros too, and what the predictor
 *   throws as retryable
 */
export async function predictRows(
  predictor: CategoryPredictor,
  features: FeatureMatrix,
  batch: BatchObservation,
): Promise<PredictionBatch> {
  let result: PredictionBatch | undefined;
  let modelWorks: Promise<void> | undefined;

  async function predictRange(start: number, rows: number): Promise<void> {
    const range = sliceRows(features, start, rows);
    try {
      const predictions = await batch.predict(rows, () => run(predictor, range));
      if (rows === features.rows) result = predictions;
      else writePredictions(resultSoFar(), start, predictions);
    } catch (error) {
      if (error instanceof CategorizerError && error.retryable) throw error;
      if (rows === 1) {
        // A row that fails alone is to blame only if the model can do anything at all.
        modelWorks ??= checkModelWorks(predictor);
        await modelWorks;
        resultSoFar();
      } else {
        const half = Math.floor(rows / 2);
        await predictRange(start, half);
        await predictRange(start + half, rows - half);
      }
    }
  }

  function resultSoFar(): PredictionBatch {
    result ??= emptyPredictions(features.rows, predictor.model.categories.length);
    return result;
  }

  await predictRange(0, features.rows);
  return resultSoFar();
}

async function run(predictor: CategoryPredictor, features: FeatureMatrix): Promise<PredictionBatch> {
  const predictions = await predictor.predict(features);
  if (predictions.rows !== features.rows) {
    throw new Error(`the predictor gave ${predictions.rows} rows for ${features.rows}`);
  }
  return predictions;
}

async function checkModelWorks(predictor: CategoryPredictor): Promise<void> {
  const { width } = predictor.model;
  try {
    await run(predictor, { rows: 1, width, values: new Float32Array(width) });
  } catch (cause) {
    const message = `the model fails on every row, zeros too: ${messageOf(cause)}`;
    throw new CategorizerError('PREDICTOR_UNAVAILABLE', message, { retryable: true, cause });
  }
}
