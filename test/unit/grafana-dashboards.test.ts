import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { configSchema } from '../../src/config.ts';
import { RUN_STATES } from '../../src/domain/run.ts';

const ROOT = new URL('../../', import.meta.url);
const FOLDER = 'deploy/grafana/dashboards/';
const RULES = 'deploy/prometheus/categorizer.rules.yml';
/** Asks the schedulers; all others ask the workers. */
const RUNS = 'runs.json';
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');

interface Target {
  refId: string;
  expr: string;
  legendFormat: string;
  instant?: boolean;
  datasource: { type: string; uid: string };
}

interface Threshold {
  color: string;
  value: number | null;
}

interface Panel {
  id: number;
  type: string;
  title: string;
  description: string;
  gridPos: { x: number; y: number; w: number; h: number };
  datasource: { type: string; uid: string };
  targets: Target[];
  fieldConfig: {
    defaults: {
      unit?: string;
      color?: { mode: string };
      thresholds?: { steps: Threshold[] };
      mappings?: { options: Record<string, { text?: string }> }[];
    };
    overrides: { matcher: { id: string; options: string }; properties: { id: string; value: unknown }[] }[];
  };
}

interface Dashboard {
  uid: string;
  title: string;
  description: string;
  schemaVersion: number;
  refresh: string;
  time: { from: string; to: string };
  tags: string[];
  links: { type: string; url: string; tags: string[]; includeVars: boolean; keepTime: boolean }[];
  templating: { list: { name: string; type: string; query: unknown; current: { value?: string } }[] };
  annotations: { list: { expr?: string; datasource: { uid: string } }[] };
  panels: Panel[];
}

const dashboards = readdirSync(new URL(FOLDER, ROOT))
  .sort()
  .map((file) => ({ file, text: read(FOLDER + file), ...(JSON.parse(read(FOLDER + file)) as Dashboard) }));
const panels = dashboards.flatMap(({ file, panels }) => panels.map((panel) => ({ ...panel, file })));
const queries = panels.flatMap(({ file, title, targets }) => targets.map(({ expr }) => ({ file, title, expr })));
const PROMETHEUS = { type: 'prometheus', uid: `\${datasource}` };

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

function panelOf(file: string, title: string): Panel {
  const found = panels.find((panel) => panel.file === file && panel.title === title && panel.type === 'stat');
  if (!found) throw new Error(`${file} has no stat panel ${title}`);
  return found;
}

/** The numbers of the rules' first group, by their name. */
const thresholds = new Map<string, number>(
  parse(read(RULES)).groups[0].rules.map(({ record, expr }: { record: string; expr: string }) => {
    const factors = [...expr.matchAll(/[\d.]+/g)].map(([factor]) => Number(factor));
    return [record.replace('categorizer:threshold:', ''), factors.reduce((product, factor) => product * factor)];
  }),
);

