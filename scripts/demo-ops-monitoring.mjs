// Prometheus and Alertmanager of the operations demo, with the rules and the routes of deploy/.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { freePort, start } from './demo-processes.mjs';
import { ROOT } from './setup.mjs';

const RULES = `${ROOT}deploy/prometheus/categorizer.rules.yml`;
const ALERTMANAGER_CONFIG = `${ROOT}deploy/alertmanager/alertmanager.yml`;
const READY_WITHIN_MS = 20_000;

/** Debian's package calls it `prometheus-alertmanager`, others `alertmanager`. */
const ALERTMANAGERS = ['prometheus-alertmanager', 'alertmanager'];

/** @param {string} command */
const isInstalled = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;

export const hasPrometheus = () => isInstalled('prometheus');
export const findAlertmanager = () => ALERTMANAGERS.find(isInstalled);

/**
 * @param {string} directory where it may write @param {string[]} workers their addresses
 * @param {string} [alertmanager] its address
 */
export async function startPrometheus(directory, workers, alertmanager) {
  /** @param {string[]} urls */
  const targets = (urls) => [{ static_configs: [{ targets: urls.map((url) => new URL(url).host) }] }];
  const config = {
    // Shorter than in production, as all of it is over in a minute.
    global: { scrape_interval: '5s', evaluation_interval: '5s' },
    rule_files: [RULES],
    scrape_configs: [{ job_name: 'categorizer-worker', ...targets(workers)[0] }],
    ...(alertmanager && { alerting: { alertmanagers: targets([alertmanager]) } }),
  };
  return await startServer('prometheus', `${directory}/prometheus`, config, (port, file, data) => [
    `--config.file=${file}`,
    `--storage.tsdb.path=${data}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
}

/** It tells nobody: its receivers are left without an address. @param {string} command @param {string} directory */
export async function startAlertmanager(command, directory) {
  const config = parse(readFileSync(ALERTMANAGER_CONFIG, 'utf8'));
  config.receivers = config.receivers.map((/** @type {{ name: string }} */ { name }) => ({ name }));
  return await startServer(command, `${directory}/alertmanager`, config, (port, file, data) => [
    `--config.file=${file}`,
    `--storage.path=${data}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--cluster.listen-address=',
  ]);
}

/** @param {string} prometheus its address @returns {Promise<string[]>} the names of the alerts in each state, sorted */
export async function activeAlerts(prometheus) {
  const { data } = await (await fetch(`${prometheus}/api/v1/alerts`)).json();
  const alerts = data.alerts.map(
    (/** @type {{ labels: Record<string, string>, state: string }} */ { labels, state }) =>
      `${labels.alertname} ${state}`,
  );
  return [...new Set(alerts)].sort();
}

/**
 * @param {string} command @param {string} directory @param {object} config
 * @param {(port: number, file: string, data: string) => string[]} argumentsOf
 */
async function startServer(command, directory, config, argumentsOf) {
  mkdirSync(directory);
  writeFileSync(`${directory}/config.yml`, stringify(config));
  const port = await freePort();
  const server = start(command, argumentsOf(port, `${directory}/config.yml`, `${directory}/data`));
  const url = `http://127.0.0.1:${port}`;
  const deadline = performance.now() + READY_WITHIN_MS;
  while (!(await isReady(url))) {
    if (server.child.exitCode !== null || performance.now() > deadline) {
      server.child.kill('SIGKILL');
      throw new Error(`${command} is not ready:\n${(await server.ended).stderr}`);
    }
    await pause(50);
  }
  return { process: server, url };
}

/** @param {string} url */
async function isReady(url) {
  const answer = await fetch(`${url}/-/ready`).catch(() => undefined);
  return answer?.ok === true;
}
