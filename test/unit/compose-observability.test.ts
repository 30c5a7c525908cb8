import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { configSchema, readConfig, readDashboardUsers } from '../../src/config.ts';
import { containerEnvironment, readCompose } from '../support/compose-file.ts';

const ROOT = new URL('../../', import.meta.url);
const readYaml = (path: string) => parse(readFileSync(new URL(path, ROOT), 'utf8'));

const compose = readCompose();
const { services } = compose;
const watching = Object.entries(services).filter(([, { profiles }]) => profiles?.includes('observability'));
const hostOf = (target: string) => target.replace(/^\w+:\/\//, '').replace(/:\d+.*$/, '');
const names = Object.keys(services);

interface Mount {
  readonly source: string;
  readonly target: string;
  readonly read_only?: boolean;
  readonly bind: object;
}
const mountsOf = (service: string) =>
  (services[service].volumes ?? []).filter((volume): volume is Mount & { type: string } => typeof volume === 'object');

describe('the profile observability', () => {
  it('has all that watches the queues, and the dashboard can be had alone', () => {
    expect(watching.map(([name]) => name).sort()).toEqual([
      'alertmanager',
      'dashboard',
      'grafana',
      'jaeger',
      'otel-collector',
      'prometheus',
      'redis-exporter',
    ]);
    const alone = Object.entries(services).filter(([, { profiles }]) => profiles?.includes('dashboard'));
    expect(alone.map(([name]) => name)).toEqual(['dashboard']);
  });

  it.each(watching)(
    'starts %s again, gives it time to stop, and asks after its health where it can',
    (name, service) => {
      expect(service.restart).toBe('unless-stopped');
      expect(service.stop_grace_period).toMatch(/^\d+s$/);
      if (name === 'otel-collector') expect(service.healthcheck).toEqual({ disable: true });
      else expect(service.healthcheck?.test[0]).toBe('CMD');
    },
  );

  it.each(watching)(
    'runs %s as a user that is named here or in the image that it shares with the worker',
    (_, service) => {
      if (service.build) expect(service.image).toBe(services.worker.image);
      else expect(service.user).toMatch(/^(nobody|[1-9]\d*:\d+)$/);
    },
  );

  it.each(watching)('mounts into %s what is in the repository, read-only, and volumes that are declared', (name) => {
    for (const { source, read_only, bind } of mountsOf(name)) {
      expect(existsSync(new URL(source, ROOT)), source).toBe(true);
      expect({ read_only, bind }).toEqual({ read_only: true, bind: { create_host_path: false } });
    }
    const volumes = (services[name].volumes ?? []).filter((volume) => typeof volume === 'string');
    for (const volume of volumes) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0]);
  });

  it.each(watching)('waits in %s only for services that say when they are healthy', (_, { depends_on = {} }) => {
    for (const [name, { condition }] of Object.entries(depends_on)) {
      expect(condition).toBe('service_healthy');
      expect(services[name].healthcheck?.test).toBeDefined();
    }
  });

  it('has no password, hash or secret of its own', () => {
    const secrets = watching
      .flatMap(([, { environment = {} }]) => Object.entries(environment))
      .filter(([name]) => /PASSWORD|HASH|SECRET|USER$/.test(name));
    expect(secrets.map(([name]) => name)).toContain('GF_SECURITY_ADMIN_PASSWORD');
    for (const [, value] of secrets) expect(value ?? '').toBe('');
  });
});

describe('grafana in docker-compose.yml', () => {
  /** Its entrypoint with this password, and Grafana itself replaced by a command that succeeds. */
  function start(password?: string) {
    const [shell, ...words] = services.grafana.entrypoint ?? [];
    const given = containerEnvironment('grafana', password === undefined ? {} : { GRAFANA_ADMIN_PASSWORD: password });
    const args = words.map((word) => word.replace('exec /run.sh', 'exec true'));
    const { status, stderr } = spawnSync(shell, args, { env: { PATH: process.env.PATH, ...given }, encoding: 'utf8' });
    return { status, stderr };
  }

  it.each([undefined, '', 'admin', '1234567'])('refuses to start with the password %j', (password) => {
    expect(start(password)).toEqual({ status: 78, stderr: 'Set GRAFANA_ADMIN_PASSWORD, 8 characters or more.\n' });
  });

  it.each(['12345678', 'with a blank and "quotes"'])('starts with the password %j', (password) => {
    expect(start(password)).toEqual({ status: 0, stderr: '' });
  });

  it('lets nobody in without a login and tells nobody about itself', () => {
    const environment = services.grafana.environment ?? {};
    const off = Object.entries(environment).filter(([, value]) => value === 'false');
    expect(off.map(([name]) => name)).toEqual(
      expect.arrayContaining([
        'GF_AUTH_ANONYMOUS_ENABLED',
        'GF_USERS_ALLOW_SIGN_UP',
        'GF_ANALYTICS_REPORTING_ENABLED',
        'GF_ANALYTICS_CHECK_FOR_UPDATES',
        'GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES',
      ]),
    );
  });

  it('finds its dashboards where they are mounted', () => {
    const { providers } = readYaml('deploy/grafana/provisioning/dashboards/categorizer.yml');
    const path: string = providers[0].options.path;
    expect(mountsOf('grafana').map(({ source, target }) => [source, target])).toContainEqual([
      './deploy/grafana/dashboards',
      path,
    ]);
    const home = services.grafana.environment?.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH ?? '';
    expect(existsSync(new URL(home.replace(path, 'deploy/grafana/dashboards'), ROOT))).toBe(true);
  });

  it('has data sources that are services here, and the scrape interval of Prometheus', () => {
    const { datasources } = readYaml('deploy/grafana/provisioning/datasources/categorizer.yml');
    for (const { url } of datasources) expect(names).toContain(hostOf(url));
    const { global } = readYaml('deploy/prometheus/prometheus.yml');
    const [prometheus] = datasources;
    expect(prometheus).toMatchObject({ isDefault: true, jsonData: { timeInterval: global.scrape_interval } });
  });
});

