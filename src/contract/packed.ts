/**
 * The payloads of packed jobs and results, byte by byte. All numbers are little-endian, as on every machine that this
 * runs on; docs/packed-format.md has the same for other languages.
 */
import { isUtf8 } from 'node:buffer';
import { crc32 } from 'node:zlib';
import { CategorizerError } from '../domain/errors.ts';
import { countIds } from '../domain/packed-products.ts';
import type { PackedIds, ProductTable } from '../domain/product.ts';

/** A payload, and what its job says of it. */
export interface Packed {
  readonly payload: Buffer;
  readonly count: number;
  readonly bytes: number;
  readonly crc32: number;
}

/** What a job says of its payload. */
type Announced = Omit<Packed, 'payload'>;

/** Outcomes of products in flat arrays, place i of each for the same product. */
export interface PackedOutcomes {
  /** As they came with the products. */
  readonly ids: PackedIds;
  /** Indexes into the result's `categories`; 65535 where the product was rejected. */
  readonly categoryIndexes: Uint16Array;
  /** NaN where the product was rejected. */
  readonly confidences: Float32Array;
}

/** Ids as payloads have them. @param ids 1 to 200 characters each, without control characters */
export function packIds(ids: readonly string[]): PackedIds {
  return Buffer.from(ids.join('\n'), 'utf8');
}

/**
 * The payload of a `products.packed` job: rows × width float32, row-major, then the ids.
 *
 * @param products as many ids as rows
 */
export function packProducts({ ids, features }: ProductTable): Packed {
  const { rows, values } = features;
  return announce(rows, Buffer.concat([bytesOf(values), ids]));
}

/**
 * Checks the payload of a `products.packed` job and looks into it: nothing is copied where its floats are aligned.
 * The products themselves are not checked.
 *
 * @throws CategorizerError `PAYLOAD_INVALID`
 */
export function unpackProducts(payload: Uint8Array, announced: Announced & { readonly width: number }): ProductTable {
  checkPayload(payload, announced);
  const { count, width } = announced;
  const idsAt = 4 * count * width;
  const ids = idsOf(payload, idsAt, count);
  return {
    ids,
    features: { rows: count, width, values: new Float32Array(...aligned(payload, 0, idsAt, 4), count * width) },
  };
}

/** The payload of a `categories.packed` result: uint16 indexes, zeros up to 4 bytes, float32 confidences, the ids. */
export function packOutcomes({ ids, categoryIndexes, confidences }: PackedOutcomes): Packed {
  const padding = Buffer.alloc(paddingOf(categoryIndexes.length));
  const parts = [bytesOf(categoryIndexes), padding, bytesOf(confidences), ids];
  return announce(categoryIndexes.length, Buffer.concat(parts));
}

/**
 * Checks the payload of a `categories.packed` result and looks into it.
 *
 * @throws CategorizerError `PAYLOAD_INVALID`
 */
export function unpackOutcomes(payload: Uint8Array, announced: Announced): PackedOutcomes {
  checkPayload(payload, announced);
  const { count } = announced;
  const confidencesAt = 2 * count + paddingOf(count);
  const ids = idsOf(payload, confidencesAt + 4 * count, count);
  return {
    ids,
    categoryIndexes: new Uint16Array(...aligned(payload, 0, 2 * count, 2), count),
    confidences: new Float32Array(...aligned(payload, confidencesAt, 4 * count, 4), count),
  };
}

function paddingOf(count: number): number {
  return (2 * count) % 4;
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function announce(count: number, payload: Buffer): Packed {
  return { payload, count, bytes: payload.length, crc32: crc32(payload) };
}

function checkPayload(payload: Uint8Array, { bytes, crc32: expected }: Announced): void {
  if (payload.length !== bytes) throw invalid(`it has ${payload.length} bytes, its job says ${bytes}`);
  const found = crc32(payload);
  if (found !== expected) throw invalid(`its CRC-32 is ${found}, its job says ${expected}`);
}

function idsOf(payload: Uint8Array, start: number, count: number): PackedIds {
  if (start > payload.length) throw invalid(`${payload.length} bytes are too few for ${count} products`);
  const ids = payload.subarray(start);
  if (!isUtf8(ids)) throw invalid('its ids are not UTF-8');
  const found = countIds(ids);
  if (found !== count) throw invalid(`it has ${found} ids for ${count} products`);
  return ids;
}

/** Typed arrays can only begin at a multiple of their items' size: where the payload does not, those bytes are copied. */
function aligned(payload: Uint8Array, start: number, bytes: number, itemBytes: number): [ArrayBufferLike, number] {
  const offset = payload.byteOffset + start;
  if (offset % itemBytes === 0) return [payload.buffer, offset];
  return [new Uint8Array(payload.subarray(start, start + bytes)).buffer, 0];
}

function invalid(reason: string): CategorizerError {
  return new CategorizerError('PAYLOAD_INVALID', `the payload is not whole: ${reason}`);
}
