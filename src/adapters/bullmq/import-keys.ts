/** What is remembered of an import in Redis, beside BullMQ's own keys and under the same prefix. */

/** How long after the last change: long after any job of the run can still be delivered. */
export const RECORD_SECONDS = 30 * 24 * 3600;

/** A hash: `fingerprint` of the input, `startedAt`, `command`, and once all of it was sent the fields of `ImportTotals`. */
export function runKey(prefix: string, runId: string): string {
  return `${prefix}:run:${runId}`;
}

/** A hash: chunk number to `formatEntry`. A chunk has an entry once its job is known to be there. */
export function chunksKey(prefix: string, runId: string): string {
  return `${prefix}:chunks:${runId}`;
}

/** A hash: chunk number to the answer that was collected, as JSON. */
export function answersKey(prefix: string, runId: string): string {
  return `${prefix}:answers:${runId}`;
}

/** A sorted set: the ids of imports by when they began. */
export function importsKey(prefix: string): string {
  return `${prefix}:imports`;
}

/** A sorted set: the ids of results that were collected of runs without a record, by when. */
export function collectedKey(prefix: string, runId: string | undefined): string {
  return `${prefix}:collected:${runId ?? ''}`;
}

/** Held by who collects a run. */
export function collectorKey(prefix: string, runId: string | undefined): string {
  return `${prefix}:collector:${runId ?? ''}`;
}

/** A chunk that was sent. */
export interface ChunkEntry {
  readonly products: number;
  /** Of the payload, and of the ids in it. */
  readonly crc32: number;
  readonly idsCrc32: number;
  /** The attempt under which it would be sent next; those before it are taken, by it or by others. */
  readonly nextAttempt: number;
  /** The attempts whose jobs are its own. */
  readonly attempts: readonly number[];
}

/** Compact, as there is one for each job; the scripts read its last part. */
export function formatEntry({ products, crc32, idsCrc32, nextAttempt, attempts }: ChunkEntry): string {
  return [products, crc32, idsCrc32, nextAttempt, attempts.join(',')].join(':');
}

export function parseEntry(text: string): ChunkEntry {
  const [products, crc32, idsCrc32, nextAttempt, attempts = ''] = text.split(':');
  return {
    products: Number(products),
    crc32: Number(crc32),
    idsCrc32: Number(idsCrc32),
    nextAttempt: Number(nextAttempt),
    attempts: attempts === '' ? [] : attempts.split(',').map(Number),
  };
}
