/**
 * What the use cases need from outside, in the words of the domain:
 *
 * - product: an id and its feature vector
 * - job: one job of the queue, with one product or a chunk of them
 * - batch: the rows of one tensor, built from the rows of many jobs
 * - run: one import or one recategorization, with a run id
 */
import type { ModelInfo } from '../domain/category.ts';
import type { RejectReason } from '../domain/errors.ts';
import type { FeatureMatrix } from '../domain/features.ts';
import type { PredictionBatch } from '../domain/prediction.ts';
import type { Reject } from '../domain/product.ts';

export interface CategoryPredictor {
  readonly model: ModelInfo;
  /**
   * The same number of rows in the same order. A row whose output is not finite has no category.
   * `features.values` must stay unchanged until the promise settles. An error that is `retryable` says that no row is
   * to blame; after any other the batcher looks for the rows that cause it.
   */
  predict(features: FeatureMatrix): Promise<PredictionBatch>;
  close(): Promise<void>;
}

export interface Clock {
  /** Milliseconds from any origin; never goes back. */
  now(): number;
  /** Calls back once, `ms` from now; the returned function cancels it. */
  after(ms: number, callback: () => void): () => void;
}

/** Where rows come from; it travels with them to logs and traces. */
export interface Origin {
  readonly jobId: string;
  readonly runId?: string;
  /** Trace context of the producer, serialized by it (a JSON object with `traceparent`). */
  readonly trace?: string;
}

export type FlushReason = 'full' | 'wait' | 'drain' | 'alone';

export interface BatchStart {
  readonly rows: number;
  readonly reason: FlushReason;
  /** How long the oldest row waited, in seconds. */
  readonly waitSeconds: number;
  /** One for each job (or request) that has rows in the batch. */
  readonly origins: readonly Origin[];
}

/** Follows every batch; metrics, logs and traces stand behind it. */
export interface BatchObserver {
  started(batch: BatchStart): BatchObservation;
}

export interface BatchObservation {
  /** Around one run of the predictor. Bisecting a failed batch makes several. */
  predict(rows: number, run: () => Promise<PredictionBatch>): Promise<PredictionBatch>;
  /** The batch left the batcher: with its predictions, or with the error that all of its rows got. */
  finished(outcome: PredictionBatch | Error): void;
  /** Around the publication of the results that this batch completed. */
  publish(jobs: number, run: () => Promise<void>): Promise<void>;
}

/** What became of a list of products: for each of them a category or a reject. */
export interface Categorization {
  /** The id of every product as it came; null where it was not a string. */
  readonly productIds: readonly (string | null)[];
  /** A row for each product; rejected ones have no category. */
  readonly predictions: PredictionBatch;
  /** In the order of the products. */
  readonly rejects: readonly Reject[];
  /** The batch that completed it; none where every product was refused before the model. */
  readonly batch?: BatchObservation;
}

/** The categorization of one job, on its way to the results queue. */
export interface JobResult {
  readonly job: ProductJob;
  readonly model: ModelInfo;
  readonly categorization: Categorization;
}

/** One job as the use cases see it. */
export interface ProductJob {
  readonly id: string;
  /** When the job was put on the queue, in milliseconds since 1970. */
  readonly enqueuedAt: number;
  /** `one`: its result is one prediction with all probabilities. `chunk`: a list of outcomes. */
  readonly form: 'one' | 'chunk';
  readonly products: readonly unknown[];
  readonly runId?: string;
  readonly trace?: string;
  /** An earlier attempt took its process down with it, or froze it: run it alone. */
  readonly stalledBefore: boolean;
}

export interface ResultPublisher {
  /** Publishes once for each job however often it is called; resolves when the result is in Redis. */
  publish(result: JobResult): Promise<void>;
}

export interface JobObserver {
  finished(job: {
    readonly queue: string;
    readonly jobId: string;
    readonly runId?: string;
    /** `retried`: this attempt failed and another follows. */
    readonly outcome: 'completed' | 'failed' | 'retried';
    /** From the moment it was enqueued. */
    readonly seconds: number;
    readonly error?: { readonly code: string; readonly message: string };
  }): void;
  /** A worker died or froze with the job; it is on the queue again. */
  stalled(job: { readonly queue: string; readonly jobId: string }): void;
}

export interface HttpObserver {
  /** `path`: the route. */
  answered(request: { path: string; method: string; status: number; seconds: number }): void;
}

