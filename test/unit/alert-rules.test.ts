import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const RUNBOOKS = 'https://github.com/product-categorizer/product-categorizer/blob/main/';
/** The level is what a series is grouped by; that of a threshold is the program. */
const RECORDED = /[a-z_]+:[a-z_]+:[a-z0-9_]+/g;

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly keep_firing_for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Recording {
  readonly record: string;
  readonly expr: string;
}

interface PromtoolTest {
  readonly name: string;
  readonly alert_rule_test?: readonly { readonly alertname: string; readonly exp_alerts?: readonly unknown[] }[];
  readonly promql_expr_test?: readonly { readonly expr: string; readonly exp_samples?: readonly unknown[] }[];
}

const TEXT = read('deploy/prometheus/categorizer.rules.yml');
const { groups }: { groups: { name: string; rules: (Alert | Recording)[] }[] } = parse(TEXT);
const RULES = groups.flatMap(({ rules }) => rules);
const ALERTS = RULES.filter((rule): rule is Alert => 'alert' in rule);
const RECORDINGS = RULES.filter((rule): rule is Recording => 'record' in rule);
const THRESHOLDS = groups[0].rules.filter((rule): rule is Recording => 'record' in rule);
const PROMTOOL_TESTS = readdirSync(join(ROOT, 'deploy/prometheus/tests')).flatMap((name): PromtoolTest[] => {
  return parse(read(`deploy/prometheus/tests/${name}`)).tests;
});
const DOCS = read('docs/alerts.md');

/** The cells of the row of a table that begins with this name. */
function rowOf(name: string): string[] {
  const rows = DOCS.split('\n').filter((line) => line.startsWith(`| \`${name}\` |`));
  expect(rows, `rows of ${name} in docs/alerts.md`).toHaveLength(1);
  return rows[0].split('|').map((cell) => cell.trim());
}

describe.each(ALERTS)('$alert', ({ alert, expr, labels, annotations, ...rule }) => {
  it('says how urgent it is, and of what', () => {
    expect(labels.severity).toMatch(alert === 'CategorizerWatchdog' ? /^none$/ : /^(critical|warning|info)$/);
    expect(labels.component).toBe('categorizer');
  });

  it('has a summary that is always the same, and a description with the figure', () => {
    expect(annotations.summary).toMatch(/^[^{}]+\.$/);
    expect(annotations.description).toMatch(/\{\{ \$value \| .+ \}\}|\| value \| humanize/);
  });

  it('has a runbook', () => {
    expect(annotations.runbook_url).toBe(`${RUNBOOKS}docs/runbooks/${alert}.md`);
    expect(existsSync(join(ROOT, `docs/runbooks/${alert}.md`)), `docs/runbooks/${alert}.md`).toBe(true);
  });

  it('compares with thresholds, and with no number of its own', () => {
    const numbers = [...expr.matchAll(/[<>=]=?\s*(\d[\d.]*)/g)].map(([, number]) => Number(number));
    expect(numbers.filter((number) => number > 1)).toEqual([]);
  });

  it('is in the table of the docs', () => {
    const [, , , severity, time] = rowOf(alert);
    expect(severity).toBe(labels.severity);
    expect(time).toBe(rule.for ?? 'at once');
  });
});

describe.each(ALERTS.filter(({ alert }) => alert !== 'CategorizerWatchdog'))('the tests of $alert', ({ alert }) => {
  it.each(['fires', 'does not fire just before', 'with the series missing', 'through a counter reset'])(
    'have one that is named "… %s"',
    (name) => {
      expect(PROMTOOL_TESTS.filter((test) => test.name === `${alert} ${name}`)).toHaveLength(1);
    },
  );

  it('expect it in the one, and not in the other', () => {
    const [fires, before] = ['fires', 'does not fire just before'].map((name) =>
      PROMTOOL_TESTS.find((test) => test.name === `${alert} ${name}`),
    );
    const expected = fires?.alert_rule_test?.filter(({ alertname }) => alertname === alert) ?? [];
    expect(expected.some(({ exp_alerts }) => exp_alerts?.length)).toBe(true);
    for (const { exp_alerts } of before?.alert_rule_test ?? []) expect(exp_alerts ?? []).toEqual([]);
    const silent = before?.promql_expr_test?.filter(({ exp_samples }) => !exp_samples?.length) ?? [];
    expect(silent.some(({ expr }) => expr.includes(`ALERTS{alertname="${alert}"`))).toBe(true);
  });
});

