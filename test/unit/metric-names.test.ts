import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { createMetrics } from '../../src/observability/metrics.ts';
import { createRunMetrics } from '../../src/observability/run-metrics.ts';
import { checkPromql, type Series, seriesOf } from '../support/promql.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
/** Files below a folder, at any depth; none where the folder is not there. */
const filesOf = (folder: string, ending: RegExp) =>
  (existsSync(`${ROOT}${folder}`) ? readdirSync(`${ROOT}${folder}`, { recursive: true, encoding: 'utf8' }) : [])
    .filter((file) => ending.test(file))
    .map((file) => `${folder}/${file}`)
    .toSorted();
const read = (file: string) => readFileSync(`${ROOT}${file}`, 'utf8');

/** What Prometheus adds to each sample that it scrapes. */
const SCRAPE_LABELS = ['job', 'instance'];
const ALERT_LABELS = ['alertname', 'alertstate', 'severity', 'component', 'queue', 'run', 'state'];

/** Metrics of others that queries may name, with their labels besides those of the scrape. */
const METRICS_OF_OTHERS: Record<string, Record<string, readonly string[]>> = {
  Prometheus: { up: [], ALERTS: ALERT_LABELS, ALERTS_FOR_STATE: ALERT_LABELS },
  redis_exporter: {
    redis_up: [],
    redis_evicted_keys_total: [],
    redis_memory_used_bytes: [],
    redis_memory_max_bytes: [],
  },
};

interface Query {
  /** File, and what it belongs to there. */
  readonly where: string;
  readonly query: string;
}

/** Strings of a document that stand under that key, at any depth. */
function stringsAt(key: string, document: unknown): string[] {
  if (typeof document !== 'object' || document === null) return [];
  return Object.entries(document).flatMap(([name, value]: [string, unknown]) =>
    name === key && typeof value === 'string' ? [value] : stringsAt(key, value),
  );
}

const inFile = (file: string, queries: readonly string[]): Query[] => queries.map((query) => ({ where: file, query }));

function documentsOf(file: string): unknown[] {
  return parseAllDocuments(read(file)).map((document) => document.toJS());
}

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly labels?: Record<string, string>;
}

