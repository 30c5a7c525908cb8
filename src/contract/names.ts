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
export const CATEGORY_RESULT = 'category';
export const CATEGORIES_RESULT = 'categories';

export const MAX_CHUNK_PRODUCTS = 10_000;
export const MAX_CHUNK_JSON_BYTES = 8 * 1024 * 1024;

/**
 * How many products of that width fit in a chunk for sure: 25 bytes is the longest a JSON number with its comma gets,
 * 900 leaves room for the longest id and the names.
 */
export function maxChunkProducts(width: number): number {
  return Math.max(1, Math.min(MAX_CHUNK_PRODUCTS, Math.floor(MAX_CHUNK_JSON_BYTES / (25 * width + 900))));
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

/** The id of a chunk of a run: the same chunk sent twice is added once. */
export function chunkJobId(runId: string, chunkNumber: number): string {
  return `${runId}-${chunkNumber}`;
}
