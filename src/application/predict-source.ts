import type { ModelInfo } from '../domain/category.ts';
import { CategorizerError } from '../domain/errors.ts';
import type { CategorizeProducts } from './categorize-products.ts';
import { createTally } from './collect-results.ts';
import type { CollectedRow, ProductSource, ResultFile, SourceRow } from './ports.ts';

export interface PredictSummary {
  readonly products: number;
  readonly categorized: number;
  readonly rejected: number;
  readonly byCategory: Readonly<Record<string, number>>;
  readonly rejectedByCode: Readonly<Record<string, number>>;
}

/**
 * Categorizes a stream of products with no queue between: the same answers, in the order of the input.
 *
 * @param options.rows how many products go to the model together
 * @throws CategorizerError `INTERRUPTED`, and what the ports throw; the output is as it was before then
 */
export async function predictSource(
  ports: {
    readonly source: ProductSource;
    readonly categorizeProducts: CategorizeProducts;
    readonly file: ResultFile;
    readonly model: ModelInfo;
  },
  options: { readonly rows: number; readonly stop: AbortSignal },
): Promise<PredictSummary> {
  const { source, categorizeProducts, file, model } = ports;
  const tally = createTally();
  let gathered: SourceRow[] = [];

  async function categorizeGathered(): Promise<void> {
    const rows = await categorizeRows(gathered, categorizeProducts, model);
    gathered = [];
    tally.add(rows);
    await file.write(rows);
  }

  await file.begin();
  try {
    for await (const row of source.rows()) {
      gathered.push(row);
      if (gathered.length === options.rows) await categorizeGathered();
      if (options.stop.aborted) throw new CategorizerError('INTERRUPTED', 'stopped by a signal; nothing was written');
    }
    await categorizeGathered();
    await file.commit();
    return tally.summary();
  } catch (error) {
    await file.abort();
    throw error;
  }
}

async function categorizeRows(
  rows: readonly SourceRow[],
  categorizeProducts: CategorizeProducts,
  model: ModelInfo,
): Promise<CollectedRow[]> {
  const { productIds, predictions, rejects } = await categorizeProducts(rows.map(({ product }) => product));
  const rejectOfRow = new Map(rejects.map((reject) => [reject.row, reject]));
  return rows.map(({ unreadable }, i) => {
    const common = { productId: productIds[i], modelVersion: model.version, resultId: '' };
    const reject = unreadable ?? rejectOfRow.get(i);
    if (reject) return { ...common, reject: { code: reject.code, message: reject.message } };
    const { code: categoryCode } = model.categories[predictions.categoryIndexes[i]];
    return { ...common, categoryCode, confidence: predictions.confidences[i] };
  });
}
