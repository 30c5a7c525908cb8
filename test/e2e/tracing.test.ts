import { once } from 'node:events';
import { createServer } from 'node:net';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { JOB_OPTIONS, PRODUCT_JOB, PRODUCT_QUEUE, RESULT_QUEUE } from '../../src/contract/index.ts';
import { makeModelDirectory, readFixture, tableGolden } from '../support/model-directory.ts';
import { connectionsIn, jsonLines, RECORD_CONNECTIONS } from '../support/otlp-connections.ts';
import { OTLP_KIND, OTLP_STATUS, type OtlpSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';
import { type Environment, runCli, startWorker } from '../support/processes.ts';
import { makeProducts, uniquePrefix } from '../support/products.ts';

const SEND = `send ${PRODUCT_QUEUE}`;
const PROCESS = `process ${PRODUCT_QUEUE}`;

let environment: Environment;
let results: Queue;
let products: Queue;
beforeEach(() => {
  const prefix = uniquePrefix();
  environment = { REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: prefix };
  const connection = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  results = new Queue(RESULT_QUEUE, { connection, prefix });
  products = new Queue(PRODUCT_QUEUE, { connection, prefix, defaultJobOptions: { ...JOB_OPTIONS } });
  return async () => {
    await results.close();
    await products.close();
    connection.disconnect();
  };
});

async function startReceiver() {
  const receiver = await startOtlpReceiver();
  onTestFinished(receiver.close);
  return receiver;
}

/** Sends soon, so that a test need not wait. */
function tracedTo(url: string): Environment {
  return { ...environment, OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_BSP_SCHEDULE_DELAY: '50' };
}

async function startTestWorker(env: Environment) {
  const worker = await startWorker(env);
  onTestFinished(async () => {
    worker.kill('SIGKILL');
    await worker.ended;
  });
  return worker;
}

function jsonLinesOf(count: number): string {
  return makeProducts(count)
    .map((product) => `${JSON.stringify(product)}\n`)
    .join('');
}

async function enqueue(count: number, chunkSize: number, env: Environment): Promise<void> {
  const args = ['enqueue', '-', '--run', 'run', '--chunk-size', `${chunkSize}`];
  const { code, stderr } = await runCli(args, { env, input: jsonLinesOf(count) });
  expect(code, stderr).toBe(0);
}

const named = (spans: readonly OtlpSpan[], name: string) => spans.filter((span) => span.name === name);

function sum(spans: readonly OtlpSpan[], attribute: string): number {
  return spans.reduce((total, { attributes }) => total + Number(attributes[attribute]), 0);
}

const distinct = (values: readonly unknown[]) => new Set(values).size;

describe('an import', () => {
  it('of 20 chunks is 20 traces of one span each, and not one trace', async () => {
    const receiver = await startReceiver();
    await enqueue(200, 10, { ...tracedTo(receiver.url), OTEL_SERVICE_NAME: 'night-import' });
    expect(receiver.spans).toHaveLength(20);
    expect(distinct(receiver.spans.map(({ traceId }) => traceId))).toBe(20);
    for (const span of receiver.spans) {
      expect(span).toMatchObject({
        name: SEND,
        kind: OTLP_KIND.producer,
        parentSpanId: undefined,
        status: { code: OTLP_STATUS.unset },
        resource: { 'service.name': 'night-import' },
        attributes: {
          'messaging.system': 'bullmq',
          'messaging.destination.name': PRODUCT_QUEUE,
          'messaging.operation.type': 'send',
          'messaging.batch.message_count': 1,
        },
      });
    }
  });

  it('sends its last span before it ends, though the exporter would wait longer', async () => {
    const receiver = await startReceiver();
    await enqueue(10, 10, { ...tracedTo(receiver.url), OTEL_BSP_SCHEDULE_DELAY: '600000' });
    expect(receiver.spans).toMatchObject([{ name: SEND }]);
  });
});

describe('a batch', () => {
  it('is one span with links to the sends its jobs came with, and children for model and results', async () => {
    const receiver = await startReceiver();
    await enqueue(3000, 500, tracedTo(receiver.url));
    const sent = named(receiver.spans, SEND);
    expect(sent).toHaveLength(6);

    const worker = await startTestWorker({ ...tracedTo(receiver.url), BATCH_MAX_WAIT_MS: '20' });
    await receiver.until((spans) => sum(named(spans, 'publish'), 'messaging.batch.message_count') >= 6);
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);

    const batches = named(receiver.spans, PROCESS);
    expect(sum(batches, 'categorizer.batch.rows')).toBe(3000);
    expect(sum(batches, 'messaging.batch.message_count')).toBeGreaterThanOrEqual(6);
    const producers = new Set(sent.map(({ traceId, spanId }) => `${traceId}/${spanId}`));
    const linked = new Set<string>();
    for (const { kind, parentSpanId, links, attributes, status, traceId } of batches) {
      expect({ kind, parentSpanId, status: status.code }).toEqual({
        kind: OTLP_KIND.consumer,
        parentSpanId: undefined,
        status: OTLP_STATUS.unset,
      });
      expect(attributes).toMatchObject({
        'messaging.system': 'bullmq',
        'messaging.destination.name': PRODUCT_QUEUE,
        'messaging.operation.type': 'process',
      });
      // The jobs of one round trip share a link.
      const targets = links.map((link) => `${link.traceId}/${link.spanId}`);
      expect(targets.length).toBeGreaterThanOrEqual(1);
      expect(targets.length).toBeLessThanOrEqual(6);
      expect(distinct(targets)).toBe(targets.length);
      for (const target of targets) {
        expect(producers).toContain(target);
        linked.add(target);
      }
      const children = receiver.spans.filter((span) => span.traceId === traceId && span.parentSpanId !== undefined);
      expect(children.map(({ name }) => name).toSorted()).toEqual(['predict', 'publish']);
    }
    expect(linked.size, 'every send is linked from a batch').toBe(6);
    expect(distinct(batches.map(({ traceId }) => traceId)), 'a trace each').toBe(batches.length);
    expect(batches.some(({ attributes }) => Number(attributes['categorizer.batch.rows']) > 1)).toBe(true);
  });

  it('has at most 128 links, of as many round trips as there were', async () => {
    const receiver = await startReceiver();
    await products.addBulk(
      makeProducts(400).map((product, i) => ({
        name: PRODUCT_JOB,
        data: product,
        opts: { telemetry: { metadata: traceparent(i + 1) } },
      })),
    );
    await startTestWorker({ ...tracedTo(receiver.url), BATCH_MAX_WAIT_MS: '2000', BATCH_MAX_ROWS: '400' });
    const spans = await receiver.until((all) => named(all, PROCESS).length > 0);
    const [batch] = named(spans, PROCESS);
    expect(batch.attributes).toMatchObject({ 'categorizer.batch.rows': 400, 'messaging.batch.message_count': 400 });
    expect(distinct(batch.links.map(({ traceId }) => traceId))).toBe(128);
    expect(batch.droppedLinks).toBe(0);
  });

  it('of jobs without a trace, or with one that cannot be read, has no links, and the jobs are done', async () => {
    const receiver = await startReceiver();
    const traces = [undefined, 'text', '{"traceparent":"00-nonsense"}', '[]'];
    await products.addBulk(
      makeProducts(traces.length).map((product, i) => ({
        name: PRODUCT_JOB,
        data: product,
        opts: { telemetry: traces[i] === undefined ? undefined : { metadata: traces[i] } },
      })),
    );
    await startTestWorker({ ...tracedTo(receiver.url), BATCH_MAX_WAIT_MS: '500' });
    const spans = await receiver.until((all) => sum(named(all, 'publish'), 'messaging.batch.message_count') >= 4);
    expect(named(spans, PROCESS).flatMap(({ links }) => links)).toEqual([]);
    expect(await results.getWaitingCount()).toBe(4);
  });

  it('that fails has an error with its code; so has its run of the model, and nothing was published', async () => {
    const receiver = await startReceiver();
    const model = makeModelDirectory({ onnx: readFixture('fails-on-zeros'), golden: tableGolden(10) });
    onTestFinished(model.remove);
    await products.add(PRODUCT_JOB, { productId: 'P1', features: [0, 0] });
    await startTestWorker({ ...tracedTo(receiver.url), MODEL_PATH: model.modelPath });
    const spans = await receiver.until((all) => named(all, PROCESS).length > 0 && named(all, 'predict').length > 0);
    const [batch] = named(spans, PROCESS);
    expect(batch.status.code).toBe(OTLP_STATUS.error);
    expect(batch.attributes['error.type']).toBe('PREDICTOR_UNAVAILABLE');
    const [run] = named(spans, 'predict');
    expect(run).toMatchObject({ parentSpanId: batch.spanId, status: { code: OTLP_STATUS.error } });
    expect(named(spans, 'publish')).toEqual([]);
  });
});

