import { type Exposition, parseExposition } from './cli-metrics.ts';
import type { WorkerProcess } from './processes.ts';

/** What came back, as a client sees it. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly requestId: string;
  /** What the JSON holds. */
  readonly body: Readonly<Record<string, unknown>>;
}

/** Asks for something that is answered in JSON. */
export async function ask({ url }: WorkerProcess, path: string, request: RequestInit = {}): Promise<Answer> {
  const response = await fetch(`${url}${path}`, request);
  return {
    status: response.status,
    type: response.headers.get('content-type') ?? '',
    requestId: response.headers.get('x-request-id') ?? '',
    body: JSON.parse(await response.text()),
  };
}

export function postPredict(
  worker: WorkerProcess,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  return ask(worker, '/predict', { method: 'POST', body: JSON.stringify(body), headers });
}

export async function scrape({ url }: WorkerProcess): Promise<Exposition> {
  return parseExposition(await (await fetch(`${url}/metrics`)).text());
}
