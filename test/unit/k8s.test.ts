import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject';
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import {
  type IServiceMonitor,
  ServiceMonitor,
} from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor';
import { Deployment, type IDeployment } from 'kubernetes-models/apps/v1';
import { type INetworkPolicy, NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import { type IPodDisruptionBudget, PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { type IService, Namespace, Service } from 'kubernetes-models/v1';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { configSchema, readConfig } from '../../src/config.ts';
import { PRODUCT_QUEUE } from '../../src/contract/index.ts';
import { createMetrics } from '../../src/observability/metrics.ts';
import {
  baseManifests,
  deployments,
  K8S_FOLDER,
  kustomization,
  manifestOf,
  manifests,
  manifestsOf,
  NIGHTLY,
  nightly,
  nightlyManifests,
  parseManifests,
  settings,
} from '../support/k8s-manifests.ts';
import { checkPromql, type Series, seriesOf } from '../support/promql.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const worker = deployments.find(({ name }) => name === 'categorizer-worker');
const scheduler = deployments.find(({ name }) => name === 'categorizer-scheduler');

const SCHEMAS = {
  Namespace,
  Service,
  Deployment,
  PodDisruptionBudget,
  NetworkPolicy,
  ScaledObject,
  ServiceMonitor,
  PrometheusRule,
};
const isKnown = (kind: string): kind is keyof typeof SCHEMAS => kind in SCHEMAS;

describe('the kustomization', () => {
  it('lists every file of its folder and nothing else, and so does what is added for the nights', () => {
    const listed = ['kustomization.yaml', NIGHTLY, ...kustomization.resources];
    for (const { envs } of kustomization.configMapGenerator) listed.push(...envs);
    expect(listed.sort()).toEqual(readdirSync(K8S_FOLDER).sort());
    const added = ['kustomization.yaml', ...nightly.resources];
    expect(added.sort()).toEqual(readdirSync(join(K8S_FOLDER, NIGHTLY)).sort());
  });

  it.each(manifests.map((manifest) => [manifest.kind, manifest.metadata.name, manifest] as const))(
    'has a %s %s that fits its schema',
    (kind, _, manifest) => {
      if (!isKnown(kind)) throw new Error(`no schema for ${kind}`);
      const model: { validate(): void } = Reflect.construct(SCHEMAS[kind], [manifest]);
      expect(() => model.validate()).not.toThrow();
    },
  );

  it('pins the image of every container to the version of this package', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const images = deployments.flatMap(({ container, pod }) =>
      [container, ...(pod.initContainers ?? [])].map(({ image }) => image),
    );
    expect(images).toHaveLength(4);
    for (const { images: tags } of [kustomization, nightly]) {
      expect(tags).toEqual([{ name: images[0], newTag: version }]);
    }
    expect(new Set(images).size).toBe(1);
  });

  it('leaves what needs a database to an overlay', () => {
    expect(JSON.stringify(baseManifests)).not.toContain('DATABASE_URL');
    expect(JSON.stringify(nightlyManifests)).toContain('DATABASE_URL');
  });

  describe.skipIf(spawnSync('kubectl', ['kustomize', '--help']).status !== 0)('is built by kubectl', () => {
    const build = (folder: string) => spawnSync('kubectl', ['kustomize', folder], { encoding: 'utf8' });

    it('without a warning', () => {
      const { status, stdout, stderr } = build(K8S_FOLDER);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(parseManifests(stdout)).toHaveLength(baseManifests.length + kustomization.configMapGenerator.length);
    });

    it('in an overlay with the nights, whose pods take their settings and their image from the base', () => {
      // A kustomization names others by relative paths.
      const folder = mkdtempSync(join(tmpdir(), 'overlay-'));
      const base = relative(folder, K8S_FOLDER);
      const images = [{ name: 'product-categorizer-worker', newName: 'registry.example/worker', newTag: '9' }];
      const overlay = { resources: [base], components: [join(base, NIGHTLY)], images };
      writeFileSync(join(folder, 'kustomization.yaml'), stringify(overlay));
      const { status, stdout, stderr } = build(folder);
      rmSync(folder, { recursive: true });
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(parseManifests(stdout)).toHaveLength(manifests.length + kustomization.configMapGenerator.length);
      const taken = (pattern: RegExp) => [...stdout.matchAll(pattern)].map(([, text]) => text);
      expect(new Set(taken(/image: (.+)/g))).toEqual(new Set(['registry.example/worker:9']));
      expect(new Set(taken(/name: (categorizer-settings.*)/g)).size).toBe(1);
    });
  });
});

describe.each(deployments)('the pods of $name', ({ deployment, labels, pod, container }) => {
  it('are found by what selects them', () => {
    expect(labels).toMatchObject(deployment.spec?.selector.matchLabels ?? { none: '' });
    const service = manifestOf<IService>('Service', deployment.metadata.name);
    expect(labels).toMatchObject(service.spec?.selector ?? { none: '' });
  });

  it('have the ports that Service and probes name, and listen on all addresses', () => {
    const { spec } = manifestOf<IService>('Service', deployment.metadata.name);
    const [{ name, containerPort }] = container.ports ?? [];
    expect(spec?.ports?.map(({ targetPort }) => targetPort)).toEqual([name]);
    const probes = [container.startupProbe, container.livenessProbe, container.readinessProbe];
    expect(probes.map((probe) => probe?.httpGet?.port)).toEqual([name, name, name]);
    const values = new Map(container.env?.map((variable) => [variable.name, variable.value]));
    const kind = { dashboard: 'DASHBOARD', scheduler: 'SCHEDULER', worker: 'HTTP' }[container.args?.[0] ?? ''];
    expect(values.get(`${kind}_PORT`)).toBe(String(containerPort));
    expect(values.get(`${kind}_HOST`)).toBe('0.0.0.0');
  });

  it('are restarted for their event loop alone, whatever Redis does', () => {
    expect(container.startupProbe?.httpGet?.path).toBe('/healthz');
    expect(container.livenessProbe?.httpGet?.path).toBe('/healthz');
  });

  it('get more time to stop than the pause before and the shutdown take', () => {
    const [command, seconds] = container.lifecycle?.preStop?.exec?.command ?? [];
    expect(command).toBe('sleep');
    const shutdown = configSchema.parse(settings).SHUTDOWN_TIMEOUT_MS / 1000;
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(Number(seconds) + shutdown);
  });

  it('are given settings that exist and are valid, the secret ones from Secrets', () => {
    const names = [...Object.keys(settings), ...(container.env ?? []).map(({ name }) => name)];
    expect(Object.keys(configSchema.shape)).toEqual(expect.arrayContaining(names));
    const secret = /URL$|SECRET|PASSWORD|USER$/;
    expect(Object.keys(settings).filter((name) => secret.test(name))).toEqual([]);
    for (const { name, value, valueFrom } of container.env ?? []) {
      expect([name, secret.test(name)]).toEqual([name, value === undefined && valueFrom?.secretKeyRef !== undefined]);
    }
    const literal = (container.env ?? []).flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]]));
    expect(() => readConfig({ ...settings, ...Object.fromEntries(literal) })).not.toThrow();
    expect(pod.enableServiceLinks).toBe(false);
  });

  it('take the settings from the ConfigMap that is generated', () => {
    const generated = kustomization.configMapGenerator.map(({ name }) => name);
    expect(container.envFrom?.map(({ configMapRef }) => configMapRef?.name)).toEqual(generated);
  });

  it('ask for resources and are limited', () => {
    const quantity = expect.stringMatching(/^\d+(m|Mi|Gi)?$/);
    const both = { cpu: quantity, memory: quantity };
    expect(container.resources).toEqual({ requests: both, limits: both });
  });

  it('have no right that the program does not need', () => {
    expect(pod.automountServiceAccountToken).toBe(false);
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
  });

  it('are never fewer during a rollout', () => {
    expect(deployment.spec?.strategy?.rollingUpdate).toEqual({ maxUnavailable: 0, maxSurge: 1 });
  });
});

