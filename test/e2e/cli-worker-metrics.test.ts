import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { ask, postPredict, scrape } from '../support/cli-http.ts';
import { PATIENCE } from '../support/cli-live.ts';
import { type Exposition, sampleValue } from '../support/cli-metrics.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createProducer, untilDone } from '../support/load.ts';
import { startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, WIDTH } from '../support/products.ts';

const IN = 'product-categorization';
const OUT = 'product-categories';
const CATEGORIES = ['AUTOPECAS', 'INFORMATICA', 'MATERIAL_CONSTRUCAO'];

/** Name, type and labels, as the dashboards and rules need them. */
const METRICS: readonly (readonly [string, string, readonly string[]])[] = [
  ['products_total', 'counter', ['outcome']],
  ['predictions_total', 'counter', ['category']],
  ['batch_rows', 'histogram', []],
  ['batch_wait_seconds', 'histogram', []],
  ['batch_flushes_total', 'counter', ['reason']],
  ['inference_duration_seconds', 'histogram', []],
  ['job_duration_seconds', 'histogram', []],
  ['jobs_finished_total', 'counter', ['queue', 'outcome']],
  ['jobs_stalled_total', 'counter', []],
  ['queue_jobs', 'gauge', ['queue', 'state']],
  ['queue_oldest_waiting_age_seconds', 'gauge', ['queue']],
  ['confidence', 'histogram', []],
  ['model_info', 'gauge', ['version', 'sha256']],
  ['http_requests_total', 'counter', ['path', 'method', 'status']],
  ['http_request_duration_seconds', 'histogram', ['path', 'method']],
];

let queues: Queues;
let worker: WorkerProcess;
let metrics: Exposition;

beforeAll(async () => {
  queues = openQueues(inject('redisUrl'));
  worker = await startWorker(queues.env);
  const producer = createProducer(queues.env.REDIS_URL, queues.prefix);
  const bad = { productId: 'bad', features: [1] };
  await producer.addChunks([...makeProducts(30), bad], 31, 'chunk');
  await producer.addOneByOne([...makeProducts(6), bad], 'ones');
  await untilDone(producer.queue);
  await producer.close();
  // A worker hears of the end of its jobs a moment later than Redis.
  await vi.waitFor(async () => {
    expect(sampleValue(await scrape(worker), 'categorizer_job_duration_seconds_count')).toBe(7);
  }, PATIENCE);
  await postPredict(worker, { features: Array.from({ length: WIDTH }, () => 3) });
  await Promise.all([
    ask(worker, '/predict', { method: 'POST', body: '{' }),
    ask(worker, '/predict', { method: 'POST', body: ' '.repeat(2 << 20) }),
    ask(worker, '/predict?secret=1', { method: 'POST', body: '[]' }),
    ask(worker, '/secret/path'),
    ask(worker, '/secret', { method: 'POST', body: '{}' }),
    ask(worker, '/healthz?secret=1'),
    ask(worker, '/readyz'),
    fetch(`${worker.url}/metrics?secret=1`),
  ]);
  metrics = await scrape(worker);
});
afterAll(async () => {
  worker.kill('SIGTERM');
  await worker.ended;
  await queues.close();
});

const value = (name: string, labels: Record<string, string> = {}) =>
  sampleValue(metrics, `categorizer_${name}`, labels);

