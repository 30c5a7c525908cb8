import { vi } from 'vitest';
import { z } from 'zod';
import type { MonitoringServer } from './prometheus.ts';

type AlertState = 'pending' | 'firing' | 'resolved';

/** Evaluations are a second apart; on a busy machine some come late. */
const LONGEST_GAP_SECONDS = 5;

const historySchema = z.object({
  data: z.object({
    result: z.array(
      z.object({
        metric: z.object({ alertstate: z.enum(['pending', 'firing']) }),
        values: z.array(z.tuple([z.number(), z.string()])),
      }),
    ),
  }),
});

const activeSchema = z.object({
  data: z.object({ alerts: z.array(z.object({ labels: z.record(z.string(), z.string()), state: z.string() })) }),
});

/**
 * The states that an alert has been in, each once where it stayed, from the series that Prometheus keeps of it.
 *
 * @param since milliseconds since 1970
 */
async function alertStates(prometheus: MonitoringServer, alert: string, since: number): Promise<AlertState[]> {
  const query = encodeURIComponent(`ALERTS{alertname="${alert}"}[${Math.max(1, Date.now() - since)}ms]`);
  const { data } = historySchema.parse(await prometheus.get(`/api/v1/query?query=${query}`));
  const samples = data.result
    .flatMap(({ metric, values }) => values.map(([at]) => ({ at, state: metric.alertstate })))
    .sort((a, b) => a.at - b.at);
  const states: AlertState[] = [];
  const add = (state: AlertState) => {
    if (states.at(-1) !== state) states.push(state);
  };
  let last = samples[0]?.at ?? 0;
  for (const { at, state } of samples) {
    if (at - last > LONGEST_GAP_SECONDS) add('resolved');
    add(state);
    last = at;
  }
  if (states.length > 0 && !(await activeAlerts(prometheus)).some(({ name }) => name === alert)) add('resolved');
  return states;
}

/** What is pending or firing now. */
async function activeAlerts(prometheus: MonitoringServer): Promise<{ name: string; state: string }[]> {
  const { data } = activeSchema.parse(await prometheus.get('/api/v1/alerts'));
  return data.alerts.map(({ labels, state }) => ({ name: labels.alertname, state }));
}

/**
 * Waits until none of these alerts is active: before its first scrape Prometheus may see no worker.
 *
 * @returns when that was, in milliseconds since 1970
 */
export async function untilInactive(prometheus: MonitoringServer, alerts: readonly string[]): Promise<number> {
  await vi.waitFor(
    async () => {
      const active = (await activeAlerts(prometheus)).filter(({ name }) => alerts.includes(name));
      if (active.length > 0) throw new Error(`active: ${JSON.stringify(active)}`);
    },
    { timeout: 20_000, interval: 200 },
  );
  return Date.now();
}

/**
 * Waits until an alert went through these states and no others.
 *
 * @param since states before it do not count; milliseconds since 1970
 * @throws Error that says which states were seen, and of the other alerts which are active
 */
export async function untilAlert(
  prometheus: MonitoringServer,
  alert: string,
  since: number,
  states: readonly AlertState[],
): Promise<void> {
  const wanted = states.join(', ');
  await vi.waitFor(
    async () => {
      const seen = (await alertStates(prometheus, alert, since)).join(', ');
      if (seen === wanted) return;
      const others = (await activeAlerts(prometheus)).map(({ name, state }) => `${name} ${state}`).join(', ');
      throw new Error(`${alert} was to be: ${wanted}; it has been: ${seen || 'nothing'}; active now: ${others}`);
    },
    { timeout: 40_000, interval: 200 },
  );
}
