import { Command } from 'commander';
import { predictSource } from '../application/predict-source.ts';
import { composePredict, openProductSource, openResultFile } from '../composition.ts';
import {
  type CommandContext,
  EXIT,
  formatFields,
  formatOption,
  formatTotal,
  outputFormat,
  productsArgument,
} from './context.ts';

interface Options {
  out: string;
  format?: 'csv' | 'jsonl';
  json?: boolean;
}

export function predictCommand(context: CommandContext): Command {
  return new Command('predict')
    .description('categorize the products of a file here, with no queue and no server')
    .addArgument(productsArgument())
    .addOption(formatOption('format of the input (default: told from its first character)'))
    .option('--out <file>', 'where to; - for standard output', '-')
    .option('--json', 'print the summary as JSON (with --out FILE)')
    .addHelpText(
      'after',
      `
Gives the same categories as the worker, in the order of the input, rejected products among them.
The output is CSV, or JSON lines where --out ends in .jsonl. Exit code 3: done, but some products were rejected.

Examples:
  $ categorizer predict catalogue.csv --out categories.csv
  $ echo '{"productId":"P1","features":[3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3]}' | categorizer predict -`,
    )
    .action((file: string, options: Options, command: Command) => {
      if (options.json && options.out === '-') command.error('error: --json needs --out FILE');
      return predict(file, options, context);
    });
}

async function predict(path: string, options: Options, context: CommandContext): Promise<void> {
  const config = context.config();
  const { out } = options;
  const { model, categorizeProducts, close } = await composePredict(config);
  try {
    const source = await openProductSource({ path, format: options.format, width: model.width, stop: context.stop });
    const file = openResultFile(out, { format: outputFormat(undefined, out), keep: false });
    const summary = await predictSource(
      { source, categorizeProducts, file, model },
      { rows: config.BATCH_MAX_ROWS, stop: context.stop },
    );
    const show = out === '-' ? context.note : context.print;
    show(
      options.json
        ? JSON.stringify({ out, ...summary })
        : formatFields({
            products: summary.products,
            categorized: formatTotal(summary.categorized, summary.byCategory),
            rejected: formatTotal(summary.rejected, summary.rejectedByCode),
            ...(out !== '-' && { file: out }),
          }),
    );
    context.exitWith(summary.rejected > 0 ? EXIT.REJECTS : EXIT.DONE);
  } finally {
    await close();
  }
}
