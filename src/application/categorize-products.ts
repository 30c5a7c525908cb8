import type { ModelInfo } from '../domain/category.ts';
import { NO_CATEGORY } from '../domain/category.ts';
import { type PredictionBatch, scatterPredictions } from '../domain/prediction.ts';
import { type Reject, readProducts } from '../domain/product.ts';
import type { MicroBatcher, SubmitOptions } from './micro-batcher.ts';
import type { Categorization, ProductObserver } from './ports.ts';

export type CategorizeProducts = (products: readonly unknown[], options?: SubmitOptions) => Promise<Categorization>;

/**
 * The one way to categorize: for jobs, requests and files alike.
 *
 * @throws CategorizerError (retryable) where the predictor is at fault and not the products
 */
export function createCategorizeProducts(dependencies: {
  readonly batcher: MicroBatcher;
  readonly model: ModelInfo;
  readonly observer: ProductObserver;
}): CategorizeProducts {
  const { batcher, model, observer } = dependencies;
  return async (products, options) => {
    const table = readProducts(products, model.width);
    const { predictions: accepted, batch } = await batcher.submit(table.features, options);
    const predictions = scatterPredictions(accepted, table.acceptedRows, products.length);
    const rejects = withFailedPredictions(table.rejects, table.acceptedRows, accepted);
    observer.products('categorized', products.length - rejects.length);
    observer.products('rejected', rejects.length);
    return { productIds: table.productIds, predictions, rejects, batch };
  };
}

function withFailedPredictions(
  refused: readonly Reject[],
  acceptedRows: readonly number[],
  accepted: PredictionBatch,
): readonly Reject[] {
  const failed = acceptedRows.filter((_, i) => accepted.categoryIndexes[i] === NO_CATEGORY);
  if (failed.length === 0) return refused;
  const message = 'the model gave no finite output for this product';
  const rejects = [...refused, ...failed.map((row) => ({ row, code: 'PREDICTION_FAILED' as const, message }))];
  return rejects.sort((a, b) => a.row - b.row);
}
