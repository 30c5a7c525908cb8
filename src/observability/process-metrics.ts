import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import type { HttpObserver } from '../application/ports.ts';

/** Gauges of prom-client's defaults whose names end in _total, which Prometheus keeps for counters. */
const MISNAMED_DEFAULTS = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

const HTTP_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5];

export interface ProcessMetrics {
  readonly http: HttpObserver;
  /** The exposition format, and its content type. */
  expose(): Promise<{ readonly text: string; readonly contentType: string }>;
}

/**
 * What every process with an HTTP port has: Node's own metrics, and those of the port.
 *
 * @param beforeScrape sets what is read at scrape time
 * @returns with the registers that further metrics belong in
 */
export function createProcessMetrics(beforeScrape: () => Promise<void>): ProcessMetrics & { registers: Registry[] } {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED_DEFAULTS) registry.removeSingleMetric(name);
  const requests = new Counter({
    name: 'categorizer_http_requests_total',
    help: 'HTTP requests by route.',
    labelNames: ['path', 'method', 'status'],
    registers,
  });
  const duration = new Histogram({
    name: 'categorizer_http_request_duration_seconds',
    help: 'Time until an HTTP answer was sent.',
    labelNames: ['path', 'method'],
    buckets: HTTP_SECONDS,
    registers,
  });
  return {
    registers,
    http: {
      answered({ path, method, status, seconds }) {
        requests.inc({ path, method, status });
        duration.observe({ path, method }, seconds);
      },
    },
    async expose() {
      await beforeScrape();
      return { text: await registry.metrics(), contentType: registry.contentType };
    },
  };
}
