import { NO_CATEGORY } from '../domain/category.ts';
import { type AnsweringModel, modelLabel } from '../domain/import.ts';
import { createCounts, increment } from './counts.ts';
import type { CategorizedProducts } from './ports.ts';

/** What became of many products. */
export interface Tally {
  readonly products: number;
  readonly categorized: number;
  readonly rejected: number;
  readonly byCategory: Readonly<Record<string, number>>;
  readonly rejectedByCode: Readonly<Record<string, number>>;
  /** Of the categorized products; undefined where there are none. */
  readonly meanConfidence: number | undefined;
  /** Categorized products whose confidence is below the bound: a person should look at them. */
  readonly toReview: number;
  /** Who answered, with the number of products. */
  readonly models: readonly (AnsweringModel & { readonly products: number })[];
  /** Categorized products far outside of what their model was trained on; undefined where no model knew what that was. */
  readonly outside?: number;
}

/** Outcomes of products, and the model that they come from. */
interface TalliedResult {
  readonly products: CategorizedProducts;
  readonly modelVersion: string;
  readonly modelSha256: string;
}

/** Counts outcomes. @param reviewBelow a confidence, 0 to 1 */
export function createTally(reviewBelow: number) {
  const byCategory = createCounts();
  const rejectedByCode = createCounts();
  let products = 0;
  let rejected = 0;
  let confidenceSum = 0;
  let toReview = 0;
  const models = new Map<string, AnsweringModel & { products: number }>();
  let outsideSum: number | undefined;
  return {
    get products(): number {
      return products;
    },
    add({ modelVersion: version, modelSha256: sha256, products: outcomes }: TalliedResult): void {
      const { rows, categories, categoryIndexes, confidences, rejects, outside } = outcomes;
      const label = modelLabel({ version, sha256 });
      models.set(label, { version, sha256, products: (models.get(label)?.products ?? 0) + rows });
      products += rows;
      rejected += rejects.length;
      if (outside !== undefined) outsideSum = (outsideSum ?? 0) + outside;
      for (const { code } of rejects) increment(rejectedByCode, code);
      const counts = new Uint32Array(categories.length);
      for (let row = 0; row < rows; row++) {
        if (categoryIndexes[row] === NO_CATEGORY) continue;
        counts[categoryIndexes[row]]++;
        confidenceSum += confidences[row];
        if (confidences[row] < reviewBelow) toReview++;
      }
      categories.forEach((code, i) => {
        if (counts[i] > 0) increment(byCategory, code, counts[i]);
      });
    },
    summary(): Tally {
      const categorized = products - rejected;
      const meanConfidence = categorized > 0 ? confidenceSum / categorized : undefined;
      const answered = [...models.values()].sort((a, b) => b.products - a.products);
      return {
        products,
        categorized,
        rejected,
        byCategory,
        rejectedByCode,
        meanConfidence,
        toReview,
        models: answered,
        outside: outsideSum,
      };
    },
  };
}
