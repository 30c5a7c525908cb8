/** What is remembered of a run in Redis, beside BullMQ's own keys and under the same prefix. */
import type { Redis } from 'ioredis';
import type { RunProgress, RunTotals } from '../../application/ports.ts';

/** How long after the last change: long after any job of the run can still be delivered. */
export const RUN_MEMORY_SECONDS = 30 * 24 * 3600;

/** A hash: `fingerprint` of the input, `startedAt`, and once all of it was sent the fields of `RunTotals`. */
export function runKey(prefix: string, runId: string): string {
  return `${prefix}:run:${runId}`;
}

/** Bits: 1 at the number of each chunk that is known to have arrived. */
export function sentKey(prefix: string, runId: string): string {
  return `${prefix}:sent:${runId}`;
}

/** A set: the ids of the results that were collected. */
export function collectedKey(prefix: string, runId: string | undefined): string {
  return `${prefix}:collected:${runId ?? ''}`;
}

/** The fields of a run's hash that say that all of it was sent. */
export const TOTALS_FIELDS = ['jobs', 'products', 'rejected'] as const satisfies (keyof RunTotals)[];

/** @param record the hash of a run, empty where there is none */
export function readTotals(record: Readonly<Record<string, string>>): RunTotals | undefined {
  const { jobs, products, rejected } = record;
  if (jobs === undefined) return undefined;
  return { jobs: Number(jobs), products: Number(products), rejected: Number(rejected) };
}

const noRecord: Record<string, string> = {};

/** How large a run is, where that is known, and how many of its results were collected. */
export async function readRun(
  connection: Redis,
  prefix: string,
  runId: string | undefined,
): Promise<Pick<RunProgress, 'begun' | 'totals' | 'collected'>> {
  const [record, collected] = await Promise.all([
    runId === undefined ? noRecord : connection.hgetall(runKey(prefix, runId)),
    connection.scard(collectedKey(prefix, runId)),
  ]);
  return { begun: record.fingerprint !== undefined, totals: readTotals(record), collected };
}
