import { context, propagation, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BatchStart, Origin } from '../../src/application/ports.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { emptyPredictions } from '../../src/domain/prediction.ts';
import { createBatchObserver } from '../../src/observability/batch-observer.ts';
import { createMetrics } from '../../src/observability/metrics.ts';
import { enqueueTracer, startBatchSpan, startTracing } from '../../src/observability/tracing.ts';
import { createFakeLogger } from '../support/fake-observers.ts';
import { FAKE_MODEL } from '../support/fake-predictor.ts';
import {
  OTLP_KIND,
  OTLP_STATUS,
  type OtlpReceiver,
  type OtlpSpan,
  startOtlpReceiver,
} from '../support/otlp-receiver.ts';

const ENDPOINT = 'OTEL_EXPORTER_OTLP_ENDPOINT';
const SEND_AT_ONCE = 'OTEL_BSP_SCHEDULE_DELAY';

let receiver: OtlpReceiver;
let stop: (() => Promise<void>) | undefined;
beforeAll(async () => {
  receiver = await startOtlpReceiver();
  // The exporter reads these itself.
  process.env[ENDPOINT] = receiver.url;
  process.env[SEND_AT_ONCE] = '10';
  stop = await startTracing({ endpoint: receiver.url, serviceName: 'tests' });
});
afterAll(async () => {
  delete process.env[ENDPOINT];
  delete process.env[SEND_AT_ONCE];
  await stop?.();
  await receiver.close();
  // The SDK has set itself into the API, which the files that run after this one use.
  for (const api of [trace, context, propagation]) api.disable();
});

/** The span with that queue as its destination; every test takes a queue of its own. */
async function spanOf(queue: string, prefix = ''): Promise<OtlpSpan> {
  const matches = ({ name, attributes }: OtlpSpan) =>
    attributes['messaging.destination.name'] === queue && name.startsWith(prefix);
  const span = (await receiver.until((spans) => spans.some(matches))).find(matches);
  if (!span) throw new Error(`no span of ${queue}`);
  return span;
}

function batchOf(origins: readonly Origin[]): BatchStart {
  return { rows: 7, reason: 'full', waitSeconds: 0, origins };
}

/** What a producer's round trip gives to its jobs. */
async function traceOf(queue: string): Promise<string> {
  let given: string | undefined;
  await enqueueTracer.enqueue(queue, 1, async (serialized) => {
    given = serialized;
  });
  return given ?? '';
}

describe('a round trip of a producer', () => {
  it('is a span of its own trace, of kind producer, with the attributes of the messaging conventions', async () => {
    await enqueueTracer.enqueue('send-1', 500, async () => undefined);
    const span = await spanOf('send-1');
    expect(span).toMatchObject({
      name: 'send send-1',
      kind: OTLP_KIND.producer,
      parentSpanId: undefined,
      status: { code: OTLP_STATUS.unset },
      resource: { 'service.name': 'tests' },
    });
    expect(span.attributes).toEqual({
      'messaging.system': 'bullmq',
      'messaging.destination.name': 'send-1',
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
      'messaging.batch.message_count': 500,
    });
  });

  it('gives its jobs a trace context that leads back to it', async () => {
    const given = await traceOf('send-2');
    const { traceId, spanId } = await spanOf('send-2');
    expect(JSON.parse(given)).toEqual({ traceparent: `00-${traceId}-${spanId}-01` });
  });

  it('is no part of a trace that is going on', async () => {
    const outer = trace.getTracer('outer').startSpan('an import', {}, ROOT_CONTEXT);
    await context.with(trace.setSpan(ROOT_CONTEXT, outer), () =>
      enqueueTracer.enqueue('send-3', 1, async () => undefined),
    );
    outer.end();
    const span = await spanOf('send-3');
    expect(span.traceId).not.toBe(outer.spanContext().traceId);
    expect(span.parentSpanId).toBeUndefined();
  });

  it('that fails has an error with its code, and the error travels on', async () => {
    const outage = new CategorizerError('REDIS_UNAVAILABLE', 'Redis went away', { retryable: true });
    await expect(enqueueTracer.enqueue('send-4', 1, () => Promise.reject(outage))).rejects.toBe(outage);
    const { status, attributes } = await spanOf('send-4');
    expect(status).toEqual({ code: OTLP_STATUS.error, message: 'Redis went away' });
    expect(attributes['error.type']).toBe('REDIS_UNAVAILABLE');
  });
});

