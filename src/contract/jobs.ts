import { z } from 'zod';
import { SPACE_PATTERN, type VectorKind } from '../domain/feature-space.ts';
import { MAX_FLOAT32 } from '../domain/features.ts';
import { commonWidthOf, PRODUCT_ID_PATTERN } from '../domain/product.ts';
import { MAX_CHUNK_PRODUCTS, MAX_PAYLOAD_BYTES, PACKED_PRODUCTS_JOB, PRODUCT_JOB, PRODUCTS_JOB } from './names.ts';

export const productIdSchema = z.string().regex(PRODUCT_ID_PATTERN).meta({
  description: '1 to 200 characters, none of them a control character.',
});

/** It becomes part of job ids and file names, hence the few characters. */
export const runIdSchema = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,100}$/)
  .meta({ description: 'The import or recategorization that this belongs to: 1 to 100 of A-Z a-z 0-9 . _ -' });

export const spaceSchema = z.string().regex(SPACE_PATTERN).meta({
  description:
    'What produced the vectors (input.space of the manifest): only a model of that space answers. 1 to 100 of A-Z a-z 0-9 . _ : -',
});

/** What every job may say besides its products. */
const origin = { runId: runIdSchema.optional(), space: spaceSchema.optional() };

export const featuresSchema = z.array(z.number().min(-MAX_FLOAT32).max(MAX_FLOAT32)).min(1).meta({
  description: "As many numbers as the model's width, each finite in float32.",
});

export const productSchema = z.object({ productId: productIdSchema, features: featuresSchema });

/** Data of a `product` job. */
export const productJobSchema = productSchema
  .extend(origin)
  .meta({ title: `Data of a '${PRODUCT_JOB}' job: one product` });

/** Data of a `products` job: a chunk that people can read. */
export const productsJobSchema = z
  .object({
    products: z.array(productSchema).min(1).max(MAX_CHUNK_PRODUCTS),
    ...origin,
  })
  .meta({ title: `Data of a '${PRODUCTS_JOB}' job: a chunk of products` });

/** Where the payload of a packed job or result is, and how to know that it is whole. */
export const payloadSchema = z.object({
  count: z.number().int().min(1).max(MAX_CHUNK_PRODUCTS).meta({ description: 'Products in the payload.' }),
  payload: z.string().min(1).meta({ description: 'The Redis key of the payload, a binary value.' }),
  bytes: z.number().int().min(1).max(MAX_PAYLOAD_BYTES).meta({ description: 'Length of the payload.' }),
  crc32: z.number().int().min(0).max(0xffffffff).meta({ description: 'CRC-32 (as zlib has it) of the payload.' }),
});

/** Data of a `products.packed` job. */
export const packedProductsJobSchema = payloadSchema
  .extend({
    width: z
      .number()
      .int()
      .min(1)
      .max(MAX_PAYLOAD_BYTES / 4)
      .meta({ description: 'Numbers in a feature vector.' }),
    ...origin,
  })
  .meta({ title: `Data of a '${PACKED_PRODUCTS_JOB}' job: a chunk of products as binary` });

/**
 * What of a chunk must be right for its products to be looked at one by one: a bad product is rejected alone, so
 * only the domain judges it.
 */
const chunkEnvelopeSchema = productsJobSchema.extend({
  products: z.array(z.unknown()).min(1).max(MAX_CHUNK_PRODUCTS),
});

const productEnvelopeSchema = z.object(origin);

export type ProductJobData = z.infer<typeof productJobSchema>;
export type ProductsJobData = z.infer<typeof productsJobSchema>;
export type PackedProductsJobData = z.infer<typeof packedProductsJobSchema>;

/** The content of a job whose form is right; its products are still unchecked, and those of a packed one elsewhere. */
export type ParsedJob =
  | ({ readonly form: 'one' | 'chunk'; readonly products: readonly unknown[] } & JobOrigin)
  | ({ readonly form: 'packed'; readonly packed: PackedProductsJobData } & JobOrigin);

interface JobOrigin {
  readonly runId?: string;
  readonly space?: string;
}

/**
 * Reads the data of a job of any form.
 *
 * @returns the products, unchecked, or a sentence that says why this is no job of this contract
 */
export function parseJob(name: string, data: unknown): ParsedJob | string {
  switch (name) {
    case PRODUCT_JOB: {
      const parsed = productEnvelopeSchema.safeParse(data);
      return parsed.success ? { form: 'one', products: [data], ...parsed.data } : sentenceOf(parsed.error);
    }
    case PRODUCTS_JOB: {
      const parsed = chunkEnvelopeSchema.safeParse(data);
      return parsed.success ? { form: 'chunk', ...parsed.data } : sentenceOf(parsed.error);
    }
    case PACKED_PRODUCTS_JOB: {
      const { data: packed, error } = packedProductsJobSchema.safeParse(data);
      if (!packed) return sentenceOf(error);
      return { form: 'packed', packed, runId: packed.runId, space: packed.space };
    }
    default:
      return `unknown job name ${JSON.stringify(name)}: expected '${PRODUCT_JOB}', '${PRODUCTS_JOB}' or '${PACKED_PRODUCTS_JOB}'`;
  }
}

/**
 * What a job says of its vectors. The only product of a job may be a bad one, so its width says nothing; nor does a width
 * that the payload has no room for, which is a bad payload.
 */
export function vectorKindOf(job: ParsedJob): VectorKind {
  const { space } = job;
  if (job.form === 'one') return { space };
  if (job.form !== 'packed') return { space, width: commonWidthOf(job.products) };
  const { count, width, bytes } = job.packed;
  return { space, width: 4 * count * width <= bytes ? width : undefined };
}

/** What is wrong with data, each with its place. */
export function sentenceOf(error: z.ZodError): string {
  return error.issues.map(({ path, message }) => `${path.join('.') || 'data'}: ${message}`).join('; ');
}
