import { describe, expect, it } from 'vitest';
import type { QueueDepth } from '../../src/application/ports.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { emptyPredictions } from '../../src/domain/prediction.ts';
import { createMetrics } from '../../src/observability/metrics.ts';

const MODEL = {
  name: 'fake',
  version: '1.2.3',
  sha256: 'ab'.repeat(32),
  width: 2,
  space: 'fake-2',
  categories: [
    { code: 'A', name: 'Category A' },
    { code: 'B', name: 'Category B' },
  ],
  trainingShares: { A: 0.75, B: 0.25 },
};

const DEPTHS: readonly QueueDepth[] = [
  {
    queue: 'product-categorization',
    jobs: { waiting: 7, active: 2, delayed: 1, prioritized: 0, failed: 3, completed: 100 },
    oldestWaitingAgeSeconds: 12.5,
    paused: true,
    workers: 3,
    mismatched: [
      { space: 'other', width: 2, waiting: 1, delayed: 4 },
      { width: 3, waiting: 0, delayed: 2 },
    ],
  },
  {
    queue: 'product-categories',
    jobs: { waiting: 4, active: 0, delayed: 0, prioritized: 0, failed: 0, completed: 0 },
    oldestWaitingAgeSeconds: 0,
    paused: false,
    workers: 0,
  },
];

function setUp(queueDepths: () => Promise<readonly QueueDepth[]> = async () => DEPTHS) {
  const metrics = createMetrics({ model: MODEL, queue: 'product-categorization', queueDepths });
  return { metrics, scrape: async () => parse((await metrics.expose()).text) };
}

interface Exposition {
  readonly text: string;
  /** Metric name to its type. */
  readonly types: ReadonlyMap<string, string>;
  /** `name{labels}` to its value. */
  readonly samples: ReadonlyMap<string, number>;
  /** Names of the samples that start with this. */
  starting(prefix: string): string[];
}

