import type { ModelInfo } from '../domain/category.ts';
import { CategorizerError } from '../domain/errors.ts';
import { checkPackedProducts } from '../domain/packed-products.ts';
import { type CheckedProducts, readProducts } from '../domain/product.ts';
import type { CategorizeProducts } from './categorize-products.ts';
import type { JobContent, ProductJob, ResultPublisher } from './ports.ts';

export type CategorizeJob = (job: ProductJob) => Promise<void>;

/**
 * Categorizes the products of one job and publishes the result. It resolves only when the result is published, so a
 * job that is then marked as completed has one.
 *
 * @throws CategorizerError not retryable: the only product of the job was rejected; retryable: an outage
 */
export function createCategorizeJob(dependencies: {
  readonly categorizeProducts: CategorizeProducts;
  readonly results: ResultPublisher;
  readonly model: ModelInfo;
}): CategorizeJob {
  const { categorizeProducts, results, model } = dependencies;
  return async (job) => {
    const { id: jobId, runId, trace, stalledBefore: alone, content } = job;
    const products = checkContent(content, model.width);
    const categorization = await categorizeProducts(products, { origin: { jobId, runId, trace }, alone });
    const [reject] = categorization.rejects;
    if (content.form === 'one' && reject !== undefined) throw new CategorizerError(reject.code, reject.message);
    await results.publish({ job, model, categorization });
  };
}

function checkContent(content: JobContent, width: number): CheckedProducts {
  return content.form === 'packed'
    ? checkPackedProducts(content.products, width)
    : readProducts(content.products, width);
}
