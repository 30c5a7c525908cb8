/**
 * Gathers rows from many callers into one batch, runs it, and gives every caller its own rows back.
 *
 * The contract: one outcome for each row, in order; a bad row fails alone; a batch that fails is bisected down to the
 * rows that cause it. A batch leaves when `maxRows` are there, `maxWaitMs` after its oldest row came, or on drain, and
 * one runs at a time: what arrives meanwhile makes the next one larger, which trades a little latency for throughput.
 */
import { CategorizerError, messageOf } from '../domain/errors.ts';
import { type FeatureMatrix, sliceRows } from '../domain/features.ts';
import { emptyPredictions, type PredictionBatch, slicePredictions, writePredictions } from '../domain/prediction.ts';
import type { BatchObservation, BatchObserver, CategoryPredictor, Clock, FlushReason, Origin } from './ports.ts';
import { predictRows } from './predict-rows.ts';

export interface MicroBatcherOptions {
  readonly predictor: CategoryPredictor;
  readonly observer: BatchObserver;
  readonly clock: Clock;
  /** Rows in a batch at most. */
  readonly maxRows: number;
  /** Milliseconds that a row waits for others while the predictor is free. */
  readonly maxWaitMs: number;
}

export interface SubmitOptions {
  readonly origin?: Origin;
  /** In batches of its own: for rows that may have killed a process before. */
  readonly alone?: boolean;
}

interface BatchedPredictions {
  readonly predictions: PredictionBatch;
  /** The batch that completed the submission; none where it had no rows. */
  readonly batch?: BatchObservation;
}

export interface MicroBatcher {
  /**
   * @param features any number of rows; `values` must stay unchanged until the promise settles
   * @returns a prediction for each row; a row on which the model fails has no category
   * @throws CategorizerError `PREDICTOR_UNAVAILABLE` or `SHUTTING_DOWN`, both retryable
   */
  submit(features: FeatureMatrix, options?: SubmitOptions): Promise<BatchedPredictions>;
  /** From now on no row waits for others. Resolves when none is left; more may still be submitted. */
  drain(): Promise<void>;
  /** Drains and refuses what comes after. */
  close(): Promise<void>;
}

interface Submission extends SubmitOptions {
  readonly features: FeatureMatrix;
  readonly arrivedAt: number;
  taken: number;
  predicted: number;
  predictions: PredictionBatch | undefined;
  resolve(outcome: BatchedPredictions): void;
  reject(error: Error): void;
}

interface Piece {
  readonly submission: Submission;
  /** First row within the submission. */
  readonly start: number;
  readonly rows: number;
}

