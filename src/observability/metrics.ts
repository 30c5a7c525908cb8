import { Counter, Gauge, Histogram } from 'prom-client';
import type { BatchStart, JobObserver, ProductObserver, QueueDepth } from '../application/ports.ts';
import { type ModelInfo, NO_CATEGORY } from '../domain/category.ts';
import { describeKind } from '../domain/feature-space.ts';
import type { PredictionBatch } from '../domain/prediction.ts';
import { ArrayHistogram } from './array-histogram.ts';
import { createProcessMetrics, type ProcessMetrics } from './process-metrics.ts';

const BATCH_ROWS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536];
const WAIT_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];
const INFERENCE_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2];
const JOB_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 28800];
const CONFIDENCE = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.999, 1];

/** No space has a name with a blank. */
const OTHER_SPACES = 'all others';

export interface Metrics extends ProcessMetrics {
  readonly jobs: JobObserver;
  readonly products: ProductObserver;
  batchStarted(batch: BatchStart): void;
  batchPredicted(predictions: PredictionBatch): void;
  /** Around one run of the model. */
  timeInference<T>(run: () => Promise<T>): Promise<T>;
}

/**
 * @param sources.queueDepths read at scrape time, so that every replica tells the same; where it throws (Redis is
 *   away) the queue gauges are left out, as an old figure would lie
 */
