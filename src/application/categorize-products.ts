import { type ModelInfo, NO_CATEGORY } from '../domain/category.ts';
import { createCountOutside } from '../domain/far-outside.ts';
import { type PredictionBatch, scatterPredictions } from '../domain/prediction.ts';
import type { CheckedProducts, Reject } from '../domain/product.ts';
import type { MicroBatcher, SubmitOptions } from './micro-batcher.ts';
import type { Categorization, ProductObserver } from './ports.ts';

export type CategorizeProducts = (products: CheckedProducts, options?: SubmitOptions) => Promise<Categorization>;

/**
 * The one way to categorize: for jobs, requests and files alike.
 *
 * @throws CategorizerError (retryable) where the predictor is at fault and not the products
 */
export function createCategorizeProducts(dependencies: {
  readonly batcher: MicroBatcher;
  readonly observer: ProductObserver;
  readonly model: Pick<ModelInfo, 'features'>;
}): CategorizeProducts {
  const { batcher, observer, model } = dependencies;
  const countOutside = model.features && createCountOutside(model.features);
  return async (products, options) => {
    const { count, acceptedRows } = products;
    const { predictions: accepted, batch } = await batcher.submit(products.features, options);
    const predictions = acceptedRows ? scatterPredictions(accepted, acceptedRows, count) : accepted;
    const rejects = withFailedPredictions(products, accepted);
    observer.products('categorized', count - rejects.length);
    observer.products('rejected', rejects.length);
    const outside = countOutside?.(products.features, accepted.categoryIndexes);
    if (outside) observer.outside(outside);
    return { predictions, rejects, outside, batch };
  };
}

function withFailedPredictions(products: CheckedProducts, accepted: PredictionBatch): readonly Reject[] {
  const { acceptedRows, rejects } = products;
  if (!accepted.categoryIndexes.includes(NO_CATEGORY)) return rejects;
  const message = 'the model gave no finite output for this product';
  const failed: Reject[] = [];
  accepted.categoryIndexes.forEach((index, i) => {
    if (index === NO_CATEGORY) failed.push({ row: acceptedRows?.[i] ?? i, code: 'PREDICTION_FAILED', message });
  });
  return [...rejects, ...failed].sort((a, b) => a.row - b.row);
}

/** The codes of a model's categories, in the order of the indexes. */
export function categoryCodes(model: ModelInfo): readonly string[] {
  return model.categories.map(({ code }) => code);
}
