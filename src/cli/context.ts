import { InvalidArgumentError, Option } from 'commander';
import type { Tally } from '../application/outcome-tally.ts';
import type { OutputFormat } from '../composition.ts';
import type { Config } from '../config.ts';
import { runIdSchema, spaceSchema } from '../contract/index.ts';
import { printableLine } from '../domain/printable.ts';

/** What became of a command. Stable: scripts rely on it. */
export const EXIT = {
  DONE: 0,
  FAILED: 1,
  USAGE: 2,
  /** Done, but some products were rejected, or could not be written. */
  REJECTS: 3,
  /** A run is not applied before a person has approved it. */
  AWAITING_APPROVAL: 4,
  CONFIG: 78,
  /** Plus the number of the signal: 130 for SIGINT, 143 for SIGTERM. */
  SIGNAL: 128,
} as const;

/** What a command gets from the process. */
export interface CommandContext {
  /** Reads the environment when it is needed, so that `--help` works in any. @throws ConfigError */
  config(): Config;
  /** What a person types to run this command again. */
  readonly command: string;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly stop: AbortSignal;
  /** Text or JSON, to standard output. What a terminal would obey is escaped: bytes that must stay go another way. */
  print(text: string): void;
  /** Everything else, to standard error, escaped as well. */
  note(text: string): void;
  exitWith(code: number): void;
}

/** A parser for options that are whole numbers. */
export function integerOption(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
  };
}

/** A parser for options that are durations: `90`, `90s`, `15m`, `2h`. @returns milliseconds */
export function durationOption(text: string): number {
  const [, number, unit = 's'] = /^(\d{1,9})(s|m|h)?$/.exec(text) ?? [];
  if (number === undefined) throw new InvalidArgumentError('expected a duration like 90s, 15m or 2h.');
  const seconds = { s: 1, m: 60, h: 3600 }[unit] ?? 1;
  return Number(number) * seconds * 1000;
}

/** A parser for options that are shares or probabilities. */
export function ratioOption(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('expected a number from 0 to 1.');
}

export function runOption(description: string): Option {
  return new Option('--run <id>', description).argParser((text: string) => {
    if (runIdSchema.safeParse(text).success) return text;
    throw new InvalidArgumentError('expected 1 to 100 of A-Z a-z 0-9 . _ -');
  });
}

export function spaceOption(description: string): Option {
  return new Option('--space <name>', description).argParser((text: string) => {
    if (spaceSchema.safeParse(text).success) return text;
    throw new InvalidArgumentError('expected 1 to 100 of A-Z a-z 0-9 . _ : -');
  });
}

export function outputFormatOption(flags: string): Option {
  return new Option(flags, 'format of the output (default: by the ending of --out, else csv)').choices([
    'csv',
    'jsonl',
    'parquet',
  ]);
}

/** Where no format is said, the file's ending tells it. */
export function outputFormat(said: OutputFormat | undefined, path: string): OutputFormat {
  if (said) return said;
  if (/\.parquet$/i.test(path)) return 'parquet';
  return /\.(jsonl|ndjson)$/i.test(path) ? 'jsonl' : 'csv';
}

/** Lines of `name  value`, the values in one column. */
export function formatFields(fields: Readonly<Record<string, string | number>>): string {
  const lines = Object.entries(fields).map(([name, value]) => [printableLine(name), printableLine(String(value))]);
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}

/** Columns of equal width, two blanks between; from column `numbersFrom` on they end at the right. */
export function formatTable(cells: readonly (readonly string[])[], numbersFrom: number): string {
  const rows = cells.map((row) => row.map(printableLine));
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (i < numbersFrom ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd();
  return rows.map(line).join('\n');
}

/** `A 12, B 3`, the most frequent first. */
export function formatCounts(counts: Readonly<Record<string, number>>): string {
  const entries = Object.entries(counts).sort(([, a], [, b]) => b - a);
  return entries.length === 0 ? '-' : entries.map(([name, count]) => `${name} ${formatNumber(count)}`).join(', ');
}

/** `3 (A 2, B 1)`; `3` where nothing is known of what they are. */
export function formatTotal(total: number, counts: Readonly<Record<string, number>>): string {
  return Object.keys(counts).length === 0 ? formatNumber(total) : `${formatNumber(total)} (${formatCounts(counts)})`;
}

/** What came out of the products that this call met, for people. */
export function describeTally(tally: Tally, reviewBelow: number): Record<string, string | number> {
  const { products, categorized, rejected, rejectedByCode } = tally;
  return {
    products: formatNumber(products),
    categorized: formatNumber(categorized),
    rejected: formatTotal(rejected, rejectedByCode),
    ...describeCategories(tally, reviewBelow),
  };
}

/** The share of each category, and how sure the model was; nothing where nothing was categorized. */
export function describeCategories(tally: Tally, reviewBelow: number): Record<string, string | number> {
  const { categorized, byCategory, meanConfidence, toReview, outside } = tally;
  if (categorized === 0) return {};
  return {
    categories: formatShares(byCategory, categorized),
    ...(meanConfidence !== undefined && { confidence: `${meanConfidence.toFixed(3)} on average` }),
    'to review': `${formatNumber(toReview)} below ${reviewBelow}`,
    ...(outside !== undefined && {
      'unlike training': `${formatNumber(outside)} (${percent(outside, categorized)}) lie far outside of what the model was trained on`,
    }),
  };
}

/** From this share on, products far outside are no chance. */
const MANY_OUTSIDE = 0.01;

/** Warns where the confidences of a model mean little, because it was trained on other products. */
export function noteOutside({ outside = 0, categorized }: Tally, { note }: Pick<CommandContext, 'note'>): void {
  if (outside <= MANY_OUTSIDE * categorized) return;
  note(
    `${percent(outside, categorized)} of the products lie far outside of what the model was trained on: it may be sure of them and wrong; compare some by hand, and see: categorizer model check`,
  );
}

/** `1,204`. */
export function formatNumber(value: number): string {
  return value.toLocaleString('en-US');
}

/** `A 62.1 %, B 37.9 %`, the largest first. */
function formatShares(counts: Readonly<Record<string, number>>, total: number): string {
  const entries = Object.entries(counts).sort(([, a], [, b]) => b - a);
  return entries.map(([name, count]) => `${name} ${percent(count, total)}`).join(', ');
}

function percent(count: number, total: number): string {
  return `${((100 * count) / total).toFixed(1)} %`;
}
