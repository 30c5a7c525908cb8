import type { ModelInfo } from '../domain/category.ts';
import { NO_CATEGORY } from '../domain/category.ts';
import type { ProductTable, Reject } from '../domain/product.ts';
import { type CategorizeProducts, categoryCodes } from './categorize-products.ts';
import { createTally, type Tally } from './outcome-tally.ts';
import type { CategorizedProducts, ProductSource, RejectedRow, ResultFile } from './ports.ts';
import { throwIfStopped } from './stopping.ts';

/** Rejected rows that are written at once. */
const REJECTS_PER_WRITE = 1000;

/**
 * Categorizes a stream of products without a queue: the categorized ones in the order of the input, then the rejected.
 *
 * @throws CategorizerError `INTERRUPTED`, and what the ports throw; the output is as it was before then
 */
export async function predictSource(
  ports: {
    readonly source: ProductSource;
    readonly categorizeProducts: CategorizeProducts;
    readonly file: ResultFile;
    readonly model: ModelInfo;
  },
  options: { readonly reviewBelow: number; readonly stop: AbortSignal },
): Promise<Tally> {
  const { source, categorizeProducts, file, model } = ports;
  const categories = categoryCodes(model);
  const tally = createTally(options.reviewBelow);

  async function write(products: CategorizedProducts): Promise<void> {
    throwIfStopped(options.stop, 'stopped by a signal; nothing was written');
    const result = { resultId: '', modelVersion: model.version, modelSha256: model.sha256, products };
    tally.add(result);
    await file.write(result);
  }

  async function categorize({ ids, features }: ProductTable): Promise<CategorizedProducts> {
    const { rows: count } = features;
    const { predictions, rejects, outside } = await categorizeProducts({
      count,
      features,
      acceptedRows: undefined,
      rejects: [],
    });
    const { categoryIndexes, confidences } = predictions;
    return { rows: count, ids, categories, categoryIndexes, confidences, rejects, outside };
  }

  await file.begin();
  try {
    for await (const table of source.products()) await write(await categorize(table));
    const rejected: RejectedRow[] = [];
    for await (const row of source.rejects()) {
      rejected.push(row);
      if (rejected.length === REJECTS_PER_WRITE) await write(toOutcomes(rejected.splice(0)));
    }
    if (rejected.length > 0) await write(toOutcomes(rejected));
    await file.commit();
    return tally.summary();
  } catch (error) {
    await file.abort();
    throw error;
  }
}

/** One reject a row, with its first code and everything that is wrong in one sentence. */
function toOutcomes(rejected: readonly RejectedRow[]): CategorizedProducts {
  const rejects = rejected.map(
    ({ errors }, row): Reject => ({
      row,
      code: errors[0].code,
      message: errors.map(({ message }) => message).join('; '),
    }),
  );
  return {
    rows: rejected.length,
    ids: rejected.map(({ productId }) => productId),
    categories: [],
    categoryIndexes: new Uint16Array(rejected.length).fill(NO_CATEGORY),
    confidences: new Float32Array(rejected.length).fill(Number.NaN),
    rejects,
  };
}
