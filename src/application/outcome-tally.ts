import { NO_CATEGORY } from '../domain/category.ts';
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
  /** Categorized products far outside of what their model was trained on; undefined where no model knew what that was. */
  readonly outside?: number;
}

/** Counts outcomes. @param reviewBelow a confidence, 0 to 1 */
export function createTally(reviewBelow: number) {
  const byCategory = createCounts();
  const rejectedByCode = createCounts();
  let products = 0;
  let rejected = 0;
  let confidenceSum = 0;
  let toReview = 0;
  let outsideSum: number | undefined;
  return {
    get products(): number {
      return products;
    },
    add({ rows, categories, categoryIndexes, confidences, rejects, outside }: CategorizedProducts): void {
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
      return {
        products,
        categorized,
        rejected,
        byCategory,
        rejectedByCode,
        meanConfidence,
        toReview,
        outside: outsideSum,
      };
    },
  };
}
