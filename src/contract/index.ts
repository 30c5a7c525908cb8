/** The wire contract: what producers put on the queue and what collectors find. Public as `product-categorizer/contract`. */
import { z } from 'zod';
import { packedProductsJobSchema, productJobSchema, productsJobSchema } from './jobs.ts';
import {
  CATEGORIES_RESULT,
  CATEGORY_RESULT,
  PACKED_CATEGORIES_RESULT,
  PACKED_PRODUCTS_JOB,
  PRODUCT_JOB,
  PRODUCTS_JOB,
} from './names.ts';
import { categoriesResultSchema, categoryResultSchema, packedCategoriesResultSchema } from './results.ts';

export { MAX_PRODUCT_ID_CHARACTERS } from '../domain/product.ts';
export * from './failed-reason.ts';
export * from './jobs.ts';
export * from './names.ts';
export * from './packed.ts';
export * from './results.ts';

/** The schema of each job name, for both queues. */
export const SCHEMAS = {
  [PRODUCT_JOB]: productJobSchema,
  [PRODUCTS_JOB]: productsJobSchema,
  [PACKED_PRODUCTS_JOB]: packedProductsJobSchema,
  [CATEGORY_RESULT]: categoryResultSchema,
  [CATEGORIES_RESULT]: categoriesResultSchema,
  [PACKED_CATEGORIES_RESULT]: packedCategoriesResultSchema,
} as const;

/** The JSON Schema files for other languages: file name to content. */
export function jsonSchemaFiles(): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(SCHEMAS).map(([name, schema]) => [
      `${name}.schema.json`,
      `${JSON.stringify(z.toJSONSchema(schema, { io: 'input' }), null, 2)}\n`,
    ]),
  );
}
