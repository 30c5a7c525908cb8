import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { stringify } from 'yaml';
import { freePort } from './redis-server.ts';

/** Debian's package calls it `prometheus-alertmanager`, others `alertmanager`. */
const ALERTMANAGERS = ['prometheus-alertmanager', 'alertmanager'];

/** Why the tests that need both programs cannot run here, or undefined. */
export function monitoringMissing(): string | undefined {
  const missing = [
    ...(installed(['prometheus']) ? [] : ['prometheus']),
    ...(installed(ALERTMANAGERS) ? [] : ['prometheus-alertmanager']),
  ];
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')} (Debian packages)`;
}

export interface MonitoringServer {
  readonly url: string;
  /** GET of a path of its HTTP API, as JSON. @throws Error with the answer where it is not 200 */
  get(path: string): Promise<unknown>;
  /** Ends it and removes its files. */
  remove(): Promise<void>;
}

/**
 * A Prometheus of our own that scrapes and evaluates each second; resolves when it has scraped every target.
 *
 * @param options.scrape job name to its targets, `host:port`
 * @param options.rules content of the rule file
 * @param options.alertmanager where alerts go, `http://host:port`
 */
export async function startPrometheus(options: {
  readonly scrape: Readonly<Record<string, readonly string[]>>;
  readonly rules: string;
  readonly alertmanager?: string;
}): Promise<MonitoringServer> {
  const { scrape, rules, alertmanager } = options;
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
    rule_files: ['rules.yml'],
    scrape_configs: Object.entries(scrape).map(([job, targets]) => ({
      job_name: job,
      static_configs: [{ targets }],
    })),
    ...(alertmanager !== undefined && {
      alerting: { alertmanagers: [{ static_configs: [{ targets: [new URL(alertmanager).host] }] }] },
    }),
  };
  const prometheus = await startServer(
    'prometheus',
    { 'prometheus.yml': stringify(config), 'rules.yml': rules },
    (port, directory) => [
      `--config.file=${join(directory, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--rules.alert.resend-delay=1s',
    ],
  );
  const all = encodeURIComponent(`count(up == 1) == ${Object.values(scrape).flat().length}`);
  await vi.waitUntil(
    async () => JSON.stringify(await prometheus.get(`/api/v1/query?query=${all}`)).includes('"value"'),
    {
      timeout: 20_000,
      interval: 100,
    },
  );
  return prometheus;
}

/** An Alertmanager of our own. @param config content of alertmanager.yml */
export async function startAlertmanager(config: string): Promise<MonitoringServer> {
  const command = installed(ALERTMANAGERS);
  if (command === undefined) throw new Error('no alertmanager is installed');
  return startServer(command, { 'alertmanager.yml': config }, (port, directory) => [
    `--config.file=${join(directory, 'alertmanager.yml')}`,
    `--storage.path=${join(directory, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--cluster.listen-address=',
  ]);
}

function installed(commands: readonly string[]): string | undefined {
  return commands.find((command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0);
}

async function startServer(
  command: string,
  files: Readonly<Record<string, string>>,
  argumentsOf: (port: number, directory: string) => readonly string[],
): Promise<MonitoringServer> {
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), 'categorizer-monitoring-'));
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
  const child = spawn(command, argumentsOf(port, directory), { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const ended = once(child, 'exit');
  const url = `http://127.0.0.1:${port}`;

  async function remove(): Promise<void> {
    if (child.exitCode === null) child.kill('SIGTERM');
    await ended;
    await rm(directory, { recursive: true, force: true });
  }

  try {
    await vi.waitUntil(
      async () => {
        if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}`);
        const answer = await fetch(`${url}/-/ready`).catch(() => undefined);
        return answer?.ok;
      },
      { timeout: 20_000, interval: 50 },
    );
  } catch (error) {
    await remove();
    throw new Error(`${command} is not ready:\n${log}`, { cause: error });
  }
  return {
    url,
    async get(path) {
      const answer = await fetch(`${url}${path}`);
      const body = await answer.text();
      if (!answer.ok) throw new Error(`${path} was answered with ${answer.status}: ${body}`);
      return JSON.parse(body);
    },
    remove,
  };
}