describe('the recording rules', () => {
  it('are named by level, metric and operations', () => {
    for (const { record } of RECORDINGS) {
      expect(record).toMatch(
        /^(categorizer:threshold|job(_queue|_run|_queue_state|_run_state|_category)?:[a-z_]+):[a-z0-9_]+$/,
      );
    }
  });

  it('are there for every name that another rule asks for: an absent one would only make it silent', () => {
    const recorded = new Set(RECORDINGS.map(({ record }) => record));
    const asked = RULES.flatMap((rule) => [rule.expr, 'alert' in rule ? rule.annotations.description : ''])
      .flatMap((text) => text.match(RECORDED) ?? [])
      .filter((name) => !recorded.has(name));
    expect(asked).toEqual([]);
  });

  it('take the greatest of the gauges that are the same on every replica, and never look at one instance', () => {
    for (const { expr } of RULES) {
      if (/(?<!:)\bcategorizer_(queue|run)_\w+(\{[^}]*\})?\[/.test(expr)) {
        expect(expr).toMatch(/^max by \(job(, queue|, run)?(, state)?\) /);
      }
      expect(expr).not.toContain('instance');
    }
  });

  it('look as far back for the night before as a night may take', () => {
    const exprOf = (name: string) => RECORDINGS.find(({ record }) => record === name)?.expr;
    const [, hours] =
      exprOf('job_run:categorizer_run_due_timestamp_seconds:max_offset4h')?.match(/offset (\d+)h/) ?? [];
    expect(exprOf('categorizer:threshold:overdue_seconds')).toBe(`vector(${3600 * Number(hours)})`);
  });
});

describe('the thresholds', () => {
  it('are the first group, and each is a number with its reason above it', () => {
    expect(groups[0].name).toBe('categorizer-thresholds');
    for (const { record, expr } of THRESHOLDS) {
      expect(expr).toMatch(/^vector\(\d+(\.\d+)?\)$/);
      expect(TEXT).toMatch(new RegExp(`\\n      # .+\\.\\n      - record: ${record}\\n`));
    }
  });

  it('are each compared with, and each in the table of the docs with its value', () => {
    for (const { record, expr } of THRESHOLDS) {
      expect(RULES.filter((rule) => rule.expr.includes(`scalar(${record})`)).length).toBeGreaterThan(0);
      expect(`vector(${rowOf(record)[2]})`).toBe(expr);
    }
  });
});

it('Alertmanager inhibits by names that alerts have', () => {
  const { inhibit_rules } = parse(read('deploy/alertmanager/alertmanager.yml'));
  const names = JSON.stringify(inhibit_rules).match(/Categorizer\w+/g) ?? [];
  expect(names.length).toBeGreaterThan(0);
  expect(ALERTS.map(({ alert }) => alert)).toEqual(expect.arrayContaining(names));
});

it('Prometheus scrapes the jobs that the rules name, at the interval that their ranges are made for', () => {
  const { global, scrape_configs } = parse(read('deploy/prometheus/prometheus.yml'));
  expect(global).toMatchObject({ scrape_interval: '15s', evaluation_interval: '15s' });
  const scraped = scrape_configs.map(({ job_name }: { job_name: string }) => job_name);
  const named = RULES.flatMap(({ expr }) => [...expr.matchAll(/job="([^"]+)"/g)].map(([, job]) => job));
  expect([...new Set(named)].sort()).toEqual([...scraped].sort());
});

describe('an alert that inhibits others', () => {
  const MINUTES = /^(\d+)m$/;
  const keptFor = (name: string) => {
    const found = ALERTS.find(({ alert }) => alert === name)?.keep_firing_for;
    return Number(MINUTES.exec(found ?? '')?.[1]);
  };
  const { inhibit_rules }: { inhibit_rules: { source_matchers: string[]; target_matchers: string[] }[] } = parse(
    read('deploy/alertmanager/alertmanager.yml'),
  );
  const pairs = inhibit_rules.flatMap(({ source_matchers: [source], target_matchers: [targets] }) => {
    const named = (matcher: string) => /"(.+)"/.exec(matcher)?.[1].split('|') ?? [];
    return named(source).flatMap((from) => named(targets).map((to) => ({ from, to })));
  });

  it.each(pairs)('$from keeps firing longer than $to, which would be sent when an outage is over', ({ from, to }) => {
    expect(keptFor(from)).toBeGreaterThan(keptFor(to));
  });

  it('is there', () => {
    expect(pairs.length).toBeGreaterThan(0);
  });
});