describe('the dashboards', () => {
  it('are four, each with a uid of its own', () => {
    expect(dashboards.map(({ file }) => file)).toEqual(['batching.json', 'model.json', 'overview.json', RUNS]);
    expect(new Set(dashboards.map(({ uid }) => uid)).size).toBe(dashboards.length);
    for (const { file, uid } of dashboards) expect(uid).toBe(`categorizer-${file.replace('.json', '')}`);
  });

  it.each(dashboards)(
    'open $file with the last six hours, or nights, refreshed every 30 s, in the last schema of its kind',
    (board) => {
      const from = board.file === RUNS ? 'now-7d' : 'now-6h';
      expect(board).toMatchObject({ time: { from, to: 'now' }, refresh: '30s', schemaVersion: 42 });
      expect(board.description).toMatch(/\.$/);
    },
  );

  it.each(dashboards)('lead from $file to the others, with what was chosen, and to the runbooks', ({ tags, links }) => {
    const [others, runbooks] = links;
    expect(others).toMatchObject({ type: 'dashboards', tags, includeVars: true, keepTime: true });
    for (const board of dashboards) expect(board.tags).toEqual(expect.arrayContaining(others.tags));
    const base = read(RULES).match(/runbook_url: (\S+\/)\w+\.md/)?.[1];
    expect(runbooks).toMatchObject({ type: 'link', url: `${base}README.md` });
  });

  it('lead from an alert to its runbook', () => {
    const base = read(RULES).match(/runbook_url: (\S+\/)\w+\.md/)?.[1];
    const alerts = panels.find(({ type, title }) => type === 'table' && title === 'Alerts');
    expect(JSON.stringify(alerts)).toContain(`"url":"${base}\${__value.raw}.md"`);
  });

  it.each(dashboards)('use in $file only variables that it has, and all of them', ({ text, templating }) => {
    const used = [...text.matchAll(/\$\{?(\w+)/g)].map(([, name]) => name).filter((name) => !name.startsWith('__'));
    expect([...new Set(used)].sort()).toEqual(templating.list.map(({ name }) => name).sort());
  });

  it.each(dashboards)(
    'take in $file any Prometheus and any scrape job',
    ({ file, templating, annotations, panels }) => {
      expect(templating.list[0]).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' });
      // By another name, as a link takes what was chosen along to the other dashboards.
      const [name, value] = file === RUNS ? ['scheduler', 'categorizer-scheduler'] : ['job', 'categorizer-worker'];
      expect(templating.list[1]).toMatchObject({ name, current: { value } });
      for (const panel of panels) {
        expect(panel.datasource).toEqual(PROMETHEUS);
        for (const { datasource } of panel.targets) expect(datasource).toEqual(PROMETHEUS);
      }
      for (const { expr, datasource } of annotations.list) if (expr) expect(datasource).toEqual(PROMETHEUS);
    },
  );

  it('start with the queue of the jobs, and with the largest batch that a worker makes by default', () => {
    const variables = dashboards.flatMap(({ templating }) => templating.list);
    const chosen = (wanted: string) => variables.find(({ name }) => name === wanted)?.current.value;
    expect(chosen('queue')).toBe('product-categorization');
    expect(chosen('max_rows')).toBe(String(configSchema.parse({}).BATCH_MAX_ROWS));
  });
});

describe.each(dashboards)('the panels of $file', ({ panels }) => {
  it('have ids of their own, and none lies on another', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const pairs = panels.flatMap((one, at) => panels.slice(at + 1).map((other) => [one, other] as const));
    expect(pairs.filter(([one, other]) => overlap(one, other)).map(([one, other]) => [one.title, other.title])).toEqual(
      [],
    );
    for (const { gridPos } of panels) expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
  });

  it('begin with one row of figures', () => {
    const row = panels.filter(({ gridPos }) => gridPos.y === 0);
    expect(row.reduce((width, { gridPos }) => width + gridPos.w, 0)).toBe(24);
    expect(row.map(({ type }) => type)).toEqual(row.map(() => 'stat'));
    expect(row.filter(({ fieldConfig }) => fieldConfig.defaults.color?.mode === 'thresholds').length).toBeGreaterThan(
      2,
    );
  });

  it.each(panels)('say what is on $title, and in which unit', ({ title, description, fieldConfig, targets }) => {
    expect(title).toMatch(/^[A-Z]/);
    expect(description).toMatch(/^[A-Z0-9].*\.$/s);
    expect(fieldConfig.defaults.unit).toMatch(/^\w+$/);
    expect(targets).not.toEqual([]);
    expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
  });

  it.each(panels)('name every line of $title', ({ type, targets }) => {
    for (const { legendFormat } of targets) expect(legendFormat).toMatch(type === 'table' ? /./ : /^(?!__auto$)./);
  });

  it.each(panels)('draw a threshold on $title as a dashed line', ({ targets, fieldConfig }) => {
    const names = targets.map(({ legendFormat }) => legendFormat);
    const dashed = fieldConfig.overrides.filter(({ properties }) =>
      properties.some(({ id }) => id === 'custom.lineStyle'),
    );
    expect(dashed.some(({ matcher }) => matcher.options === 'threshold')).toBe(names.includes('threshold'));
  });
});

