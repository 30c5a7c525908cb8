/** What the commands that read products have in common: their options, and how they open the input. */
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import { type FileProductSource, type InputFormat, openProductSource } from '../composition.ts';
import { type CommandContext, integerOption } from './context.ts';

export interface InputOptions {
  format?: InputFormat;
  delimiter?: string;
  decimal?: '.' | ',';
  encoding?: 'utf-8' | 'latin-1';
  idColumn?: string;
  featureColumns?: string;
  onDuplicate: 'first' | 'last' | 'reject';
  maxRejects?: number;
}

export function addInputOptions(command: Command): Command {
  return command
    .addArgument(
      new Argument(
        '<file...>',
        'CSV, JSON lines or Parquet, gzipped or not; files and globs; - for standard input (CSV or JSON lines)',
      ),
    )
    .addOption(
      new Option('--format <format>', 'format of the input (default: told from its content)').choices([
        'csv',
        'jsonl',
        'parquet',
      ]),
    )
    .option(
      '--delimiter <character>',
      'between the cells of a CSV; tab for a tab (default: told from its header)',
      oneCharacter,
    )
    .addOption(
      new Option('--decimal <sign>', 'decimal sign in a CSV (default: told from its first rows)').choices(['.', ',']),
    )
    .addOption(
      new Option('--encoding <name>', 'of a CSV (default: utf-8 where all of it is that)').choices([
        'utf-8',
        'latin-1',
      ]),
    )
    .option('--id-column <name>', 'column of the product id (default: product_id or productId)')
    .option(
      '--feature-columns <columns>',
      'a range f0..f15, a list a,b,c, a prefix feat_* or one column that holds arrays (default: f0, f1 … or features)',
    )
    .addOption(
      new Option('--on-duplicate <policy>', 'which row of a product id counts that stands more than once')
        .choices(['first', 'last', 'reject'])
        .default('reject'),
    )
    .option('--max-rejects <rows>', 'stop when more rows are rejected', integerOption(0, 1_000_000_000));
}

function oneCharacter(text: string): string {
  if (text === 'tab' || text === '\\t') return '\t';
  if (/^[^"\r\n]$/.test(text)) return text;
  throw new InvalidArgumentError('expected one character, or tab.');
}

/** @param width numbers in a feature vector */
export function openInput(
  files: readonly string[],
  options: InputOptions,
  width: number,
  { stop }: CommandContext,
): Promise<FileProductSource> {
  const { format, delimiter, decimal, encoding, idColumn, featureColumns, onDuplicate, maxRejects } = options;
  const said = { format, delimiter, decimal, encoding, idColumn, featureColumns, onDuplicate, maxRejects };
  return openProductSource({ paths: files, width, stop, ...said });
}
