import { MAX_PRODUCT_ID_CHARACTERS } from '../domain/product.ts';

/** Version of the wire contract: it changes only when old producers or collectors would break. */
export const CONTRACT_VERSION = 1;

/** Jobs in. */
export const PRODUCT_QUEUE = 'product-categorization';
/** Results. */
export const RESULT_QUEUE = 'product-categories';

/** The braces make all keys of both queues share one Redis Cluster slot. */
export const DEFAULT_PREFIX = '{categorizer}';

export const PRODUCT_JOB = 'product';
export const PRODUCTS_JOB = 'products';
export const PACKED_PRODUCTS_JOB = 'products.packed';
export const CATEGORY_RESULT = 'category';
export const CATEGORIES_RESULT = 'categories';
export const PACKED_CATEGORIES_RESULT = 'categories.packed';

export const MAX_CHUNK_PRODUCTS = 10_000;
export const MAX_CHUNK_JSON_BYTES = 8 * 1024 * 1024;
export const MAX_PAYLOAD_BYTES = 16 * 1024 * 1024;

/** An id has at most so many bytes in UTF-8, its line feed included. */
const MAX_ID_BYTES = 4 * MAX_PRODUCT_ID_CHARACTERS + 1;

/** Bytes of an outcome in the payload of a result, rounded up for its padding. */
const OUTCOME_BYTES = 8;

/** How many products of that width fit in a packed chunk for sure, and their outcomes in the payload of its result. */
export function maxChunkProducts(width: number): number {
  return Math.max(
    1,
    Math.min(MAX_CHUNK_PRODUCTS, Math.floor(MAX_PAYLOAD_BYTES / (Math.max(4 * width, OUTCOME_BYTES) + MAX_ID_BYTES))),
  );
}

/** What a payload lives for, where nobody says otherwise. */
export const PAYLOAD_TTL_HOURS = 7 * 24;

/**
 * The Redis key of a payload. Its content is part of it, so that sending the same again changes nothing, and another
 * attempt with another outcome cannot change what a job already points to.
 *
 * @param owner id of the job or of the result
 */
export function payloadKey(prefix: string, owner: string, crc32: number): string {
  return `${payloadKeyStart(prefix, owner)}${crc32.toString(16).padStart(8, '0')}`;
}

/**
 * How the keys of payloads begin. Only keys that begin with the id of their own job or result are read or deleted for it.
 *
 * @param owner id of the job or of the result; without it, how those of all begin
 */
export function payloadKeyStart(prefix: string, owner?: string): string {
  return owner === undefined ? `${prefix}:payload:` : `${prefix}:payload:${owner}:`;
}

/**
 * The options that a producer should give its jobs: infrastructure errors are tried 5 times with growing pauses, and
 * what fails for good stays to be looked at and retried. A worker assumes the same attempts where a job says nothing.
 */
export const JOB_OPTIONS = {
  attempts: 5,
  backoff: { type: 'exponential', delay: 1000, jitter: 0.5 },
  removeOnComplete: { count: 1000 },
  removeOnFail: false,
} as const;

/**
 * The id of the result of an input job: a repeated publication finds it taken and adds nothing.
 * BullMQ's own numbers start again when a queue is wiped, so there the job's timestamp tells old from new. A job that a
 * BullMQ job scheduler made has colons in its id, which no other id may have: they become `%3A`.
 *
 * @param timestamp when the input job was created, in milliseconds since 1970
 */
export function resultIdOf(jobId: string, timestamp: number): string {
  return /^\d+$/.test(jobId) ? `r-${jobId}-${timestamp}` : `r-${jobId.replaceAll(':', '%3A')}`;
}

/**
 * The id of a chunk of a run: the same chunk sent twice is added once.
 *
 * @param attempt 0 at first; a chunk that was lost, or whose id is taken by somebody else's job, is sent under the next
 */
export function chunkJobId(runId: string, chunkNumber: number, attempt = 0): string {
  const id = `${runId}-${chunkNumber}`;
  return attempt === 0 ? id : `${id}.${attempt}`;
}
