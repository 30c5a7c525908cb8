import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

/** The numbers of OTLP's enums that the tests look at. */
export const OTLP_KIND = { internal: 1, producer: 4, consumer: 5 } as const;
export const OTLP_STATUS = { unset: 0, error: 2 } as const;

export interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: string;
  readonly kind: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly droppedLinks: number;
  readonly status: { readonly code: number; readonly message?: string };
  /** Attributes of the process that sent it. */
  readonly resource: Readonly<Record<string, unknown>>;
}

export interface OtlpReceiver {
  /** What OTEL_EXPORTER_OTLP_ENDPOINT says. */
  readonly url: string;
  /** Path of every request so far, of any kind. */
  readonly paths: readonly string[];
  readonly spans: readonly OtlpSpan[];
  /** Resolves when this is so; it is looked at after every request. */
  until(condition: (spans: readonly OtlpSpan[]) => boolean): Promise<readonly OtlpSpan[]>;
  close(): Promise<void>;
}

/** Takes traces by OTLP over HTTP, as JSON. @param options.answer status of every answer */
export async function startOtlpReceiver(
  options: { readonly port?: number; readonly answer?: number } = {},
): Promise<OtlpReceiver> {
  const { port = 0, answer = 200 } = options;
  const paths: string[] = [];
  const spans: OtlpSpan[] = [];
  let waiting: (() => void)[] = [];

  async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    paths.push(request.url ?? '');
    if (request.url?.endsWith('/v1/traces')) spans.push(...decode(Buffer.concat(chunks).toString('utf8')));
    response.writeHead(answer, { 'content-type': 'application/json' }).end('{}');
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  }

  const server = createServer((request, response) => void take(request, response));
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    paths,
    spans,
    async until(condition) {
      while (!condition(spans)) await new Promise<void>((resolve) => waiting.push(resolve));
      return spans;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

interface OtlpAttribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

interface OtlpRequest {
  readonly resourceSpans: readonly {
    readonly resource?: { readonly attributes?: readonly OtlpAttribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly RawSpan[] }[];
  }[];
}

interface RawSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes?: readonly OtlpAttribute[];
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly droppedLinksCount?: number;
  readonly status?: { readonly code?: number; readonly message?: string };
}

function decode(text: string): OtlpSpan[] {
  const request: OtlpRequest = JSON.parse(text);
  return request.resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) => spans.map((span) => toSpan(span, attributesOf(resource?.attributes)))),
  );
}

function toSpan(raw: RawSpan, resource: OtlpSpan['resource']): OtlpSpan {
  const { traceId, spanId, parentSpanId, name, kind, links = [], droppedLinksCount = 0, status } = raw;
  return {
    traceId,
    spanId,
    parentSpanId: parentSpanId || undefined,
    name,
    kind,
    attributes: attributesOf(raw.attributes),
    links: links.map((link) => ({ traceId: link.traceId, spanId: link.spanId })),
    droppedLinks: droppedLinksCount,
    status: { code: status?.code ?? 0, message: status?.message },
    resource,
  };
}

function attributesOf(attributes: readonly OtlpAttribute[] = []): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