describe('a batch', () => {
  it('is a span of its own trace, with a link to the producer of its jobs', async () => {
    const producer = await traceOf('producer-1');
    startBatchSpan('batch-1', batchOf([{ jobId: 'a', trace: producer }])).end();
    const span = await spanOf('batch-1');
    const { traceId, spanId } = await spanOf('producer-1');
    expect(span).toMatchObject({
      name: 'process batch-1',
      kind: OTLP_KIND.consumer,
      parentSpanId: undefined,
      status: { code: OTLP_STATUS.unset },
      links: [{ traceId, spanId }],
    });
    expect(span.traceId).not.toBe(traceId);
    expect(span.attributes).toMatchObject({
      'messaging.system': 'bullmq',
      'messaging.operation.type': 'process',
      'messaging.batch.message_count': 1,
      'categorizer.batch.rows': 7,
      'categorizer.batch.reason': 'full',
    });
  });

  it('has one link for the many jobs of one round trip', async () => {
    const [first, second] = [await traceOf('producer-2'), await traceOf('producer-3')];
    const origins = Array.from({ length: 500 }, (_, i) => ({ jobId: `${i}`, trace: i % 2 ? first : second }));
    startBatchSpan('batch-2', batchOf(origins)).end();
    const { links, attributes } = await spanOf('batch-2');
    expect(links).toHaveLength(2);
    expect(attributes['messaging.batch.message_count']).toBe(500);
  });

  it('has 128 links at most, and the receiver is told of no dropped ones', async () => {
    const origins = Array.from({ length: 200 }, (_, i) => ({
      jobId: `${i}`,
      trace: JSON.stringify({ traceparent: `00-${(i + 1).toString(16).padStart(32, '0')}-b7ad6b7169203331-01` }),
    }));
    startBatchSpan('batch-3', batchOf(origins)).end();
    const { links, droppedLinks } = await spanOf('batch-3');
    expect(new Set(links.map(({ traceId }) => traceId)).size).toBe(128);
    expect(droppedLinks).toBe(0);
  });

  it('has no link for what is no trace context: that is no reason to fail a job', async () => {
    const traces = ['', 'text', '{', 'null', '7', '[]', '{}', '{"traceparent":7}', '{"traceparent":"00-0-0-01"}'];
    const origins: Origin[] = [...traces, undefined].map((one, i) => ({ jobId: `${i}`, trace: one }));
    startBatchSpan('batch-4', batchOf(origins)).end();
    expect((await spanOf('batch-4')).links).toEqual([]);
  });

  it('keeps its 128 links for trace contexts that can be read, however many cannot', async () => {
    const producer = await traceOf('producer-4');
    const unreadable = Array.from({ length: 200 }, (_, i) => ({ jobId: `${i}`, trace: `text ${i}` }));
    startBatchSpan('batch-5', batchOf([...unreadable, { jobId: 'good', trace: producer }])).end();
    expect((await spanOf('batch-5')).links).toHaveLength(1);
  });

  it('that fails has an error with its code', async () => {
    startBatchSpan('batch-6', batchOf([{ jobId: 'a' }])).end(
      new CategorizerError('PREDICTOR_UNAVAILABLE', 'out of memory'),
    );
    const { status, attributes } = await spanOf('batch-6');
    expect(status).toEqual({ code: OTLP_STATUS.error, message: 'out of memory' });
    expect(attributes['error.type']).toBe('PREDICTOR_UNAVAILABLE');
  });
});

describe('a batch of nothing but rows of requests', () => {
  it('is no message of a queue: it has no queue, no producer and no messaging attributes', async () => {
    startBatchSpan('requests', batchOf([])).end();
    const isBatch = ({ name }: OtlpSpan) => name === 'batch';
    const [span] = (await receiver.until((spans) => spans.some(isBatch))).filter(isBatch);
    expect(span).toMatchObject({ kind: OTLP_KIND.internal, links: [], attributes: { 'categorizer.batch.rows': 7 } });
    expect(Object.keys(span.attributes).filter((name) => name.startsWith('messaging.'))).toEqual([]);
  });
});

describe('what is observed of a batch', () => {
  function observe(queue: string) {
    const metrics = createMetrics({ model: FAKE_MODEL, queue, queueDepths: async () => [] });
    return createBatchObserver({ metrics, logger: createFakeLogger(), queue }).started(batchOf([{ jobId: 'a' }]));
  }

  async function childrenOf(parent: OtlpSpan, count: number): Promise<OtlpSpan[]> {
    const isChild = ({ parentSpanId }: OtlpSpan) => parentSpanId === parent.spanId;
    return (await receiver.until((spans) => spans.filter(isChild).length >= count)).filter(isChild);
  }

  it('is a span with children for its run of the model and for the publication of its results', async () => {
    const batch = observe('observed-1');
    const predictions = emptyPredictions(7, 3);
    expect(await batch.predict(7, async () => predictions)).toBe(predictions);
    batch.finished(predictions);
    await batch.publish(5, async () => undefined);
    const span = await spanOf('observed-1');
    const children = await childrenOf(span, 2);
    expect(children.map(({ name, attributes }) => ({ name, attributes }))).toEqual(
      expect.arrayContaining([
        { name: 'predict', attributes: { 'categorizer.batch.rows': 7 } },
        { name: 'publish', attributes: { 'messaging.batch.message_count': 5 } },
      ]),
    );
    for (const { traceId, kind } of children) {
      expect(traceId).toBe(span.traceId);
      expect(kind).toBe(OTLP_KIND.internal);
    }
  });

  it('tells a failed run from a failed batch: a poison row fails the first and not the second', async () => {
    const batch = observe('observed-2');
    const poison = new Error('index out of bounds');
    await expect(batch.predict(7, () => Promise.reject(poison))).rejects.toBe(poison);
    batch.finished(emptyPredictions(7, 3));
    const span = await spanOf('observed-2');
    expect(span.status.code).toBe(OTLP_STATUS.unset);
    const [run] = await childrenOf(span, 1);
    expect(run.status).toEqual({ code: OTLP_STATUS.error, message: 'index out of bounds' });
    expect(run.attributes['error.type']).toBe('UNKNOWN');
  });
});

describe('the receiver', () => {
  it('gets traces, and neither metrics nor logs', async () => {
    await enqueueTracer.enqueue('send-5', 1, async () => undefined);
    await spanOf('send-5');
    expect(new Set(receiver.paths)).toEqual(new Set(['/v1/traces']));
  });
});

describe('tracing that is not set', () => {
  it('is not started', async () => {
    expect(await startTracing({ endpoint: undefined, serviceName: 'tests' })).toBeUndefined();
  });
});
