import { parser } from '@prometheus-io/lezer-promql';
import { parse, stringify } from 'yaml';

interface Rule {
  record?: string;
  expr: string;
  for?: string;
  keep_firing_for?: string;
}

interface RuleFile {
  groups: { name: string; interval?: string; rules: Rule[] }[];
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
};

/** A rate needs two samples in its range, and a scrape can be late: with one each second, no range is shorter. */
const SHORTEST_RANGE_MS = 5000;

/** `1h30m` divided; what comes out is in whole milliseconds. */
export function divideDuration(duration: string, by: number, leastMs = 0): string {
  const parts = [...duration.matchAll(/(\d+)(ms|[smhdwy])/g)];
  const ms = parts.reduce((sum, [, count, unit]) => sum + Number(count) * UNIT_MS[unit], 0);
  return `${Math.max(leastMs, Math.round(ms / by))}ms`;
}

/**
 * Rules with shorter times: `for`, `keep_firing_for` and all ranges and offsets in expressions are divided, and every
 * group is evaluated each second. Everything else stays.
 *
 * @param thresholds what thresholds are instead, by the name of their recording rule
 * @throws Error where there is no rule of such a name
 */
export function shortenRules(
  text: string,
  { divideBy, thresholds }: { readonly divideBy: number; readonly thresholds: Readonly<Record<string, number>> },
): string {
  const file: RuleFile = parse(text);
  const rules = file.groups.flatMap((group) => group.rules);
  for (const name of Object.keys(thresholds)) {
    if (!rules.some(({ record }) => record === name)) throw new Error(`no rule records ${name}`);
  }
  for (const rule of rules) {
    rule.expr = shortenExpression(rule.expr, divideBy);
    if (rule.record !== undefined && rule.record in thresholds) rule.expr = `vector(${thresholds[rule.record]})`;
    if (rule.for !== undefined) rule.for = divideDuration(rule.for, divideBy);
    if (rule.keep_firing_for !== undefined) rule.keep_firing_for = divideDuration(rule.keep_firing_for, divideBy);
  }
  for (const group of file.groups) group.interval = '1s';
  return stringify(file);
}

function shortenExpression(expression: string, divideBy: number): string {
  let shortened = '';
  let copied = 0;
  parser.parse(expression).iterate({
    enter({ name, from, to }) {
      if (name !== 'NumberDurationLiteralInDurationContext') return;
      shortened += expression.slice(copied, from);
      shortened += divideDuration(expression.slice(from, to), divideBy, SHORTEST_RANGE_MS);
      copied = to;
    },
  });
  return shortened + expression.slice(copied);
}