function parse(text: string): Exposition {
  const types = new Map<string, string>();
  const samples = new Map<string, number>();
  for (const line of text.split('\n')) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (type) types.set(type[1], type[2]);
    const sample = /^([^#\s][^{\s]*(?:\{.*\})?) (\S+)$/.exec(line);
    if (sample) samples.set(sample[1], Number(sample[2]));
  }
  return { text, types, samples, starting: (prefix) => [...samples.keys()].filter((name) => name.startsWith(prefix)) };
}

function predictions(rows: readonly { readonly category: number; readonly confidence: number }[]) {
  const batch = emptyPredictions(rows.length, MODEL.categories.length);
  rows.forEach(({ category, confidence }, row) => {
    batch.categoryIndexes[row] = category;
    batch.confidences[row] = confidence;
  });
  return batch;
}

describe('the exposition', () => {
  it('has every metric of the program, with its type', async () => {
    const { types } = await setUp().scrape();
    const ours = [...types].filter(([name]) => name.startsWith('categorizer_'));
    expect(Object.fromEntries(ours)).toEqual({
      categorizer_products_total: 'counter',
      categorizer_products_outside_total: 'counter',
      categorizer_jobs_returned_total: 'counter',
      categorizer_queue_mismatched_jobs: 'gauge',
      categorizer_predictions_total: 'counter',
      categorizer_batch_rows: 'histogram',
      categorizer_batch_wait_seconds: 'histogram',
      categorizer_batch_flushes_total: 'counter',
      categorizer_inference_duration_seconds: 'histogram',
      categorizer_job_duration_seconds: 'histogram',
      categorizer_jobs_finished_total: 'counter',
      categorizer_jobs_stalled_total: 'counter',
      categorizer_queue_jobs: 'gauge',
      categorizer_queue_oldest_waiting_age_seconds: 'gauge',
      categorizer_queue_paused: 'gauge',
      categorizer_queue_workers: 'gauge',
      categorizer_confidence: 'histogram',
      categorizer_model_info: 'gauge',
      categorizer_model_training_share: 'gauge',
      categorizer_http_requests_total: 'counter',
      categorizer_http_request_duration_seconds: 'histogram',
    });
  });

  it("has Node's own metrics, the lag of the event loop among them", async () => {
    const { types } = await setUp().scrape();
    expect(types.has('nodejs_eventloop_lag_seconds')).toBe(true);
    expect(types.has('process_resident_memory_bytes')).toBe(true);
  });

  it('has no gauge whose name ends in _total, and no counter whose name does not', async () => {
    const { types } = await setUp().scrape();
    for (const [name, type] of types) expect(name.endsWith('_total'), `${name} ${type}`).toBe(type === 'counter');
  });

  it('explains every metric once', async () => {
    const { text, types } = await setUp().scrape();
    const explained = [...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map(([, name]) => name);
    expect(explained).toEqual([...types.keys()]);
    expect(new Set(explained).size).toBe(explained.length);
  });

  it('says its content type', async () => {
    const { contentType } = await setUp().metrics.expose();
    expect(contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
  });

  it('names the model, with 1 as its value', async () => {
    const { samples } = await setUp().scrape();
    expect(samples.get(`categorizer_model_info{version="1.2.3",sha256="${MODEL.sha256}"}`)).toBe(1);
  });

  it('has the shares of the training, by category', async () => {
    const { samples } = await setUp().scrape();
    expect(samples.get('categorizer_model_training_share{category="A"}')).toBe(0.75);
    expect(samples.get('categorizer_model_training_share{category="B"}')).toBe(0.25);
  });

  it('starts its counters at 0, so that a first increase can be seen', async () => {
    const { samples } = await setUp().scrape();
    for (const name of [
      'categorizer_products_total{outcome="categorized"}',
      'categorizer_products_total{outcome="rejected"}',
      'categorizer_predictions_total{category="A"}',
      'categorizer_predictions_total{category="B"}',
      ...['full', 'wait', 'drain', 'alone'].map((reason) => `categorizer_batch_flushes_total{reason="${reason}"}`),
      'categorizer_jobs_stalled_total',
      'categorizer_products_outside_total',
      'categorizer_jobs_returned_total{queue="product-categorization",space="all others"}',
      ...['completed', 'failed', 'retried'].map(
        (outcome) => `categorizer_jobs_finished_total{queue="product-categorization",outcome="${outcome}"}`,
      ),
    ]) {
      expect(samples.get(name), name).toBe(0);
    }
  });

  it('of two workers in one process is kept apart', async () => {
    const [first, second] = [setUp(), setUp()];
    first.metrics.products.products('categorized', 5);
    expect((await second.scrape()).samples.get('categorizer_products_total{outcome="categorized"}')).toBe(0);
  });
});

describe('what is counted', () => {
  it('is jobs for another model by what they want, with no more than 20 spaces of their own', async () => {
    const { metrics, scrape } = setUp();
    const give = (wanted: object) => metrics.jobs.returned({ queue: 'product-categorization', jobId: '1', wanted });
    give({ space: 'night', width: 2 });
    give({ space: 'night', width: 2 });
    give({ width: 3 });
    for (let i = 0; i < 100; i++) give({ space: `made-up-${i}` });
    const { samples, starting } = await scrape();
    const of = (space: string) =>
      samples.get(`categorizer_jobs_returned_total{queue="product-categorization",space="${space}"}`);
    expect([of('night'), of('width 3'), of('all others')]).toEqual([2, 1, 82]);
    expect(starting('categorizer_jobs_returned_total')).toHaveLength(21);
    expect(samples.get('categorizer_queue_mismatched_jobs{queue="product-categorization",state="waiting"}')).toBe(1);
    expect(samples.get('categorizer_queue_mismatched_jobs{queue="product-categorization",state="delayed"}')).toBe(6);
  });

  it('is categorized products far outside of what the model was trained on', async () => {
    const { metrics, scrape } = setUp();
    metrics.products.outside(3);
    expect((await scrape()).samples.get('categorizer_products_outside_total')).toBe(3);
  });

  it('is products by outcome', async () => {
    const { metrics, scrape } = setUp();
    metrics.products.products('categorized', 5);
    metrics.products.products('categorized', 2);
    metrics.products.products('rejected', 1);
    const { samples } = await scrape();
    expect(samples.get('categorizer_products_total{outcome="categorized"}')).toBe(7);
    expect(samples.get('categorizer_products_total{outcome="rejected"}')).toBe(1);
  });

  it('is predictions by category with their confidence, and no row that has no category', async () => {
    const { metrics, scrape } = setUp();
    metrics.batchPredicted(
      predictions([
        { category: 1, confidence: 0.95 },
        { category: NO_CATEGORY, confidence: Number.NaN },
        { category: 1, confidence: 0.55 },
        { category: 0, confidence: 1 },
      ]),
    );
    const { samples } = await scrape();
    expect(samples.get('categorizer_predictions_total{category="A"}')).toBe(1);
    expect(samples.get('categorizer_predictions_total{category="B"}')).toBe(2);
    expect(samples.get('categorizer_confidence_count')).toBe(3);
    expect(samples.get('categorizer_confidence_sum')).toBeCloseTo(2.5, 5);
    expect(samples.get('categorizer_confidence_bucket{le="0.6"}')).toBe(1);
  });

  it('is the confidence of every batch, in buckets each of which holds those below it, and the last of which all', async () => {
    const { metrics, scrape } = setUp();
    for (const confidence of [0.25, 0.3, 0.85, 0.9999])
      metrics.batchPredicted(predictions([{ category: 0, confidence }]));
    const { samples, starting } = await scrape();
    const buckets = starting('categorizer_confidence_bucket');
    const counts = buckets.map((name) => samples.get(name) ?? Number.NaN);
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    expect(buckets.at(-1)).toBe('categorizer_confidence_bucket{le="+Inf"}');
    expect(counts.at(-1)).toBe(4);
    expect(samples.get('categorizer_confidence_count')).toBe(4);
    expect(samples.get('categorizer_confidence_bucket{le="0.4"}')).toBe(2);
    expect(samples.get('categorizer_confidence_bucket{le="0.999"}')).toBe(3);
    expect(samples.get('categorizer_confidence_bucket{le="1"}')).toBe(4);
  });

  it('is batches, with their rows, their wait and why they left', async () => {
    const { metrics, scrape } = setUp();
    metrics.batchStarted({ rows: 4096, reason: 'full', waitSeconds: 0.002, origins: [] });
    metrics.batchStarted({ rows: 1, reason: 'wait', waitSeconds: 0.005, origins: [] });
    const { samples } = await scrape();
    expect(samples.get('categorizer_batch_rows_count')).toBe(2);
    expect(samples.get('categorizer_batch_rows_sum')).toBe(4097);
    expect(samples.get('categorizer_batch_rows_bucket{le="1"}')).toBe(1);
    expect(samples.get('categorizer_batch_wait_seconds_sum')).toBeCloseTo(0.007, 9);
    expect(samples.get('categorizer_batch_flushes_total{reason="full"}')).toBe(1);
    expect(samples.get('categorizer_batch_flushes_total{reason="wait"}')).toBe(1);
    expect(samples.get('categorizer_batch_flushes_total{reason="drain"}')).toBe(0);
  });

  it('is every run of the model, the one that fails too', async () => {
    const { metrics, scrape } = setUp();
    expect(await metrics.timeInference(async () => 7)).toBe(7);
    const failure = new Error('the model failed');
    await expect(metrics.timeInference(() => Promise.reject(failure))).rejects.toBe(failure);
    expect((await scrape()).samples.get('categorizer_inference_duration_seconds_count')).toBe(2);
  });

  it('is attempts at jobs by outcome; only those that completed have a duration', async () => {
    const { metrics, scrape } = setUp();
    const job = { queue: 'in', jobId: '1', seconds: 2 };
    metrics.jobs.finished({ ...job, outcome: 'completed' });
    metrics.jobs.finished({ ...job, outcome: 'retried' });
    metrics.jobs.finished({ ...job, outcome: 'retried' });
    metrics.jobs.finished({ ...job, outcome: 'failed' });
    metrics.jobs.stalled({ queue: 'in', jobId: '1' });
    const { samples } = await scrape();
    expect(samples.get('categorizer_jobs_finished_total{queue="in",outcome="completed"}')).toBe(1);
    expect(samples.get('categorizer_jobs_finished_total{queue="in",outcome="retried"}')).toBe(2);
    expect(samples.get('categorizer_jobs_finished_total{queue="in",outcome="failed"}')).toBe(1);
    expect(samples.get('categorizer_job_duration_seconds_count')).toBe(1);
    expect(samples.get('categorizer_job_duration_seconds_sum')).toBe(2);
    expect(samples.get('categorizer_jobs_stalled_total')).toBe(1);
  });

  it('is HTTP requests by route, method and status', async () => {
    const { metrics, scrape } = setUp();
    const request = { path: '/predict', method: 'POST', seconds: 0.01 };
    metrics.http.answered({ ...request, status: 200 });
    metrics.http.answered({ ...request, status: 400 });
    const { samples } = await scrape();
    expect(samples.get('categorizer_http_requests_total{path="/predict",method="POST",status="200"}')).toBe(1);
    expect(samples.get('categorizer_http_requests_total{path="/predict",method="POST",status="400"}')).toBe(1);
    expect(samples.get('categorizer_http_request_duration_seconds_count{path="/predict",method="POST"}')).toBe(2);
  });
});

describe('the gauges of the queues', () => {
  it('are read anew at every scrape', async () => {
    let waiting = 1;
    const [input] = DEPTHS;
    const { scrape } = setUp(async () => [{ ...input, jobs: { ...input.jobs, waiting: waiting++ } }]);
    const name = 'categorizer_queue_jobs{queue="product-categorization",state="waiting"}';
    expect((await scrape()).samples.get(name)).toBe(1);
    expect((await scrape()).samples.get(name)).toBe(2);
  });

  it('have a sample for each queue and state, and the age of the oldest job that waits', async () => {
    const { samples, starting } = await setUp().scrape();
    expect(starting('categorizer_queue_jobs')).toHaveLength(12);
    expect(samples.get('categorizer_queue_jobs{queue="product-categorization",state="failed"}')).toBe(3);
    expect(samples.get('categorizer_queue_jobs{queue="product-categories",state="waiting"}')).toBe(4);
    expect(samples.get('categorizer_queue_oldest_waiting_age_seconds{queue="product-categorization"}')).toBe(12.5);
    expect(samples.get('categorizer_queue_oldest_waiting_age_seconds{queue="product-categories"}')).toBe(0);
    expect(samples.get('categorizer_queue_paused{queue="product-categorization"}')).toBe(1);
    expect(samples.get('categorizer_queue_paused{queue="product-categories"}')).toBe(0);
    expect(samples.get('categorizer_queue_workers{queue="product-categorization"}')).toBe(3);
  });

  it('are left out while Redis is away, as an old figure would lie; everything else stays', async () => {
    let away = false;
    const { metrics, scrape } = setUp(async () => {
      if (away) throw new CategorizerError('REDIS_UNAVAILABLE', 'Redis went away');
      return DEPTHS;
    });
    metrics.products.products('categorized', 5);
    expect((await scrape()).starting('categorizer_queue_')).not.toEqual([]);
    away = true;
    const { starting, samples } = await scrape();
    expect(starting('categorizer_queue_')).toEqual([]);
    expect(samples.get('categorizer_products_total{outcome="categorized"}')).toBe(5);
    away = false;
    expect((await scrape()).starting('categorizer_queue_')).not.toEqual([]);
  });

  it('are whole in every scrape of several at once', async () => {
    const { scrape } = setUp();
    const scrapes = await Promise.all([scrape(), scrape(), scrape()]);
    expect(scrapes.map(({ starting }) => starting('categorizer_queue_').length)).toEqual([20, 20, 20]);
  });
});