describe('GET /metrics', () => {
  it('has the content type of the text format', async () => {
    const response = await fetch(`${worker.url}/metrics`);
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  });

  it.each(METRICS)('has categorizer_%s, a %s with the labels [%s]', (name, type, labels) => {
    expect(metrics.types.get(`categorizer_${name}`)).toBe(type);
    const suffix = type === 'histogram' ? '_count' : '';
    const samples = metrics.samples.filter((sample) => sample.name === `categorizer_${name}${suffix}`);
    expect(samples).not.toEqual([]);
    for (const sample of samples) expect(Object.keys(sample.labels).sort()).toEqual([...labels].sort());
  });

  it('has no sample without a type, and none twice', () => {
    const families = [...metrics.types.keys()];
    const untyped = metrics.samples.filter(
      ({ name }) => !families.includes(name) && !families.includes(name.replace(/_(bucket|sum|count)$/, '')),
    );
    expect(untyped).toEqual([]);
    const identities = metrics.samples.map(({ name, labels }) => `${name} ${JSON.stringify(labels)}`);
    expect(new Set(identities).size).toBe(identities.length);
  });

  it('has Node’s own, the lag of the event loop among them', () => {
    expect(metrics.types.get('nodejs_eventloop_lag_seconds')).toBe('gauge');
    expect(sampleValue(metrics, 'process_resident_memory_bytes')).toBeGreaterThan(0);
  });

  it('counts products, predictions and jobs by what became of them', () => {
    expect(value('products_total', { outcome: 'categorized' })).toBe(37);
    // One in the chunk, one with a job of its own. The bodies that held no product do not count.
    expect(value('products_total', { outcome: 'rejected' })).toBe(2);
    expect(CATEGORIES.map((category) => value('predictions_total', { category }))).toEqual([12, 13, 12]);
    expect(value('jobs_finished_total', { queue: IN, outcome: 'completed' })).toBe(7);
    expect(value('jobs_finished_total', { queue: IN, outcome: 'failed' })).toBe(1);
    expect(value('job_duration_seconds_count')).toBe(7);
    expect(value('jobs_stalled_total')).toBe(0);
  });

  it('counts batches consistently', () => {
    expect(value('batch_rows_sum')).toBe(37);
    const batches = value('batch_rows_count');
    expect(value('batch_wait_seconds_count')).toBe(batches);
    const reasons = ['full', 'wait', 'drain', 'alone'].map((reason) => value('batch_flushes_total', { reason }));
    expect(reasons.reduce((sum, count) => sum + count, 0)).toBe(batches);
    expect(value('inference_duration_seconds_count')).toBe(batches);
    expect(value('confidence_count')).toBe(37);
  });

  it('tells the depth of both queues', () => {
    expect(value('queue_jobs', { queue: IN, state: 'waiting' })).toBe(0);
    expect(value('queue_jobs', { queue: IN, state: 'failed' })).toBe(1);
    expect(value('queue_jobs', { queue: OUT, state: 'waiting' })).toBe(7);
    expect(value('queue_oldest_waiting_age_seconds', { queue: IN })).toBe(0);
    expect(value('queue_oldest_waiting_age_seconds', { queue: OUT })).toBeGreaterThan(0);
  });

  it('names the model', async () => {
    const { version, sha256 } = JSON.parse(await readFile('model/manifest.json', 'utf8'));
    expect(value('model_info', { version, sha256 })).toBe(1);
  });

  it('counts requests under their route, and never under a URL', () => {
    const requests = metrics.samples.filter(({ name }) => name === 'categorizer_http_requests_total');
    const routes = new Set(requests.map(({ labels }) => labels.path));
    expect([...routes].sort()).toEqual(['/healthz', '/metrics', '/predict', '/readyz', 'other']);
    expect(value('http_requests_total', { path: '/predict', method: 'POST', status: '200' })).toBe(1);
    expect(value('http_requests_total', { path: '/predict', method: 'POST', status: '400' })).toBe(2);
    expect(value('http_requests_total', { path: '/predict', method: 'POST', status: '413' })).toBe(1);
    expect(value('http_requests_total', { path: 'other', method: 'GET', status: '404' })).toBe(1);
    expect(value('http_requests_total', { path: 'other', method: 'POST', status: '404' })).toBe(1);
    const values = metrics.samples.flatMap(({ labels }) => Object.values(labels));
    expect(values.filter((label) => label.includes('secret'))).toEqual([]);
  });
});
