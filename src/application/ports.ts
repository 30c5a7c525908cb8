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
import type { VectorKind } from '../domain/feature-space.ts';
import type { FeatureMatrix } from '../domain/features.ts';
import type { AnsweringModel, ChunkState, ImportTotals } from '../domain/import.ts';
import type { PredictionBatch } from '../domain/prediction.ts';
import type { PackedIds, ProductTable, Reject } from '../domain/product.ts';

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
  /** A row for each product; rejected ones have no category. */
  readonly predictions: PredictionBatch;
  /** In the order of the products. */
  readonly rejects: readonly Reject[];
  /** Products far outside of what the model was trained on; absent where the model does not know what that was. */
  readonly outside?: number;
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
  readonly content: JobContent;
  readonly runId?: string;
  readonly trace?: string;
  /** An earlier attempt took its process down with it, or froze it: run it alone. */
  readonly stalledBefore: boolean;
}

/**
 * `one`: its result is one prediction with all probabilities. `chunk`: a list of outcomes. `packed`: the same in flat
 * arrays. None of the products was checked yet.
 */
export type JobContent =
  | { readonly form: 'one' | 'chunk'; readonly products: readonly unknown[] }
  | { readonly form: 'packed'; readonly products: ProductTable };

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
  /** The model of this worker was not made for the job: it waits, delayed, for a worker that fits. */
  returned(job: {
    readonly queue: string;
    readonly jobId: string;
    readonly runId?: string;
    readonly wanted: VectorKind;
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
  /** Categorized products that lie far outside of what the model was trained on. */
  outside(count: number): void;
}

/** Products of files (or standard input), read as flat arrays; back-pressure is the consumer's pace. */
export interface ProductSource {
  /** Hex; the same for the same content read in the same way, and different for any other. */
  readonly fingerprint: string;
  /** The valid products in the order of the input, in tables of any size. Can be read once. */
  products(): AsyncIterable<ProductTable>;
  /** Rows rejected so far, and rows passed over as duplicates. Both are complete after the last table. */
  counts(): { readonly rejected: number; readonly skipped: number };
  /** What was rejected, file by file in the order of the rows. To be read after the last table. */
  rejects(): AsyncIterable<RejectedRow>;
  /** Bytes read so far and in all. */
  progress(): { readonly read: number; readonly total: number };
  close(): Promise<void>;
}

/** A row of an input that is no valid product. */
export interface RejectedRow {
  /** Which input it stands in, from 0. */
  readonly input: number;
  /** Line in that input where the row starts, from 1; in a Parquet file the number of the row, from 1. */
  readonly line: number;
  /** The row as it stands in the input, without its line ending; of a Parquet file as a line of CSV. */
  readonly raw: string;
  /** As it came, where it could be read. */
  readonly productId: string | null;
  /** Everything that is wrong with it, at least one. */
  readonly errors: readonly RowError[];
}

export interface RowError extends RejectReason {
  /** Name of the column; none where the row as a whole cannot be read. */
  readonly column?: string;
}

/** Takes the rows that were rejected, so that they can be mended and sent again. */
export interface RejectSink {
  write(row: RejectedRow): Promise<void>;
  /** Makes the files visible. @returns their paths; none where nothing was rejected. */
  commit(): Promise<readonly string[]>;
  abort(): Promise<void>;
}

/** Products of one run that become one job. */
export interface OutgoingChunk {
  /** Its place in the run, from 0: with the run id it makes the job id, so that sending it twice adds it once. */
  readonly number: number;
  readonly runId: string;
  readonly products: ProductTable;
  /** What produced the vectors, where that is known: only a model of that space answers them. */
  readonly space?: string;
}

/** What is remembered of a run that was begun before, held against what is there. */
export interface SentBefore {
  /** Where a chunk of it is; undefined where it was not sent. */
  stateOf(chunkNumber: number): ChunkState | undefined;
  /** Numbers of the chunks that failed or are missing. */
  readonly lost: readonly number[];
  /** Where all of it was sent. */
  readonly totals?: ImportTotals;
}

export interface ProductQueue {
  /**
   * Claims the run for this input; what was sent of it before need not be sent again.
   *
   * @param command of an import, what a person types to run it again: it is listed then
   * @throws CategorizerError `RUN_CONFLICT` where another input was sent under the same run id
   */
  begin(runId: string, fingerprint: string, command?: string): Promise<SentBefore>;
  /** Jobs that are not finished. */
  pendingJobs(): Promise<number>;
  /**
   * Resolves when the chunk is in Redis and remembered as sent: when the job that is there was compared with it. Sending it
   * twice adds it once. Where somebody else's job has its id, it is sent under another.
   *
   * @throws CategorizerError `RUN_CONFLICT` where too many ids are taken
   */
  enqueue(chunk: OutgoingChunk): Promise<void>;
  /** Remembers that all of the run was sent. */
  finish(runId: string, totals: ImportTotals): Promise<void>;
  /** Removes what is left on the queues of chunks that failed or are missing, so that they can be sent again. */
  clear(runId: string, chunkNumbers: readonly number[]): Promise<void>;
  /** As `clear`, and no answer to what was sent of them until now counts. */
  forget(runId: string, chunkNumbers: readonly number[]): Promise<void>;
  /** Gives up the claim where nothing was sent, so that another input can have the run id. */
  withdraw(runId: string): Promise<void>;
}

/** What is remembered of an import. */
export interface ImportRecord {
  readonly runId: string;
  readonly startedAt: Date;
  /** What a person types to run it again. */
  readonly command?: string;
  /** Known once all of it was sent. */
  readonly totals?: ImportTotals;
}

/** What was collected for a chunk. */
export interface ChunkAnswer {
  readonly model: AnsweringModel;
  /** Products that the model rejected, by code. */
  readonly rejected: Readonly<Record<string, number>>;
}

export interface ImportChunk {
  readonly number: number;
  readonly state: ChunkState;
  /** Whether its sending is remembered. */
  readonly sent: boolean;
  /** 0 where it is not. */
  readonly products: number;
  /** Of a failed one. */
  readonly failure?: { readonly code: string; readonly message: string };
  /** Of a collected one. */
  readonly answer?: ChunkAnswer;
}

/** The records of imports. */
export interface ImportRecords {
  find(runId: string): Promise<ImportRecord | undefined>;
  /** Numbers of the chunks whose sending is remembered. */
  numbers(runId: string): Promise<readonly number[]>;
  /** Where these chunks are now, in the same order. */
  chunks(runId: string, numbers: readonly number[]): Promise<readonly ImportChunk[]>;
  /** Ids of the imports that were begun last, the newest first. */
  latest(limit: number): Promise<readonly string[]>;
}

/** What became of the products of one result job. */
export interface CollectedResult {
  readonly resultId: string;
  /** The input job that it answers. */
  readonly jobId: string;
  readonly runId?: string;
  readonly modelVersion: string;
  readonly modelSha256: string;
  readonly products: CategorizedProducts;
  /** The chunk of a recorded import that it answers. */
  readonly chunk?: number;
  /** The ids that results of this chunk can have: it may have been sent, and answered, more than once. */
  readonly answerIds?: readonly string[];
}

/** What became of some products, in flat arrays: place i of each belongs to the same product. */
export interface CategorizedProducts {
  readonly rows: number;
  /** As they came: packed, or one by one where an id may be null (it was not a string). */
  readonly ids: PackedIds | readonly (string | null)[];
  /** The codes that the indexes stand for. */
  readonly categories: readonly string[];
  /** `NO_CATEGORY` where the product was rejected. */
  readonly categoryIndexes: Uint16Array;
  readonly confidences: Float32Array;
  /** In the order of the products. */
  readonly rejects: readonly Reject[];
  /** Those far outside of what the model was trained on; absent where the model does not know what that was. */
  readonly outside?: number;
}

/** What is left of a result once its products are written. */
export interface CollectedKey extends Pick<CollectedResult, 'resultId' | 'runId' | 'chunk'> {
  /** What to remember of the chunk that it answers. */
  readonly answer?: ChunkAnswer;
}

export interface ResultQueue {
  /**
   * All results, oldest first, in pages; leaves them on the queue. Those of one run where one is named.
   *
   * @param met ids of results that are passed over; those that are met are added
   */
  scan(runId: string | undefined, met: Set<string>): AsyncIterable<readonly CollectedResult[]>;
  /** The answers of these chunks of a recorded import, in pages; leaves them on the queue. */
  answers(runId: string, chunkNumbers: readonly number[]): AsyncIterable<readonly CollectedResult[]>;
  /** Results met so far that cannot be read; the log says why, and they stay on the queue. */
  unreadable(): number;
  /** Results met so far that name a run and answer none of its jobs; they stay on the queue. */
  foreign(): number;
  /** Looks for more of those, once. */
  findForeign(runId: string): Promise<void>;
  /** Which of these were collected before, however long ago. */
  collectedBefore(results: readonly CollectedKey[]): Promise<ReadonlySet<string>>;
  /** Whether any result of a run without a record was collected before. */
  hasCollected(runId: string): Promise<boolean>;
  /** Remembers them as collected, then removes them from the queue. Doing it again changes nothing. */
  remove(results: readonly CollectedKey[]): Promise<void>;
}

/** What this machine remembers of the imports that it sent, whatever becomes of Redis. */
export interface ImportNotes {
  find(runId: string): Promise<{ readonly startedAt: Date } | undefined>;
  write(runId: string): Promise<void>;
  /** It was collected. */
  remove(runId: string): Promise<void>;
}

/** Who collects a run. */
export interface CollectorHolder {
  readonly host: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly since: string;
  /** The file that it writes. */
  readonly out: string;
}

/** Only one collects a run at a time: two would each write all of it. */
export interface CollectorClaims {
  /** Resolves with who holds it where it is taken. All runs without a record where none is named. */
  take(runId: string | undefined): Promise<CollectorHolder | undefined>;
  /** @throws CategorizerError `RUN_HELD` where a claim was lost: this process was frozen, and another took it */
  confirm(): Promise<void>;
  release(): Promise<void>;
}

/** What the queue shows beside the record of an import. */
export interface QueueActivity {
  /** Jobs of any run that wait or are in work. */
  readonly unfinishedJobs: number;
  /** Workers that are connected to the input queue; not counted where no job is unfinished, none where nobody may look. */
  readonly workers?: number;
  /** Of the unfinished jobs, those that workers gave back because their models were not made for them. */
  readonly mismatchedJobs: number;
}

export interface RunMonitor {
  activity(): Promise<QueueActivity>;
  /** Jobs in the failed set, of this run or of all, by code. */
  failures(runId: string | undefined): Promise<Readonly<Record<string, number>>>;
}

/** A file that is written whole or not at all, and that goes on where an earlier call ended. */
export interface ResultFile {
  /** The result ids that the file holds from earlier calls; their rows are kept. */
  begin(): Promise<ReadonlySet<string>>;
  write(result: Pick<CollectedResult, 'resultId' | 'modelVersion' | 'products'>): Promise<void>;
  /** Syncs and renames: from here on the rows are safe. */
  commit(): Promise<void>;
  abort(): Promise<void>;
}

export interface QueueDepth {
  readonly queue: string;
  readonly jobs: Readonly<Record<'waiting' | 'active' | 'delayed' | 'prioritized' | 'failed' | 'completed', number>>;
  /**
   * Age in seconds of the oldest job that a worker could take now, 0 where there is none: a delayed job counts from when
   * it is due.
   */
  readonly oldestWaitingAgeSeconds: number;
  readonly paused: boolean;
  /** Workers that are connected to it; none where nobody may look. */
  readonly workers?: number;
  /** Jobs that a worker gave back because its model was not made for them, by what they want; absent where there are none. */
  readonly mismatched?: readonly MismatchedJobs[];
}

/** Of a long queue an estimate, from a part of it. */
export interface MismatchedJobs extends VectorKind {
  /** Those that a worker could take now, or has just taken. */
  readonly waiting: number;
  /** Those that are left alone for a while. */
  readonly delayed: number;
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
  /** A sentence on what is wrong with Redis, and one on what of it nobody may look at. */
  health(): Promise<{ readonly problem?: string; readonly unchecked?: string }>;
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