describe('the workers', () => {
  it('are ready when Redis answers and the queue makes progress', () => {
    expect(worker?.container.readinessProbe?.httpGet?.path).toBe('/readyz');
  });

  it('spread over nodes and zones by labels that they have', () => {
    const constraints = worker?.pod.topologySpreadConstraints ?? [];
    expect(constraints.map(({ topologyKey }) => topologyKey)).toEqual([
      'kubernetes.io/hostname',
      'topology.kubernetes.io/zone',
    ]);
    for (const { labelSelector } of constraints) expect(labelSelector?.matchLabels).toEqual(worker?.labels);
  });

  it('leave one after the other when nodes are drained', () => {
    const { spec } = manifestOf<IPodDisruptionBudget>('PodDisruptionBudget', 'categorizer-worker');
    expect(spec).toMatchObject({ maxUnavailable: 1, selector: { matchLabels: worker?.labels } });
  });
});

describe('the scheduler', () => {
  it('is ready when Redis and PostgreSQL answer', () => {
    expect(scheduler?.container.readinessProbe?.httpGet?.path).toBe('/readyz');
  });

  it('starts when the tables are made, by the same image with no more rights', () => {
    const [migrate, ...others] = scheduler?.pod.initContainers ?? [];
    const { image, securityContext, env = [] } = scheduler?.container ?? {};
    expect(others).toEqual([]);
    expect(migrate).toMatchObject({ image, securityContext, args: ['db', 'migrate'] });
    expect(migrate.env).toEqual(env.filter(({ name }) => name === 'DATABASE_URL'));
    expect(migrate.resources?.limits).toEqual({ cpu: expect.any(String), memory: expect.any(String) });
  });

  it('alone knows the database', () => {
    const knowing = deployments.filter(({ deployment }) => JSON.stringify(deployment).includes('DATABASE_URL'));
    expect(knowing.map(({ name }) => name)).toEqual(['categorizer-scheduler']);
  });
});

