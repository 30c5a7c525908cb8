/** What decides what a recategorization does: the options of `recategorize` and of `schedule set`. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { maxChunkProducts } from '../contract/index.ts';
import type { RunSettings } from '../domain/run.ts';
import { integerOption, ratioOption } from './context.ts';

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
  applySql?: string;
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
      'column of the present category; without --apply-sql it counts only for products that no run has categorized yet',
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
    .addOption(
      applySqlOption(
        "a statement of the ERP's own for each slice, in its transaction; it reads the table categorizer_changes",
      ),
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
present category. A statement of --apply-sql finds the changes of its slice in the table
  categorizer_changes (product_id, category_code, previous_category_code, confidence, run_id, action)
where action is 'apply', or 'revert' with the former category (null: none).`;

/** The options of these that were typed. */
export function typedRunSettings(command: Command): string[] {
  const own = addRunSettingsOptions(new Command()).options;
  return own
    .filter((option) => command.getOptionValueSource(option.attributeName()) === 'cli')
    .flatMap(({ long }) => long ?? []);
}

/** What the options alone show, before anything is opened. */
export function checkSource({ sourceSql, sourceTable }: RunSettingsOptions, command: Command): void {
  if ((sourceSql === undefined) === (sourceTable === undefined)) {
    command.error('error: say where the products are: --source-sql or --source-table');
  }
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
    applySql: options.applySql,
    sliceSize: Math.min(sliceSize, maxChunkProducts(width)),
    maxPendingMiB: options.maxPending,
  };
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