describe('a query', () => {
  it.each(queries)('has no range of its own on $title: $expr', ({ expr }) => {
    expect(expr).not.toMatch(/\[\s*\d/);
    for (const [, range] of expr.matchAll(/\b(?:rate|irate)\([^[]*\[([^\]]+)\]/g))
      expect(range).toBe('$__rate_interval');
  });

  it('takes the largest of a gauge that every replica exports alike, and the sum of counters', () => {
    const all = queries.map(({ expr }) => expr).join('\n');
    const gauges = /(max by \([\w, ]+\) \()?(?<![:\w])categorizer_(?:queue|run)_\w+(?<!_total)(?!\w)/g;
    const ranges = /(sum(?: by \([\w, ]+\) | ?)\()?\b(?:rate|increase)\(/g;
    for (const pattern of [gauges, ranges]) {
      const found = [...all.matchAll(pattern)];
      expect(found).not.toEqual([]);
      expect(found.filter(([, aggregate]) => aggregate === undefined)).toEqual([]);
    }
  });

  it.each(dashboards)('asks for one scrape job wherever $file asks the program', ({ file, panels }) => {
    const asked = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    const all = asked.join('\n');
    const selectors = [...all.matchAll(/(?<![\w:])(?:\w+:)?(?:categorizer|nodejs|process)_[\w:]+(\{[^}]*\})?/g)];
    expect(selectors.length).toBeGreaterThan(asked.length / 2);
    const job = file === RUNS ? 'job="$scheduler"' : 'job="$job"';
    expect(selectors.filter(([, labels]) => !labels?.includes(job)).map(([text]) => text)).toEqual([]);
  });

  it('asks for the chosen runs wherever it asks for runs', () => {
    const selectors = queries.flatMap(({ expr }) => [...expr.matchAll(/(?<![\w:])categorizer_run_\w+(\{[^}]*\})?/g)]);
    expect(selectors).not.toEqual([]);
    expect(selectors.filter(([, labels]) => !labels?.includes('run=~"$run"')).map(([text]) => text)).toEqual([]);
  });

  it('has every state of a run, each with its name', () => {
    const [timeline] = panels.filter(({ type }) => type === 'state-timeline');
    const { mappings } = timeline.fieldConfig.defaults;
    const names = Object.entries(mappings?.[0].options ?? {}).map(([value, { text }]) => [Number(value), text]);
    const asked = [...timeline.targets[0].expr.matchAll(/(\d) \* \(max [^}]*state="(\w+)"/g)];
    expect(asked.map(([, value, state]) => [Number(value), state])).toEqual(names);
    expect(names.map(([, state]) => state)).toEqual(RUN_STATES);
  });
});

describe('a colour', () => {
  const thresholdOf = (name: string) => thresholds.get(name) ?? Number.NaN;
  const burning = thresholdOf('failure_burn_rate') * thresholdOf('failure_budget_ratio');
  const unsure = thresholdOf('low_confidence_multiple') * thresholdOf('low_confidence_floor_ratio');

  it.each([
    ['overview.json', 'Queue lag', thresholdOf('lag_seconds')],
    ['overview.json', 'Time to drain', thresholdOf('drain_seconds')],
    ['overview.json', 'Jobs failed, last hour', burning],
    [RUNS, 'Due and not done', thresholdOf('overdue_seconds')],
    [RUNS, 'Waits for approval', thresholdOf('approval_seconds')],
    ['model.json', 'Drift (PSI)', thresholdOf('category_mix_psi')],
    ['model.json', 'Low confidence, last hour', unsure],
  ])('turns red in %s on %s where the alert begins, at %d', (file, title, expected) => {
    const steps = panelOf(file, title).fieldConfig.defaults.thresholds?.steps ?? [];
    expect(steps.map(({ color }) => color)).toEqual(['green', 'yellow', 'red']);
    expect(steps[2].value).toBeCloseTo(expected, 9);
    expect(steps[1].value).toBeLessThan(expected);
  });
});