describe('the network policies', () => {
  const policies = manifestsOf<INetworkPolicy>('NetworkPolicy');
  const PROMETHEUS = [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }];

  /** What the policies that select these pods allow together. */
  function allowed(labels: Readonly<Record<string, string>>) {
    const name = labels['app.kubernetes.io/name'];
    const selecting = policies.filter(({ spec }) => JSON.stringify(spec?.podSelector).includes(`"${name}"`));
    const rules = (direction: 'ingress' | 'egress') => selecting.flatMap(({ spec }) => spec?.[direction] ?? []);
    const ports = rules('egress').flatMap((rule) => rule.ports ?? []);
    return { ingress: rules('ingress'), egress: ports.map(({ port, protocol }) => `${port} ${protocol}`).sort() };
  }

  it('deny what no other policy allows', () => {
    expect(policies[0].spec).toEqual({ podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
  });

  it.each([
    ['worker', worker],
    ['scheduler', scheduler],
  ])('let to the %s the namespace of Prometheus alone, on the port of the metrics', (_, pods) => {
    const ports = [{ port: pods?.container.ports?.[0].containerPort, protocol: 'TCP' }];
    expect(allowed(pods?.labels ?? {}).ingress).toEqual([{ from: PROMETHEUS, ports }]);
  });

  it('let nobody to the dashboard', () => {
    expect(allowed({ 'app.kubernetes.io/name': 'categorizer-dashboard' }).ingress).toEqual([]);
  });

  it.each([
    ['categorizer-dashboard', ['53 TCP', '53 UDP', '6379 TCP']],
    ['categorizer-worker', ['4318 TCP', '53 TCP', '53 UDP', '6379 TCP']],
    ['categorizer-scheduler', ['4318 TCP', '53 TCP', '53 UDP', '5432 TCP', '6379 TCP']],
  ])('let %s out to what it needs', (name, ports) => {
    expect(allowed({ 'app.kubernetes.io/name': name }).egress).toEqual(ports);
  });
});

describe('scaling and monitoring', () => {
  const JOB = 'categorizer-worker';
  interface Scaled {
    readonly spec: {
      readonly scaleTargetRef: { readonly name: string };
      readonly minReplicaCount: number;
      readonly maxReplicaCount: number;
      readonly fallback: { readonly replicas: number };
      readonly triggers: { readonly metricType: string; readonly metadata: Readonly<Record<string, string>> }[];
    };
  }
  const { spec: scaled } = manifestOf<Scaled>('ScaledObject', JOB);

  it('scales the workers between bounds that keep the queue visible, and stay there when it is not', () => {
    expect(manifestOf<IDeployment>('Deployment', scaled.scaleTargetRef.name).spec).not.toHaveProperty('replicas');
    expect(scaled.minReplicaCount).toBeGreaterThanOrEqual(1);
    expect(scaled.fallback.replicas).toBeGreaterThanOrEqual(scaled.minReplicaCount);
    expect(scaled.fallback.replicas).toBeLessThanOrEqual(scaled.maxReplicaCount);
  });

  it.each(scaled.triggers)('asks in PromQL for metrics of the workers: $name', async ({ metricType, metadata }) => {
    // The fallback works with this type alone, and an answer without a value must not count as 0.
    expect([metricType, metadata.ignoreNullValues]).toEqual(['AverageValue', 'false']);
    expect(checkPromql(metadata.query, await exported()).problems).toEqual([]);
    const selectors = [...metadata.query.matchAll(/\{([^}]*)\}/g)].map(([, labels]) => labels);
    expect(selectors.length).toBeGreaterThan(0);
    for (const labels of selectors) {
      expect(labels).toContain(`job="${JOB}"`);
      expect(labels).toContain(`queue="${PRODUCT_QUEUE}"`);
    }
  });

  it.each([JOB, 'categorizer-scheduler'])('scrapes %s under the job name that rules and queries expect', (job) => {
    const { spec } = manifestOf<IServiceMonitor>('ServiceMonitor', job);
    const service = manifestOf<IService>('Service', job);
    expect(service.metadata.labels?.[spec.jobLabel ?? '']).toBe(job);
    expect(service.spec).toMatchObject({ clusterIP: 'None', publishNotReadyAddresses: true });
    expect(service.metadata.labels).toMatchObject(spec.selector.matchLabels ?? { none: '' });
    expect(spec.endpoints).toMatchObject([{ port: service.spec?.ports?.[0].name, path: '/metrics' }]);
  });

  it('has the alert rules that Prometheus reads elsewhere', () => {
    const script = join(ROOT, 'scripts/generate-deploy.mjs');
    const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { groups } = parse(readFileSync(join(ROOT, 'deploy/prometheus/categorizer.rules.yml'), 'utf8'));
    expect(manifestOf<{ spec: object }>('PrometheusRule', 'categorizer').spec).toEqual({ groups });
  });
});

/** What the workers export, with the labels that Prometheus adds. */
async function exported(): Promise<Series> {
  const model = {
    name: 'fake',
    version: '1',
    sha256: 'ab',
    width: 1,
    space: 'fake-1',
    categories: [{ code: 'A', name: 'A' }],
  };
  const jobs = { waiting: 0, active: 0, delayed: 0, prioritized: 0, failed: 0, completed: 0 };
  const depth = { queue: PRODUCT_QUEUE, jobs, oldestWaitingAgeSeconds: 0, paused: false, workers: 1 };
  const metrics = createMetrics({ model, queue: PRODUCT_QUEUE, queueDepths: async () => [depth] });
  return seriesOf((await metrics.expose()).text, ['job', 'instance']);
}