function traceparent(number: number): string {
  return JSON.stringify({ traceparent: `00-${number.toString(16).padStart(32, '0')}-b7ad6b7169203331-01` });
}

describe('the receiver', () => {
  it('gets traces at the path below its address, and never metrics or logs, though the variables ask for them', async () => {
    const receiver = await startReceiver();
    const env = {
      ...tracedTo(`${receiver.url}/otlp`),
      OTEL_METRICS_EXPORTER: 'otlp',
      OTEL_METRIC_EXPORT_INTERVAL: '50',
      OTEL_LOGS_EXPORTER: 'otlp',
      OTEL_BLRP_SCHEDULE_DELAY: '50',
    };
    await enqueue(10, 10, env);
    const worker = await startTestWorker(env);
    await receiver.until((spans) => named(spans, 'publish').length > 0);
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    expect(new Set(receiver.paths)).toEqual(new Set(['/otlp/v1/traces']));
  });
});

describe('without the variable', () => {
  it('no connection is tried but those to Redis, by an import and by a worker', async () => {
    const env = { ...environment, ...RECORD_CONNECTIONS };
    const redisPort = new URL(inject('redisUrl')).port;
    const { code, stderr } = await runCli(['enqueue', '-', '--run', 'run'], { env, input: jsonLinesOf(10) });
    expect(code).toBe(0);
    expect(connectionsIn(jsonLines(stderr))).toEqual([redisPort]);

    const worker = await startTestWorker(env);
    await untilPublished(1);
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    expect(connectionsIn(worker.log())).toEqual([redisPort]);
  });

  it('an empty one counts as not set, and other variables of tracing do not start it', async () => {
    const receiver = await startReceiver();
    const env = {
      ...environment,
      ...RECORD_CONNECTIONS,
      OTEL_EXPORTER_OTLP_ENDPOINT: '',
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.url}/v1/traces`,
      OTEL_TRACES_EXPORTER: 'otlp',
    };
    const { code, stderr } = await runCli(['enqueue', '-', '--run', 'run'], { env, input: jsonLinesOf(10) });
    expect(code).toBe(0);
    expect(connectionsIn(jsonLines(stderr))).toEqual([new URL(inject('redisUrl')).port]);
    expect(receiver.paths).toEqual([]);
  });

  it('the jobs carry no trace context', async () => {
    await enqueue(10, 10, environment);
    const [job] = await products.getJobs(['waiting']);
    expect(job.opts.telemetry).toBeUndefined();
  });

  it('nobody who listens where collectors usually do hears anything', async () => {
    const heard = await listenOnDefaultPort();
    await enqueue(10, 10, environment);
    const worker = await startTestWorker(environment);
    await untilPublished(1);
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    expect(heard).toEqual([]);
  });
});

/** Whoever connects to port 4318. Where it is taken by another program, nobody can be heard on it. */
async function listenOnDefaultPort(): Promise<string[]> {
  const heard: string[] = [];
  const server = createServer((socket) => {
    heard.push(`a connection from ${socket.remotePort}`);
    socket.destroy();
  });
  const listening = once(server, 'listening').then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') return false;
      throw error;
    },
  );
  server.listen(4318, '127.0.0.1');
  if (await listening) onTestFinished(() => void server.close());
  return heard;
}

async function untilPublished(count: number): Promise<void> {
  await vi.waitFor(async () => expect(await results.getWaitingCount()).toBe(count), { timeout: 30_000 });
}