export function createMetrics(sources: {
  readonly model: ModelInfo;
  /** The queue that the jobs come from. */
  readonly queue: string;
  readonly queueDepths: () => Promise<readonly QueueDepth[]>;
}): Metrics {
  const { model, queue: inputQueue, queueDepths } = sources;
  const { http, expose, registers } = createProcessMetrics(readQueues);

  const products = new Counter({
    name: 'categorizer_products_total',
    help: 'Products by what became of them.',
    labelNames: ['outcome'],
    registers,
  });
  for (const outcome of ['categorized', 'rejected']) products.inc({ outcome }, 0);
  const outside = new Counter({
    name: 'categorizer_products_outside_total',
    help: 'Categorized products that lie far outside of what the model was trained on.',
    registers,
  });
  outside.inc(0);
  const predictions = new Counter({
    name: 'categorizer_predictions_total',
    help: 'Predictions by category.',
    labelNames: ['category'],
    registers,
  });
  for (const { code } of model.categories) predictions.inc({ category: code }, 0);
  const batchRows = new Histogram({
    name: 'categorizer_batch_rows',
    help: 'Rows in a batch.',
    buckets: BATCH_ROWS,
    registers,
  });
  const batchWait = new Histogram({
    name: 'categorizer_batch_wait_seconds',
    help: 'How long the oldest row of a batch waited for others.',
    buckets: WAIT_SECONDS,
    registers,
  });
  const batchFlushes = new Counter({
    name: 'categorizer_batch_flushes_total',
    help: 'Batches by why they left: full, wait (the oldest row waited long enough), drain or alone.',
    labelNames: ['reason'],
    registers,
  });
  for (const reason of ['full', 'wait', 'drain', 'alone']) batchFlushes.inc({ reason }, 0);
  const inference = new Histogram({
    name: 'categorizer_inference_duration_seconds',
    help: 'Time of one run of the model.',
    buckets: INFERENCE_SECONDS,
    registers,
  });
  const jobDuration = new Histogram({
    name: 'categorizer_job_duration_seconds',
    help: 'From the moment a job was enqueued until its result was published.',
    buckets: JOB_SECONDS,
    registers,
  });
  const jobsFinished = new Counter({
    name: 'categorizer_jobs_finished_total',
    help: 'Attempts at jobs: completed, failed for good, or retried (failed, and tried again).',
    labelNames: ['queue', 'outcome'],
    registers,
  });
  for (const outcome of ['completed', 'failed', 'retried']) jobsFinished.inc({ queue: inputQueue, outcome }, 0);
  const jobsReturned = new Counter({
    name: 'categorizer_jobs_returned_total',
    help: 'Jobs given back for a worker with another model, by the feature space that they want, or the width.',
    labelNames: ['queue', 'space'],
    registers,
  });
  const returnedSpace = createBoundedLabel();
  jobsReturned.inc({ queue: inputQueue, space: OTHER_SPACES }, 0);
  const jobsStalled = new Counter({
    name: 'categorizer_jobs_stalled_total',
    help: 'Jobs taken from a worker that died or froze.',
    registers,
  });
  jobsStalled.inc(0);
  const confidence = new ArrayHistogram({
    name: 'categorizer_confidence',
    help: 'Probability of the chosen category.',
    buckets: CONFIDENCE,
    registers,
  });
  new Gauge({
    name: 'categorizer_model_info',
    help: 'The model in use; always 1.',
    labelNames: ['version', 'sha256'],
    registers,
  }).set({ version: model.version, sha256: model.sha256 }, 1);
  const trainingShare = new Gauge({
    name: 'categorizer_model_training_share',
    help: 'Share of a category in the data that the model was trained on, from its manifest.',
    labelNames: ['category'],
    registers,
  });
  for (const [category, share] of Object.entries(model.trainingShares ?? {})) trainingShare.set({ category }, share);
  const queueJobs = new Gauge({
    name: 'categorizer_queue_jobs',
    help: 'Jobs on a queue by state, read at scrape time; the same on every replica.',
    labelNames: ['queue', 'state'],
    registers,
  });
  const queueAge = new Gauge({
    name: 'categorizer_queue_oldest_waiting_age_seconds',
    help: 'Age of the oldest job that a worker could take now, read at scrape time; 0 where there is none.',
    labelNames: ['queue'],
    registers,
  });
  const queuePaused = new Gauge({
    name: 'categorizer_queue_paused',
    help: '1 while a queue is paused, read at scrape time.',
    labelNames: ['queue'],
    registers,
  });
  const queueWorkers = new Gauge({
    name: 'categorizer_queue_workers',
    help: 'Workers that are connected to a queue, read at scrape time.',
    labelNames: ['queue'],
    registers,
  });

  const queueMismatched = new Gauge({
    name: 'categorizer_queue_mismatched_jobs',
    help: 'Jobs that workers gave back because their model did not fit, read at scrape time; the same on every replica.',
    labelNames: ['queue', 'state'],
    registers,
  });

  async function readQueues(): Promise<void> {
    const depths = await queueDepths().catch(() => []);
    for (const gauge of [queueJobs, queueAge, queuePaused, queueWorkers, queueMismatched]) gauge.reset();
    for (const { queue, jobs, oldestWaitingAgeSeconds, paused, workers, mismatched = [] } of depths) {
      if (queue === inputQueue) {
        for (const state of ['waiting', 'delayed'] as const) {
          const count = mismatched.reduce((sum, kind) => sum + kind[state], 0);
          queueMismatched.set({ queue, state }, count);
        }
      }
      for (const [state, count] of Object.entries(jobs)) queueJobs.set({ queue, state }, count);
      queueAge.set({ queue }, oldestWaitingAgeSeconds);
      queuePaused.set({ queue }, Number(paused));
      // Nobody may look: no figure is better than a wrong one.
      if (workers !== undefined) queueWorkers.set({ queue }, workers);
    }
  }

  return {
    jobs: {
      finished({ queue, outcome, seconds }) {
        jobsFinished.inc({ queue, outcome });
        if (outcome === 'completed') jobDuration.observe(seconds);
      },
      returned: ({ queue, wanted }) => jobsReturned.inc({ queue, space: returnedSpace(describeKind(wanted)) }),
      stalled: () => jobsStalled.inc(),
    },
    products: {
      products: (outcome, count) => products.inc({ outcome }, count),
      outside: (count) => outside.inc(count),
    },
    http,
    expose,
    batchStarted({ rows, reason, waitSeconds }) {
      batchRows.observe(rows);
      batchWait.observe(waitSeconds);
      batchFlushes.inc({ reason });
    },
    batchPredicted({ rows, categoryIndexes, confidences }) {
      const counts = new Uint32Array(model.categories.length);
      for (let row = 0; row < rows; row++) {
        if (categoryIndexes[row] !== NO_CATEGORY) counts[categoryIndexes[row]]++;
      }
      confidence.observeAll(confidences);
      model.categories.forEach(({ code }, i) => {
        predictions.inc({ category: code }, counts[i]);
      });
    },
    async timeInference(run) {
      const stop = inference.startTimer();
      try {
        return await run();
      } finally {
        stop();
      }
    },
  };
}

/** Jobs on the queue may name any number of spaces, and each would be a series for ever: the first 20 have their own. */
function createBoundedLabel(most = 20): (label: string) => string {
  const known = new Set<string>();
  return (label) => {
    if (known.size < most) known.add(label);
    return known.has(label) ? label : OTHER_SPACES;
  };
}
