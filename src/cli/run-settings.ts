/** What decides what a recategorization does: the options of `recategorize` and of `schedule set`. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { maxChunkProducts } from '../contract/index.ts';
import { DEFAULT_LOCK_TIMEOUT_MS, type RunSettings, warningOf } from '../domain/run.ts';
import { type CommandContext, integerOption, ratioOption } from './context.ts';

/** Seconds; what takes longer is no wait for a lock. */
const LEAST_LOCK_TIMEOUT = 0.1;
const LONGEST_LOCK_TIMEOUT = 600;

export interface RunSettingsOptions {
  sourceSql?: string;
  sourceTable?: string;
  idColumn: string;
  featureColumns: readonly string[];
  categoryColumn?: string;
  full?: boolean;
  maxChangeRatio: number;
  maxRejectRatio: number;
  minProducts: number;
  reviewBelow: number;
  apply?: boolean;
  applySql?: string;
  lockTimeout: number;
  sliceSize: number;
  maxPending: number;
}

export function addRunSettingsOptions(command: Command): Command {
  return command
    .option('--source-sql <query>', 'the catalogue: a query with a row for each product', statement)
    .option('--source-table <table>', 'the catalogue: a table or view, as name or schema.name')
    .option('--id-column <name>', 'column of the product id', 'product_id')
    .addOption(
      new Option('--feature-columns <columns>', 'one column that holds an array, a list a,b,c or a range f0..f15')
        .argParser(parseColumns)
        .default(['features'], 'features'),
    )
    .option(
      '--category-column <name>',
      'column of the present category; without --apply or --apply-sql it counts only for products that no run has categorized yet',
    )
    .option('--full', 'categorize every product, also those whose input is the same as last time')
    .option('--max-change-ratio <ratio>', 'wait for approval when a larger share would change', ratioOption, 0.1)
    .option('--max-reject-ratio <ratio>', 'wait for approval when a larger share is rejected', ratioOption, 0.01)
    .option(
      '--min-products <number>',
      'wait for approval when the source gives fewer',
      integerOption(0, 2_000_000_000),
      1,
    )
    .option('--review-below <confidence>', 'ask a person about products below it, and leave them', ratioOption, 0.7)
    .option(
      '--apply',
      'write the categories to --category-column of --source-table, except where somebody changed one in the meantime',
    )
    .addOption(
      applySqlOption(
        "instead of --apply: a statement of the ERP's own for each slice, in its transaction; it reads the table categorizer_changes",
      ),
    )
    .option(
      '--lock-timeout <seconds>',
      'wait this long for rows that others hold, then go on in smaller steps without them',
      secondsOption,
      DEFAULT_LOCK_TIMEOUT_MS / 1000,
    )
    .option('--slice-size <products>', 'products in a job, and in a transaction', integerOption(1, 10_000), 8192)
    .option(
      '--max-pending <MiB>',
      'wait while about so much of products is in Redis and not categorized',
      integerOption(1, 1_000_000),
      256,
    );
}

export function applySqlOption(description: string): Option {
  return new Option('--apply-sql <statement>', description).argParser(statement);
}

export const RUN_SETTINGS_HELP = `
The source gives a product id, a feature vector (an array of numbers, or a column for each) and, where it has one, the
present category. With --apply the program writes that column itself: only where it still has the category that the run
saw, so that what somebody changed in the meantime stays, and is reported. A statement of --apply-sql finds the changes of
its slice in the table
  categorizer_changes (product_id, category_code, previous_category_code, confidence, run_id, action)
where action is 'apply', or 'revert' with the former category (null: none). It must compare with previous_category_code.`;

/** The options of these that were typed. */
export function typedRunSettings(command: Command): string[] {
  const own = addRunSettingsOptions(new Command()).options;
  return own
    .filter((option) => command.getOptionValueSource(option.attributeName()) === 'cli')
    .flatMap(({ long }) => long ?? []);
}

/** What the options alone show, before anything is opened. */
export function checkSource(options: RunSettingsOptions, command: Command): void {
  const { sourceSql, sourceTable, categoryColumn, apply, applySql } = options;
  if ((sourceSql === undefined) === (sourceTable === undefined)) {
    command.error('error: say where the products are: --source-sql or --source-table');
  }
  if (!apply) return;
  if (applySql !== undefined) {
    command.error('error: --apply writes the column itself, --apply-sql with a statement: say one of them');
  }
  if (sourceTable === undefined || categoryColumn === undefined) {
    command.error('error: --apply needs to know what to write: --source-table and --category-column');
  }
}

/** Says once what may go wrong with a statement, as soon as it is given. */
export function warnOfStatement(settings: { readonly applySql?: string }, context: Pick<CommandContext, 'note'>): void {
  const warning = warningOf(settings);
  if (warning !== undefined) context.note(`warning: ${warning}`);
}

/** @param width numbers in a feature vector */
export function toRunSettings(options: RunSettingsOptions, width: number, dryRun: boolean): RunSettings {
  const { sourceSql: sql, sourceTable: table, idColumn, featureColumns, categoryColumn, sliceSize } = options;
  return {
    source: { sql, table, idColumn, featureColumns, categoryColumn },
    full: options.full ?? false,
    dryRun,
    maxChangeRatio: options.maxChangeRatio,
    maxRejectRatio: options.maxRejectRatio,
    minProducts: options.minProducts,
    reviewBelow: options.reviewBelow,
    ...(options.apply && { apply: true }),
    applySql: options.applySql,
    lockTimeoutMs: options.lockTimeout * 1000,
    sliceSize: Math.min(sliceSize, maxChunkProducts(width)),
    maxPendingMiB: options.maxPending,
  };
}

function secondsOption(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= LEAST_LOCK_TIMEOUT && value <= LONGEST_LOCK_TIMEOUT) return value;
  throw new InvalidArgumentError(`expected seconds from ${LEAST_LOCK_TIMEOUT} to ${LONGEST_LOCK_TIMEOUT}.`);
}

/** A semicolon at its end would end the query that it becomes part of. */
function statement(text: string): string {
  const trimmed = text.trim().replace(/;\s*$/, '');
  if (trimmed === '') throw new InvalidArgumentError('expected a statement.');
  return trimmed;
}

function parseColumns(text: string): string[] {
  const range = /^(.*?)(\d+)\.\.(.*?)(\d+)$/.exec(text);
  if (range === null) return text.split(',').map((name) => name.trim());
  const [, start, first, end, last] = range;
  const [from, to] = [Number(first), Number(last)];
  if (start !== end || to < from) throw new InvalidArgumentError('expected a range like f0..f15.');
  return Array.from({ length: to - from + 1 }, (_, i) => `${start}${from + i}`);
}
