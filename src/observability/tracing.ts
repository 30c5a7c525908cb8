/**
 * Spans as OpenTelemetry's conventions for messaging have them: one for each round trip of a producer, one for each
 * batch with links to the producers of its jobs. Without `startTracing` the API does nothing and costs nothing.
 */
import {
  type Attributes,
  diag,
  type Link,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { BatchStart, EnqueueTracer, Origin } from '../application/ports.ts';
import { CategorizerError, messageOf } from '../domain/errors.ts';

/** A span holds at most so many links by default (OTEL_SPAN_LINK_COUNT_LIMIT); more would be cut off silently. */
const MAX_LINKS = 128;

/** How long the end of the process waits for the last spans to be sent. */
const FLUSH_TIMEOUT_MS = 3000;

const tracer = () => trace.getTracer('product-categorizer');

/**
 * Sends spans to OTEL_EXPORTER_OTLP_ENDPOINT by OTLP over HTTP. The exporter and the sampler read the other standard
 * variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER …) themselves.
 *
 * @returns what sends the last spans and stops; undefined where no endpoint is set
 */
export async function startTracing(settings: {
  readonly endpoint: string | undefined;
  readonly serviceName: string;
}): Promise<(() => Promise<void>) | undefined> {
  if (settings.endpoint === undefined) return undefined;
  // Loaded only when used: the SDK takes longer to load than the rest of the program.
  const [{ NodeSDK }, { OTLPTraceExporter }] = await Promise.all([
    import('@opentelemetry/sdk-node'),
    import('@opentelemetry/exporter-trace-otlp-http'),
  ]);
  const sdk = new NodeSDK({
    serviceName: settings.serviceName,
    traceExporter: new OTLPTraceExporter(),
    // Not given, the SDK would send metrics and logs to the same place: those go to Prometheus and stderr.
    metricReaders: [],
    logRecordProcessors: [],
    instrumentations: [],
  });
  sdk.start();
  return async () => {
    // A collector that is away must neither fail the work that is done nor hold up its end.
    const sent = sdk.shutdown().catch((error: unknown) => {
      diag.warn(`the last spans were not sent: ${messageOf(error)}`);
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FLUSH_TIMEOUT_MS);
    });
    await Promise.race([sent, late]);
    clearTimeout(timer);
  };
}

/** A producer's round trip is a trace of its own, so that a long import is not one trace. */
export const enqueueTracer: EnqueueTracer = {
  enqueue: (queue, jobs, send) => {
    const span = tracer().startSpan(
      `send ${queue}`,
      { kind: SpanKind.PRODUCER, attributes: messagingAttributes('send', queue, jobs) },
      ROOT_CONTEXT,
    );
    return endWith(span, () => send(serialize(span)));
  },
};

export interface BatchSpan {
  child<T>(name: string, attributes: Attributes, run: () => Promise<T>): Promise<T>;
  end(error?: Error): void;
}

/** @param queue where the jobs of the batch came from */
export function startBatchSpan(queue: string, batch: BatchStart): BatchSpan {
  const { rows, reason, origins } = batch;
  const own = { 'categorizer.batch.rows': rows, 'categorizer.batch.reason': reason };
  // Rows of requests alone are no messages.
  const [name, kind, attributes] =
    origins.length === 0
      ? ['batch', SpanKind.INTERNAL, own]
      : [`process ${queue}`, SpanKind.CONSUMER, { ...messagingAttributes('process', queue, origins.length), ...own }];
  const span = tracer().startSpan(name, { kind, attributes, links: linksTo(origins) }, ROOT_CONTEXT);
  return {
    child(name, childAttributes, run) {
      const parent = trace.setSpan(ROOT_CONTEXT, span);
      return endWith(tracer().startSpan(name, { attributes: childAttributes }, parent), run);
    },
    end(error) {
      if (error) markFailed(span, error);
      span.end();
    },
  };
}

async function endWith<T>(span: Span, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    markFailed(span, error);
    throw error;
  } finally {
    span.end();
  }
}

function markFailed(span: Span, error: unknown): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
  span.setAttribute('error.type', error instanceof CategorizerError ? error.code : 'UNKNOWN');
}

function messagingAttributes(operation: string, queue: string, jobs: number): Attributes {
  return {
    'messaging.system': 'bullmq',
    'messaging.destination.name': queue,
    'messaging.operation.name': operation,
    'messaging.operation.type': operation,
    'messaging.batch.message_count': jobs,
  };
}

/** The trace context as BullMQ's own telemetry writes it to a job: a JSON object with `traceparent`. */
function serialize(span: Span): string | undefined {
  const carrier: Record<string, string> = {};
  propagation.inject(trace.setSpan(ROOT_CONTEXT, span), carrier);
  return Object.keys(carrier).length > 0 ? JSON.stringify(carrier) : undefined;
}

/** One link for each producer's span; the jobs of one round trip share it. */
function linksTo(origins: readonly Origin[]): Link[] {
  const serialized = new Set(origins.flatMap((origin) => origin.trace ?? []));
  const links: Link[] = [];
  for (const carrier of serialized) {
    if (links.length === MAX_LINKS) break;
    const spanContext = trace.getSpanContext(propagation.extract(ROOT_CONTEXT, parseCarrier(carrier)));
    if (spanContext) links.push({ context: spanContext });
  }
  return links;
}

/** Producers in other languages write it too: what cannot be read is no reason to fail a job. */
function parseCarrier(serialized: string): object {
  try {
    const carrier: unknown = JSON.parse(serialized);
    return typeof carrier === 'object' && carrier !== null ? carrier : {};
  } catch {
    return {};
  }
}