/** The rules of files of rules, in their order. */
function rulesOf(file: string): Rule[] {
  const [document] = documentsOf(file);
  const { groups = [] } = document as { groups?: readonly { readonly rules: readonly Rule[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

/** The temporary table that the ERP's own statement reads. */
const NO_METRIC = 'categorizer_changes';

/** What is named in Markdown: blocks of PromQL, and code within sentences that starts as our metrics do. */
function markdownQueries(file: string): Query[] {
  const text = read(file);
  const blocks = [...text.matchAll(/^```promql\n(.*?)^```$/gms)].flatMap(([, block]) => block.trim().split(/\n\s*\n/));
  const prose = text.replaceAll(/^```.*?^```$/gms, '');
  const inline = [...prose.matchAll(/`(categorizer[_:][^`]+)`/g)].map(([, code]) => code);
  const metrics = inline.filter((code) => code !== NO_METRIC);
  return inFile(file, [...blocks, ...metrics]);
}

/** Grafana puts a value in place of a variable before Prometheus sees the query: a time in a range, else a number. */
function withoutVariables(query: string): string {
  return query
    .replaceAll(/\$\{?__(?:rate_interval|interval|range)\}?|(?<=[[:])\$\w+(?=[\]:])/g, '5m')
    .replaceAll(/\$\{\w+(?::\w+)?\}|\$[A-Za-z_]\w*/g, '1');
}

/** Queries of panels and annotations, and those that fill a variable. */
function dashboardQueries(file: string): Query[] {
  const dashboard: unknown = JSON.parse(read(file));
  const variables = stringsAt('query', dashboard).flatMap((query) => {
    const [, vector, label] = /^label_values\((.+),\s*(\w+)\)$/s.exec(query) ?? [];
    return vector === undefined ? [] : [`count by (${label}) (${vector})`];
  });
  return inFile(file, [...stringsAt('expr', dashboard), ...variables].map(withoutVariables));
}

const RULE_FILES = filesOf('deploy/prometheus', /\.rules\.ya?ml$/);
const RULE_TESTS = filesOf('deploy/prometheus', /\.test\.ya?ml$/);
const KUBERNETES_FILES = filesOf('deploy/k8s', /\.ya?ml$/);
const DASHBOARDS = filesOf('deploy/grafana/dashboards', /\.json$/);
const PAGES = filesOf('docs', /\.md$/);

/** The exposition of a worker that has done each thing once, so that every metric has a sample. */
async function exposeWorker(): Promise<string> {
  const metrics = createMetrics({
    model: {
      name: 'fake',
      version: '1',
      sha256: 'ab',
      width: 1,
      space: 'fake-1',
      categories: [{ code: 'A', name: 'A' }],
      trainingShares: { A: 1 },
    },
    queue: 'product-categorization',
    queueDepths: async () => [
      {
        queue: 'product-categorization',
        jobs: { waiting: 0, active: 0, delayed: 0, prioritized: 0, failed: 0, completed: 0 },
        oldestWaitingAgeSeconds: 0,
        paused: false,
        workers: 0,
        mismatched: [{ space: 'other', waiting: 1, delayed: 1 }],
      },
    ],
  });
  metrics.jobs.finished({ queue: 'product-categorization', jobId: '1', outcome: 'completed', seconds: 1 });
  metrics.jobs.returned({ queue: 'product-categorization', jobId: '1', wanted: { space: 'other' } });
  metrics.http.answered({ path: '/predict', method: 'POST', status: 200, seconds: 1 });
  return (await metrics.expose()).text;
}

/** The exposition of a scheduler that has a schedule and a run. */
async function exposeScheduler(): Promise<string> {
  const at = new Date(0);
  const metrics = createRunMetrics({
    due: async () => [{ name: 'nightly', at }],
    runs: async () => [
      {
        name: 'nightly',
        state: 'finished',
        stateSince: at,
        durationSeconds: 1,
        counts: { products: 0, skipped: 0, kept: 0, changed: 0, added: 0, review: 0, rejected: 0, decided: 0 },
        lastSuccessAt: at,
        lastEndAt: at,
      },
    ],
  });
  metrics.http.answered({ path: '/metrics', method: 'GET', status: 200, seconds: 1 });
  return (await metrics.expose()).text;
}

/** The series of the program, of its rules and of others; rules by the labels that their expression leaves. */
function allSeries(exposition: string): { series: Series; problems: string[] } {
  const series = seriesOf(exposition, SCRAPE_LABELS);
  for (const metrics of Object.values(METRICS_OF_OTHERS)) {
    for (const [name, labels] of Object.entries(metrics)) series.set(name, new Set([...SCRAPE_LABELS, ...labels]));
  }
  const problems: string[] = [];
  for (const file of RULE_FILES) {
    for (const { record, alert, expr, labels: fixed = {} } of rulesOf(file)) {
      const { problems: found, labels } = checkPromql(expr, series);
      problems.push(...found.map((problem) => `${file}, ${record ?? alert}: ${problem}`));
      if (record !== undefined) series.set(record, new Set([...labels, ...Object.keys(fixed)]));
    }
  }
  return { series, problems };
}

let exposition: string;
let series: Series;
let ruleProblems: readonly string[];
/** Names without the suffixes that the samples of a histogram have. */
let exported: readonly string[];

beforeAll(async () => {
  exposition = (await exposeWorker()) + (await exposeScheduler());
  ({ series, problems: ruleProblems } = allSeries(exposition));
  // Both have an HTTP port.
  exported = [...new Set([...exposition.matchAll(/^# TYPE (categorizer_\w+) /gm)].map(([, name]) => name))];
});

function problemsOf(queries: readonly Query[], known: Series = series): string[] {
  return queries.flatMap(({ where, query }) =>
    checkPromql(query, known).problems.map((problem) => `${where}: ${problem}: ${query}`),
  );
}

describe('a metric that somebody asks for', () => {
  it('is exported, and has the labels that are asked for, in every rule', () => {
    expect(RULE_FILES).not.toEqual([]);
    expect(ruleProblems).toEqual([]);
  });

  it('is exported, and has the labels, in every query within the text of an alert', () => {
    const printed = RULE_FILES.flatMap((file) =>
      [...read(file).matchAll(/printf "((?:[^"\\]|\\.)*)"[^|{}]*\| query/g)].map(([, query]) => ({
        where: file,
        query: query.replaceAll('%q', '"x"'),
      })),
    );
    expect(problemsOf(printed)).toEqual([]);
  });

  it('is exported in every test of the rules', () => {
    const queries = RULE_TESTS.flatMap((file) => {
      const documents = documentsOf(file);
      return inFile(file, [...stringsAt('expr', documents), ...stringsAt('series', documents)]);
    });
    expect(problemsOf(queries)).toEqual([]);
  });

  it('is exported in every query that scales the workers', () => {
    const queries = KUBERNETES_FILES.flatMap((file) => inFile(file, stringsAt('query', documentsOf(file))));
    expect(queries).not.toEqual([]);
    expect(problemsOf(queries)).toEqual([]);
  });

  it.each(DASHBOARDS.map((file) => ({ file, name: basename(file) })))(
    'is exported on the dashboard $name',
    ({ file }) => {
      const queries = dashboardQueries(file);
      expect(queries).not.toEqual([]);
      expect(problemsOf(queries)).toEqual([]);
    },
  );

  it.each(PAGES.map((file) => ({ file })))('is exported on the page $file', ({ file }) => {
    const samples = [...series.keys()].map(
      (name) => [name.replace(/_(?:bucket|sum|count)$/, ''), SCRAPE_LABELS] as const,
    );
    const withHistograms = new Map([...samples.map(([name, labels]) => [name, new Set(labels)] as const), ...series]);
    expect(problemsOf(markdownQueries(file), withHistograms)).toEqual([]);
  });
});

describe('the page of the metrics', () => {
  it('has exactly the metrics that are exported', () => {
    const documented = [...read('docs/metrics.md').matchAll(/^\| `(categorizer_\w+)` \|/gm)].map(([, name]) => name);
    expect(documented.toSorted()).toEqual(exported.toSorted());
  });

  it('has the labels of each', () => {
    const rows = [...read('docs/metrics.md').matchAll(/^\| `(categorizer_\w+)` \| (\w+) \| (.*?) \|/gm)];
    const documented = rows.map(([, name, type, labels]) => [
      name,
      type,
      [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label).toSorted(),
    ]);
    const types = new Map([...exposition.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]));
    const own = (name: string) =>
      [...(series.get(name) ?? series.get(`${name}_count`) ?? [])].filter((label) => !SCRAPE_LABELS.includes(label));
    expect(documented).toEqual(rows.map(([, name]) => [name, types.get(name), own(name).toSorted()]));
  });
});