export function createMicroBatcher(options: MicroBatcherOptions): MicroBatcher {
  const { predictor, observer, clock, maxRows, maxWaitMs } = options;
  const { width } = predictor.model;
  const categories = predictor.model.categories.length;

  const waiting: Submission[] = [];
  const waitingAlone: Submission[] = [];
  let waitingRows = 0;
  let running = false;
  let draining = false;
  let closed = false;
  let cancelTimer: (() => void) | undefined;
  let whenIdle: (() => void)[] = [];

  function submit(features: FeatureMatrix, { origin, alone }: SubmitOptions = {}): Promise<BatchedPredictions> {
    if (closed) {
      return Promise.reject(
        new CategorizerError('SHUTTING_DOWN', 'the batcher takes no more rows', { retryable: true }),
      );
    }
    if (features.rows === 0) return Promise.resolve({ predictions: emptyPredictions(0, categories) });
    return new Promise((resolve, reject) => {
      const arrivedAt = clock.now();
      const state = { arrivedAt, taken: 0, predicted: 0, predictions: undefined };
      const submission: Submission = { features, origin, alone, ...state, resolve, reject };
      if (alone) {
        waitingAlone.push(submission);
      } else {
        waiting.push(submission);
        waitingRows += features.rows;
      }
      pump();
    });
  }

  function pump(): void {
    if (running) return;
    cancelTimer?.();
    cancelTimer = undefined;
    const reason = reasonToFlush();
    if (reason !== undefined) {
      running = true;
      void runBatch(reason, takePieces(reason)).then(() => {
        running = false;
        pump();
      });
    } else if (waiting.length > 0) {
      cancelTimer = clock.after(waiting[0].arrivedAt + maxWaitMs - clock.now(), pump);
    } else {
      for (const idle of whenIdle) idle();
      whenIdle = [];
    }
  }

  function reasonToFlush(): FlushReason | undefined {
    if (waitingAlone.length > 0) return 'alone';
    if (waitingRows >= maxRows) return 'full';
    if (waitingRows === 0) return undefined;
    if (draining) return 'drain';
    return clock.now() - waiting[0].arrivedAt >= maxWaitMs ? 'wait' : undefined;
  }

  function takePieces(reason: FlushReason): Piece[] {
    const queue = reason === 'alone' ? waitingAlone : waiting;
    const most = reason === 'alone' ? 1 : queue.length;
    const pieces: Piece[] = [];
    let room = maxRows;
    let emptied = 0;
    while (emptied < most && room > 0) {
      const submission = queue[emptied];
      const start = submission.taken;
      const rows = Math.min(room, submission.features.rows - start);
      pieces.push({ submission, start, rows });
      submission.taken += rows;
      room -= rows;
      if (submission.taken < submission.features.rows) break;
      emptied++;
    }
    queue.splice(0, emptied);
    if (reason !== 'alone') waitingRows -= maxRows - room;
    return pieces;
  }

  async function runBatch(reason: FlushReason, pieces: Piece[]): Promise<void> {
    const features = joinRows(pieces, width);
    const batch = observer.started({
      rows: features.rows,
      reason,
      waitSeconds: (clock.now() - pieces[0].submission.arrivedAt) / 1000,
      origins: pieces.flatMap(({ submission }) => submission.origin ?? []),
    });
    try {
      const predictions = await predictRows(predictor, features, batch);
      batch.finished(predictions);
      giveBack(pieces, predictions, batch);
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(messageOf(thrown));
      batch.finished(error);
      for (const { submission } of pieces) fail(submission, error);
    }
  }

  function giveBack(pieces: readonly Piece[], predictions: PredictionBatch, batch: BatchObservation): void {
    let offset = 0;
    for (const { submission, start, rows } of pieces) {
      const part = slicePredictions(predictions, offset, rows);
      offset += rows;
      const total = submission.features.rows;
      if (rows === total) {
        submission.predictions = part;
      } else {
        submission.predictions ??= emptyPredictions(total, categories);
        writePredictions(submission.predictions, start, part);
      }
      submission.predicted += rows;
      if (submission.predicted === total) submission.resolve({ predictions: submission.predictions, batch });
    }
  }

  /** Fails all of a submission: the rows of it that still wait are not run. */
  function fail(submission: Submission, error: Error): void {
    const queue = submission.alone ? waitingAlone : waiting;
    const index = queue.indexOf(submission);
    if (index >= 0) {
      queue.splice(index, 1);
      if (!submission.alone) waitingRows -= submission.features.rows - submission.taken;
    }
    submission.reject(error);
  }

  async function drain(): Promise<void> {
    draining = true;
    await new Promise<void>((resolve) => {
      whenIdle.push(resolve);
      pump();
    });
  }

  async function close(): Promise<void> {
    closed = true;
    await drain();
  }

  return { submit, drain, close };
}

/** One matrix of all pieces. A single piece is not copied, which is the common case for large chunks. */
function joinRows(pieces: readonly Piece[], width: number): FeatureMatrix {
  if (pieces.length === 1) {
    const [{ submission, start, rows }] = pieces;
    return sliceRows(submission.features, start, rows);
  }
  const rows = pieces.reduce((sum, piece) => sum + piece.rows, 0);
  const values = new Float32Array(rows * width);
  let offset = 0;
  for (const piece of pieces) {
    values.set(sliceRows(piece.submission.features, piece.start, piece.rows).values, offset);
    offset += piece.rows * width;
  }
  return { rows, width, values };
}
