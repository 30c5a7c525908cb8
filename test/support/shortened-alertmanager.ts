import { parse, stringify } from 'yaml';
import { divideDuration } from './shortened-rules.ts';

interface Route {
  group_wait?: string;
  group_interval?: string;
  repeat_interval?: string;
  active_time_intervals?: string[];
  mute_time_intervals?: string[];
  routes?: Route[];
}

interface AlertmanagerFile {
  route: Route;
  receivers: { name: string }[];
}

/** Alertmanager refuses 0 as an interval. */
const SHORTEST_MS = 100;

/**
 * An alertmanager.yml with shorter times, whose receivers all call one webhook, at any time of the day; which alert goes
 * to which receiver and which inhibits which stay.
 */
export function shortenAlertmanager(
  text: string,
  { divideBy, webhook }: { readonly divideBy: number; readonly webhook: string },
): string {
  const file: AlertmanagerFile = parse(text);
  shortenRoute(file.route, divideBy);
  file.receivers = file.receivers.map(({ name }) => ({
    name,
    webhook_configs: [{ url: webhook, send_resolved: true }],
  }));
  return stringify(file);
}

function shortenRoute(route: Route, divideBy: number): void {
  for (const name of ['group_wait', 'group_interval', 'repeat_interval'] as const) {
    const time = route[name];
    if (time !== undefined) route[name] = divideDuration(time, divideBy, SHORTEST_MS);
  }
  delete route.active_time_intervals;
  delete route.mute_time_intervals;
  for (const child of route.routes ?? []) shortenRoute(child, divideBy);
}