describe('prometheus in docker-compose.yml', () => {
  const config = readYaml('deploy/prometheus/prometheus.yml');

  it('has its rules, and finds everything that it scrapes and warns', () => {
    const folder = '/etc/prometheus/';
    const targets = mountsOf('prometheus').map(({ target }) => target);
    for (const file of config.rule_files) expect(targets).toContain(folder + file.replace(folder, ''));
    const text = JSON.stringify([config.scrape_configs, config.alerting]);
    const found = [...text.matchAll(/"(?:names|targets)":\["([\w.-]+)/g)].map(([, name]) => name).sort();
    expect(found).toEqual(['alertmanager', 'redis-exporter', 'scheduler', 'worker']);
    expect(names).toEqual(expect.arrayContaining(found));
  });

  it.each(['worker', 'scheduler'])('asks %s on the port that it listens on', (name) => {
    const { dns_sd_configs: [target] = [] } = config.scrape_configs.find(
      ({ job_name }: { job_name: string }) => job_name === `categorizer-${name}`,
    );
    const [port] = services[name].ports ?? [];
    expect(target).toMatchObject({ names: [name], port: Number(port.split(':').at(-1)) });
  });

  it('asks for the Redis that the workers use', () => {
    const elsewhere = { WORKER_REDIS_URL: 'redis://:secret@queue.internal:6379' };
    for (const environment of [{}, elsewhere]) {
      const { REDIS_ADDR } = containerEnvironment('redis-exporter', environment);
      expect(REDIS_ADDR).toBe(containerEnvironment('worker', environment).REDIS_URL);
    }
  });
});

describe('the collector of traces', () => {
  const collector = readYaml('deploy/otel/collector.yml');
  const { receivers, processors, exporters, service } = collector;

  it('is mounted where it reads its configuration', () => {
    const [argument] = services['otel-collector'].command ?? [];
    expect(mountsOf('otel-collector').map(({ target }) => `--config=${target}`)).toEqual([argument]);
  });

  it('uses what it defines, refuses before it collects, and sends to a service that is here', () => {
    const { traces } = service.pipelines;
    expect(traces.receivers).toEqual(Object.keys(receivers));
    expect(traces.processors).toEqual(['memory_limiter', 'batch']);
    expect(traces.processors.toSorted()).toEqual(Object.keys(processors).toSorted());
    expect(traces.exporters).toEqual(Object.keys(exporters));
    expect(names).toContain(hostOf(exporters.otlp_grpc.endpoint));
  });

  it('refuses spans before its container is killed for its memory', () => {
    const limit = Number.parseInt(services['otel-collector'].deploy.resources.limits.memory, 10);
    expect(processors.memory_limiter.limit_mib).toBeLessThan(limit);
    expect(processors.memory_limiter.spike_limit_mib).toBeLessThan(processors.memory_limiter.limit_mib);
  });

  it('listens on the port that is published', () => {
    const port = receivers.otlp.protocols.http.endpoint.split(':')[1];
    expect(services['otel-collector'].ports).toEqual([`127.0.0.1:${port}:${port}`]);
  });
});

describe('the dashboard in docker-compose.yml', () => {
  it('runs the command of the image of the worker', () => {
    expect(services.dashboard).toMatchObject({ build: services.worker.build, command: ['dashboard'] });
  });

  it('passes every setting of the dashboard on', () => {
    const settings = Object.keys(configSchema.shape).filter((name) => name.startsWith('DASHBOARD_'));
    const passed = Object.keys(services.dashboard.environment ?? {});
    expect(passed).toEqual(expect.arrayContaining(settings));
    expect(Object.keys(configSchema.shape)).toEqual(expect.arrayContaining(passed));
  });

  it('does not start where nobody has to log in', () => {
    const config = readConfig(containerEnvironment('dashboard', {}));
    expect(() => readDashboardUsers(config)).toThrow(expect.objectContaining({ code: 'DASHBOARD_NEEDS_LOGIN' }));
  });

  it('listens inside on one port, whatever the port outside', () => {
    const environment = { DASHBOARD_PORT: '9001', DASHBOARD_HOST: '127.0.0.1', REDIS_URL: 'redis://127.0.0.1:6379' };
    const { DASHBOARD_PORT, DASHBOARD_HOST, REDIS_URL } = containerEnvironment('dashboard', environment);
    expect([DASHBOARD_HOST, REDIS_URL]).toEqual(['0.0.0.0', 'redis://redis:6379']);
    expect(readCompose(environment).services.dashboard.ports).toEqual([`127.0.0.1:9001:${DASHBOARD_PORT}`]);
    expect(services.dashboard.healthcheck?.test.join()).toContain(`127.0.0.1:${DASHBOARD_PORT}/healthz`);
  });
});