/** Counts products by what became of them. */
export interface ProductObserver {
  products(outcome: 'categorized' | 'rejected', count: number): void;
}

/** A product as a file has it: its place, its text, and what was read. */
export interface SourceRow {
  /** Line in the input where the row starts, from 1. */
  readonly line: number;
  /** The row as it stands in the input, without its line ending. */
  readonly raw: string;
  /** `{ productId, features }`, unchecked; absent where the row could not be read. */
  readonly product?: { readonly productId: unknown; readonly features: unknown };
  /** Why the row could not be read. */
  readonly unreadable?: RejectReason;
}

/** A stream of products; back-pressure is the consumer's pace. */
export interface ProductSource {
  rows(): AsyncIterable<SourceRow>;
  /** Bytes read so far and in all, where that is known. */
  progress(): { readonly read: number; readonly total?: number };
}

/** Takes the rows that were rejected, so that they can be mended and sent again. */
export interface RejectSink {
  write(row: SourceRow, reason: RejectReason): Promise<void>;
  /** Makes the files visible. @returns their paths; none where nothing was rejected. */
  commit(): Promise<readonly string[]>;
  abort(): Promise<void>;
}

/** Products of one run that become one job. */
export interface OutgoingChunk {
  /** Its place in the run, from 0: with the run id it makes the job id, so that sending it twice adds it once. */
  readonly number: number;
  readonly runId: string;
  readonly products: readonly { readonly productId: string; readonly features: readonly number[] }[];
}

export interface ProductQueue {
  /** Jobs that no worker has taken yet. */
  waiting(): Promise<number>;
  /** Resolves when all are in Redis. After an error some of them may be: sending them again adds none twice. */
  enqueue(chunks: readonly OutgoingChunk[]): Promise<void>;
}

/** One product's outcome, as a collected file has it. */
export interface CollectedRow {
  readonly productId: string | null;
  readonly categoryCode?: string;
  readonly confidence?: number;
  readonly reject?: RejectReason;
  readonly modelVersion: string;
  /** The id of the result job it came with; empty where there was no queue. */
  readonly resultId: string;
}

export interface CollectedResult {
  readonly resultId: string;
  readonly runId?: string;
  readonly rows: readonly CollectedRow[];
}

export interface ResultQueue {
  /** Oldest first, in pages; leaves them on the queue. All runs where no run is named. */
  read(runId: string | undefined): AsyncIterable<readonly CollectedResult[]>;
  /** Which of these were collected before, however long ago. */
  collectedBefore(results: readonly CollectedResult[]): Promise<ReadonlySet<string>>;
  /** Remembers them as collected, then removes them from the queue. Doing it again changes nothing. */
  remove(results: readonly CollectedResult[]): Promise<void>;
}

/** A file that is written whole or not at all, and that goes on where an earlier call ended. */
export interface ResultFile {
  /** The result ids that the file holds from earlier calls; their rows are kept. */
  begin(): Promise<ReadonlySet<string>>;
  write(rows: readonly CollectedRow[]): Promise<void>;
  /** Syncs and renames: from here on the rows are safe. */
  commit(): Promise<void>;
  abort(): Promise<void>;
}

export interface QueueDepth {
  readonly queue: string;
  readonly jobs: Readonly<Record<'waiting' | 'active' | 'delayed' | 'prioritized' | 'failed' | 'completed', number>>;
  /** Age in seconds of the oldest job that waits; 0 where none does. */
  readonly oldestWaitingAgeSeconds: number;
  readonly paused: boolean;
}

export interface FailedJob {
  readonly jobId: string;
  readonly runId?: string;
  readonly code: string;
  readonly message: string;
}

export interface QueueMonitor {
  /** The input queue first, then the results queue. */
  depths(): Promise<readonly QueueDepth[]>;
  /** Workers that are connected to the input queue. */
  workers(): Promise<number>;
  /** The failed jobs of the input queue. */
  failed(): AsyncIterable<FailedJob>;
  /** Puts these back to be tried again with all of their attempts. @returns how many were there */
  retryFailed(jobIds: readonly string[]): Promise<number>;
}

/** Makes a span for one round trip of a producer. */
export interface EnqueueTracer {
  /** @param send gets the serialized trace context to give to the jobs; none where nothing is traced */
  enqueue(queue: string, jobs: number, send: (trace: string | undefined) => Promise<void>): Promise<void>;
}

/** Shape of pino's methods: fields first, then the sentence. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
