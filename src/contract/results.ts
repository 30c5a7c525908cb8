import { z } from 'zod';
import { REJECT_CODES } from '../domain/errors.ts';
import { payloadSchema, productIdSchema, runIdSchema, sentenceOf } from './jobs.ts';
import { CATEGORIES_RESULT, CATEGORY_RESULT, MAX_CHUNK_PRODUCTS, PACKED_CATEGORIES_RESULT } from './names.ts';

const categoryCodeSchema = z.string().min(1);
const probabilitySchema = z.number().min(0).max(1);
const modelSchema = z.object({
  version: z.string().min(1),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

const origin = {
  model: modelSchema,
  runId: runIdSchema.optional(),
  jobId: z.string().min(1).meta({ description: 'The input job.' }),
  outside: z.number().int().min(0).max(MAX_CHUNK_PRODUCTS).optional().meta({
    description:
      'How many of the products lie far outside of what the model was trained on; absent where its manifest does not say what that was.',
  }),
};

export const rejectReasonSchema = z.object({
  code: z.enum(Object.keys(REJECT_CODES) as [keyof typeof REJECT_CODES]),
  message: z.string(),
});

/** Data of a `category` result, which answers a `product` job. */
export const categoryResultSchema = z
  .object({
    productId: productIdSchema,
    category: z.object({ code: categoryCodeSchema, name: z.string() }),
    confidence: probabilitySchema,
    probabilities: z.array(probabilitySchema).meta({ description: "In the order of the model's categories." }),
    ...origin,
  })
  .meta({ title: `Data of a '${CATEGORY_RESULT}' result` });

const outcomeSchema = z.union([
  z.object({ productId: productIdSchema, categoryCode: categoryCodeSchema, confidence: probabilitySchema }),
  z.object({
    productId: z.string().nullable().meta({ description: 'As it came; null where it was not a string.' }),
    reject: rejectReasonSchema,
  }),
]);

/** Data of a `categories` result, which answers a `products` job: an outcome for each product, in the same order. */
export const categoriesResultSchema = z
  .object({ results: z.array(outcomeSchema).min(1).max(MAX_CHUNK_PRODUCTS), ...origin })
  .meta({ title: `Data of a '${CATEGORIES_RESULT}' result` });

/** Data of a `categories.packed` result, which answers a `products.packed` job. */
export const packedCategoriesResultSchema = payloadSchema
  .extend({
    categories: z
      .array(categoryCodeSchema)
      .meta({ description: 'The codes that the category indexes of the payload stand for.' }),
    rejects: z
      .array(
        rejectReasonSchema.extend({
          row: z
            .number()
            .int()
            .min(0)
            .max(MAX_CHUNK_PRODUCTS - 1),
        }),
      )
      .meta({ description: 'In the order of the rows, which count from 0.' }),
    ...origin,
  })
  .meta({ title: `Data of a '${PACKED_CATEGORIES_RESULT}' result` });

export type PackedCategoriesResultData = z.infer<typeof packedCategoriesResultSchema>;
export type CategoryResultData = z.infer<typeof categoryResultSchema>;
export type CategoriesResultData = z.infer<typeof categoriesResultSchema>;
export type ProductOutcome = z.infer<typeof outcomeSchema>;

/** The data of a result whose form is right. */
export type ParsedResult =
  | { readonly form: 'one'; readonly data: CategoryResultData }
  | { readonly form: 'chunk'; readonly data: CategoriesResultData }
  | { readonly form: 'packed'; readonly data: PackedCategoriesResultData };

/** @returns the data of a result of any form, or a sentence that says why it is no result of this contract */
export function parseResult(name: string, data: unknown): ParsedResult | string {
  switch (name) {
    case CATEGORY_RESULT:
      return parsed('one', categoryResultSchema.safeParse(data));
    case CATEGORIES_RESULT:
      return parsed('chunk', categoriesResultSchema.safeParse(data));
    case PACKED_CATEGORIES_RESULT:
      return parsed('packed', packedCategoriesResultSchema.safeParse(data));
    default:
      return `unknown name of a result ${JSON.stringify(name)}`;
  }
}

function parsed<F, D>(form: F, result: z.ZodSafeParseResult<D>): { form: F; data: D } | string {
  return result.success ? { form, data: result.data } : sentenceOf(result.error);
}
