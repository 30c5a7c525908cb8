/** What is remembered of a run in Redis, beside BullMQ's own keys and under the same prefix. */

/** How long after the last change: long after any job of the run can still be delivered. */
export const RUN_MEMORY_SECONDS = 30 * 24 * 3600;

/** A hash: the number of each chunk that was sent, and a checksum of its products. */
export function sentKey(prefix: string, runId: string): string {
  return `${prefix}:sent:${runId}`;
}

/** A set: the ids of the results that were collected. */
export function collectedKey(prefix: string, runId: string | undefined): string {
  return `${prefix}:collected:${runId ?? ''}`;
}
