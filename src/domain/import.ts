/** The one account of an import: every row of its input is in exactly one of these places. */

/**
 * Where a chunk of an import is, as Redis shows it now. What was remembered alone is never believed: `answered` is a result
 * that is there with its payload, `waiting` a job that a worker will take or has taken.
 *
 * - `collected`: its result was written to a file
 * - `missing`: it was sent, and there is neither a job nor a result of it any more
 */
export const CHUNK_STATES = ['collected', 'answered', 'waiting', 'failed', 'missing'] as const;
export type ChunkState = (typeof CHUNK_STATES)[number];

/** How large an import is, known once all of its input was read and sent. */
export interface ImportTotals {
  readonly jobs: number;
  /** Products that were sent. */
  readonly products: number;
  /** Rows that were rejected while the input was read. */
  readonly rejected: number;
  readonly rejectedByCode: Readonly<Record<string, number>>;
  /** Rows that were passed over because another row of the same product counts. */
  readonly skipped: number;
}

/** Names a model in an account. */
export interface AnsweringModel {
  readonly version: string;
  readonly sha256: string;
}

export interface ImportAccount {
  readonly runId: string;
  /** Rows of the input; undefined until all of it was sent. */
  readonly read: number | undefined;
  readonly skipped: number;
  /** Products that were sent, by whichever call. */
  readonly sent: number;
  /** Rejected while the input was read, or by the model; the latter are known once they are collected. */
  readonly rejected: number;
  readonly rejectedByCode: Readonly<Record<string, number>>;
  /** Collected with a category. */
  readonly categorized: number;
  /** Products whose results wait to be collected. */
  readonly answered: number;
  /** Products on the queue or in work. */
  readonly waiting: number;
  /** Products whose job failed for good. */
  readonly failed: number;
  /** Jobs that failed for good, by code. */
  readonly failedByCode: Readonly<Record<string, number>>;
  /** Products that were sent and are nowhere any more. */
  readonly missing: number;
  readonly missingJobs: number;
  /** Who answered, with the number of products; of what was collected. */
  readonly models: readonly (AnsweringModel & { readonly products: number })[];
}

export type ImportState = 'sending' | 'waiting' | 'to collect' | 'incomplete' | 'complete';

/** @returns in one word where an import is; `complete`: each of its rows was categorized and collected, or rejected */
export function importStateOf({ read, failed, missing, waiting, answered }: ImportAccount): ImportState {
  if (failed + missing > 0) return 'incomplete';
  if (read === undefined) return 'sending';
  if (waiting > 0) return 'waiting';
  return answered > 0 ? 'to collect' : 'complete';
}

/** The key of a model in counts, and how to show it: versions of two trainings may be the same word. */
export function modelLabel({ version, sha256 }: AnsweringModel): string {
  return sha256.startsWith(version) ? version : `${version} (${sha256.slice(0, 12)})`;
}

/** The numbers of all chunks of an import. */
export function allChunks({ jobs }: ImportTotals): number[] {
  return Array.from({ length: jobs }, (_, number) => number);
}
