// main -> cli -> composition -> adapters, observability -> application -> domain; never the other way.

const LAYERS = ['domain', 'application', 'contract', 'adapters', 'observability', 'cli'];

/** What each part may import of this project. Everything else is forbidden. */
const MAY_IMPORT = {
  '^src/domain/': ['^src/domain/'],
  '^src/application/': ['^src/application/', '^src/domain/'],
  '^src/contract/': ['^src/contract/', '^src/domain/'],
  '^src/adapters/([^/]+)/': ['^src/adapters/$1/', '^src/application/', '^src/contract/', '^src/domain/'],
  '^src/observability/': ['^src/observability/', '^src/application/', '^src/domain/'],
  '^src/config\\.ts$': ['^src/contract/'],
  '^src/composition(\\.ts$|/)': [
    '^src/adapters/',
    '^src/observability/',
    '^src/application/',
    '^src/contract/',
    '^src/domain/',
    '^src/config\\.ts$',
    '^src/composition\\.ts$',
  ],
  '^src/cli/': [
    '^src/cli/',
    '^src/composition(\\.ts$|/)',
    '^src/config\\.ts$',
    '^src/application/',
    '^src/contract/',
    '^src/domain/',
  ],
  '^src/main\\.ts$': ['^src/cli/', '^src/config\\.ts$', '^src/domain/'],
};

/** Packages that belong to one place. */
const HOMES = [
  ['^(bullmq|ioredis)$', '^src/adapters/bullmq/'],
  ['^onnxruntime-', '^src/adapters/onnx/'],
  ['^(express|helmet|cookie-session|express-rate-limit)$', '^src/adapters/http/'],
  ['^@bull-board/', '^src/adapters/(bullmq|http)/'],
  ['^(csv-parse|@duckdb/)', '^src/adapters/files/'],
  ['^(prom-client|pino)$', '^src/observability/'],
  ['^@opentelemetry/', '^src/observability/'],
  ['^(pg|pg-copy-streams|node-pg-migrate)$', '^src/adapters/postgres/'],
  ['^cron-parser$', '^src/adapters/cron/'],
  ['^(commander|cli-progress)$', '^src/(cli/|main\\.ts$)'],
  ['^zod$', '^src/(config\\.ts$|contract/|adapters/)'],
];

const nodeModule = (name) => name.replace(/^\^/, '(^|/)node_modules/').replace(/\$$/, '/');

module.exports = {
  forbidden: [
    ...Object.entries(MAY_IMPORT).map(([path, allowed]) => ({
      name: `layer of ${path}`,
      severity: 'error',
      from: { path },
      to: { path: '^src/', ...(allowed.length > 0 && { pathNot: allowed }) },
    })),
    ...HOMES.map(([name, home]) => ({
      name: `${name} only in ${home}`,
      severity: 'error',
      from: { path: '^src/', pathNot: home },
      to: { path: nodeModule(name) },
    })),
    {
      name: 'domain and application import no package and no I/O',
      severity: 'error',
      from: { path: '^src/(domain|application)/' },
      to: { dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-peer', 'core'] },
    },
    { name: 'no cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'everything can be resolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'every file has a layer',
      severity: 'error',
      from: {
        path: '^src/',
        pathNot: [`^src/(${LAYERS.join('|')})/`, '^src/(main|config|composition)\\.ts$', '^src/composition/'],
      },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
