import type { RejectReason } from './errors.ts';
import { describe, type FeatureMatrix, readFeatures } from './features.ts';

export const MAX_PRODUCT_ID_CHARACTERS = 200;

/** Control characters (Unicode Cc), and lone surrogates, which UTF-8 cannot carry. */
const FORBIDDEN_IN_ID = '\\u0000-\\u001f\\u007f-\\u009f\\ud800-\\udfff';

/** Counts code points, as JSON Schema does. The ranges are written out, so that other languages read them as well. */
export const PRODUCT_ID_PATTERN = new RegExp(`^[^${FORBIDDEN_IN_ID}]{1,${MAX_PRODUCT_ID_CHARACTERS}}$`, 'u');

/** Product ids as UTF-8, joined by line feeds (which no id may hold). */
export type PackedIds = Uint8Array;

/** Products in flat arrays: row i of `features` belongs to id i. */
export interface ProductTable {
  readonly ids: PackedIds;
  readonly features: FeatureMatrix;
}

/** A reject with its place: the index of the product in what was submitted. */
export interface Reject extends RejectReason {
  readonly row: number;
}

/** Products that were checked: what was accepted as one matrix, what was not as rejects. */
export interface CheckedProducts {
  /** How many products there were. */
  readonly count: number;
  readonly features: FeatureMatrix;
  /** For each row of `features`, the index of its product; undefined where all were accepted. */
  readonly acceptedRows: readonly number[] | undefined;
  /** In the order of their rows. */
  readonly rejects: readonly Reject[];
}

/** @returns why the id was refused, or undefined. */
export function checkProductId(id: unknown): RejectReason | undefined {
  if (typeof id === 'string' && PRODUCT_ID_PATTERN.test(id)) return undefined;
  return {
    code: 'INVALID_PRODUCT_ID',
    message: `the product id must be 1 to ${MAX_PRODUCT_ID_CHARACTERS} characters without control characters, got ${describe(id)}`,
  };
}

/**
 * Checks products of unknown origin one by one: a bad one is rejected alone.
 *
 * @param products each should be `{ productId, features }`
 * @param width how many numbers the model expects
 */
export function readProducts(products: readonly unknown[], width: number): CheckedProducts {
  const values = new Float32Array(products.length * width);
  const acceptedRows: number[] = [];
  const rejects: Reject[] = [];
  for (let row = 0; row < products.length; row++) {
    const { productId, features } = fieldsOf(products[row]);
    const reason = checkProductId(productId) ?? readFeatures(features, width, values, acceptedRows.length * width);
    if (reason === undefined) acceptedRows.push(row);
    else rejects.push({ row, code: reason.code, message: reason.message });
  }
  const rows = acceptedRows.length;
  return {
    count: products.length,
    features: { rows, width, values: values.subarray(0, rows * width) },
    acceptedRows: rejects.length === 0 ? undefined : acceptedRows,
    rejects,
  };
}

/** How many numbers each vector of a chunk has; undefined where they differ, or where no product has a vector. */
export function commonWidthOf(products: readonly unknown[]): number | undefined {
  let width: number | undefined;
  for (const product of products) {
    const { features } = fieldsOf(product);
    if (!Array.isArray(features)) continue;
    if (width !== undefined && features.length !== width) return undefined;
    width = features.length;
  }
  return width;
}

/** The id of every product as it came; null where it was not a string. */
export function productIdsOf(products: readonly unknown[]): (string | null)[] {
  return products.map((product) => {
    const { productId } = fieldsOf(product);
    return typeof productId === 'string' ? productId : null;
  });
}

function fieldsOf(product: unknown): { productId?: unknown; features?: unknown } {
  return typeof product === 'object' && product !== null ? product : {};
}
