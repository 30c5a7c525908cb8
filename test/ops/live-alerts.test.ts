import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, inject, it, vi } from 'vitest';
import { z } from 'zod';
import { type Notification, startAlertReceiver } from '../support/alert-receiver.ts';
import { untilAlert, untilInactive } from '../support/alert-states.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createProducer, type Producer, untilDone } from '../support/load.ts';
import { startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts } from '../support/products.ts';
import { type MonitoringServer, monitoringMissing, startAlertmanager, startPrometheus } from '../support/prometheus.ts';
import { shortenAlertmanager } from '../support/shortened-alertmanager.ts';
import { shortenRules } from '../support/shortened-rules.ts';

const RULES = new URL('../../deploy/prometheus/categorizer.rules.yml', import.meta.url);
const ALERTMANAGER = new URL('../../deploy/alertmanager/alertmanager.yml', import.meta.url);

/** Minutes become seconds. */
const DIVIDE_BY = 60;

const PATIENCE = { timeout: 40_000, interval: 100 };

const missing = monitoringMissing();
if (missing !== undefined) console.warn(`the live alerts are not tested: ${missing}`);

const alertsSchema = z.array(
  z.object({
    labels: z.record(z.string(), z.string()),
    status: z.object({ state: z.string(), inhibitedBy: z.array(z.string()) }),
  }),
);

describe.skipIf(missing !== undefined)('alerts of a real Prometheus about real workers', () => {
  let queues: Queues;
  let producer: Producer;
  let workers: WorkerProcess[];
  let cleanups: (() => Promise<unknown>)[];

  beforeEach(async () => {
    queues = openQueues(inject('redisUrl'));
    producer = createProducer(inject('redisUrl'), queues.prefix);
    workers = [];
    cleanups = [queues.close, producer.close, stopWorkers];
    await startWorkers(['0', '0']);
  });

  afterEach(async () => {
    for (const cleanup of cleanups.reverse()) await cleanup();
  });

  async function startWorkers(ports: readonly string[]): Promise<void> {
    for (const port of ports) workers.push(await startWorker({ ...queues.env, HTTP_PORT: port }));
  }

  async function stopWorkers(): Promise<void> {
    for (const { kill } of workers) kill('SIGTERM');
    await Promise.all(workers.map(({ ended }) => ended));
  }

  /** @param thresholds in place of those that are meant for a night of work */
  async function startMonitoring(thresholds: Record<string, number>, alertmanager?: string): Promise<MonitoringServer> {
    const prometheus = await startPrometheus({
      scrape: { 'categorizer-worker': workers.map(({ url }) => new URL(url).host) },
      rules: shortenRules(await readFile(RULES, 'utf8'), { divideBy: DIVIDE_BY, thresholds }),
      alertmanager,
    });
    cleanups.push(prometheus.remove);
    return prometheus;
  }

  /** Jobs that no worker takes until the queue is resumed. */
  async function holdBack(jobs: number, runId: string): Promise<void> {
    await queues.products.pause();
    await producer.addOneByOne(makeProducts(jobs), runId);
  }

  it('lag that grows is noticed until it is gone, and workers that stopped until they are back', async () => {
    const prometheus = await startMonitoring({ 'categorizer:threshold:lag_seconds': 5 });
    await producer.addOneByOne(makeProducts(100), 'before');
    await untilDone(producer.queue);
    const since = await untilInactive(prometheus, ['CategorizerQueueLagHigh', 'CategorizerNoWorker']);

    await holdBack(50, 'lag');
    await untilAlert(prometheus, 'CategorizerQueueLagHigh', since, ['pending', 'firing']);
    await queues.products.resume();
    await untilAlert(prometheus, 'CategorizerQueueLagHigh', since, ['pending', 'firing', 'resolved']);

    await holdBack(50, 'no-worker');
    // Prometheus looks for them on the same ports later.
    const ports = workers.map(({ url }) => new URL(url).port);
    await stopWorkers();
    await queues.products.resume();
    await untilAlert(prometheus, 'CategorizerNoWorker', since, ['pending', 'firing']);
    await startWorkers(ports);
    await untilAlert(prometheus, 'CategorizerNoWorker', since, ['pending', 'firing', 'resolved']);
    await untilDone(producer.queue);
    expect(await queues.results.getWaitingCount()).toBe(200);
  });

  it('a queue that is stuck is told to people, its lag is not, and then that it works again', async () => {
    const receiver = await startAlertReceiver();
    cleanups.push(receiver.close);
    const config = await readFile(ALERTMANAGER, 'utf8');
    const alertmanager = await startAlertmanager(
      shortenAlertmanager(config, { divideBy: DIVIDE_BY, webhook: receiver.url }),
    );
    cleanups.push(alertmanager.remove);
    // Late enough that the queue is known to be stuck before.
    const prometheus = await startMonitoring({ 'categorizer:threshold:lag_seconds': 15 }, alertmanager.url);
    const countOf = (name: string) => receiver.received().filter(({ alert }) => alert === name).length;
    const untilNotified = (expected: Notification) =>
      vi.waitFor(() => expect(receiver.received()).toContainEqual(expected), PATIENCE);
    const untilSuppressed = (name: string) =>
      vi.waitFor(async () => {
        const alerts = alertsSchema.parse(await alertmanager.get('/api/v2/alerts'));
        const { status } = alerts.find(({ labels }) => labels.alertname === name) ?? {};
        const suppressed = { state: 'suppressed', inhibitedBy: [expect.any(String)] };
        expect(status, `Alertmanager has ${JSON.stringify(alerts)}`).toMatchObject(suppressed);
      }, PATIENCE);
    await producer.addOneByOne(makeProducts(100), 'before');
    await untilDone(producer.queue);
    const since = await untilInactive(prometheus, ['CategorizerQueueStuck', 'CategorizerNoWorker']);

    await holdBack(50, 'stuck');
    await untilNotified({ alert: 'CategorizerQueueStuck', status: 'firing', receiver: 'on-call' });
    await untilAlert(prometheus, 'CategorizerQueueLagHigh', since, ['pending', 'firing']);
    await untilSuppressed('CategorizerQueueLagHigh');
    // Each second one: long enough for an alert that is not suppressed to arrive.
    const watchdogs = countOf('CategorizerWatchdog') + 3;
    await vi.waitFor(() => expect(countOf('CategorizerWatchdog')).toBeGreaterThanOrEqual(watchdogs), PATIENCE);
    expect(countOf('CategorizerQueueLagHigh')).toBe(0);

    await queues.products.resume();
    await untilNotified({ alert: 'CategorizerQueueStuck', status: 'resolved', receiver: 'on-call' });
  });
});
