import { Command } from 'commander';
import { predictSource } from '../application/predict-source.ts';
import { composePredict, openResultFile } from '../composition.ts';
import { isSynthetic, syntheticWarning } from '../domain/category.ts';
import { addReviewOption } from './collection.ts';
import { type CommandContext, describeTally, EXIT, formatFields, noteOutside, outputFormat } from './context.ts';
import { addInputOptions, type InputOptions, openInput } from './input.ts';

interface Options extends InputOptions {
  out: string;
  reviewBelow: number;
  json?: boolean;
}

export function predictCommand(context: CommandContext): Command {
  const command = new Command('predict').description(
    'categorize the products of files here, with no queue and no server',
  );
  return addReviewOption(addInputOptions(command))
    .option('--out <file>', 'where to; - for standard output', '-')
    .option('--json', 'print the summary as JSON (with --out FILE)')
    .addHelpText(
      'after',
      `
Gives the same categories as the worker, in the order of the input, and then the rejected products.
The output is CSV, or JSON lines or Parquet where --out ends in .jsonl or .parquet.
Exit code 3: done, but some products were rejected.

Examples:
  $ categorizer predict catalogue.csv --out categories.csv
  $ echo '{"productId":"P1","features":[3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3]}' | categorizer predict -`,
    )
    .action((files: string[], options: Options, self: Command) => {
      if (options.json && options.out === '-') self.error('error: --json needs --out FILE');
      return predict(files, options, context);
    });
}

async function predict(files: readonly string[], options: Options, context: CommandContext): Promise<void> {
  const { out, reviewBelow } = options;
  const { model, categorizeProducts, close } = await composePredict(context.config());
  try {
    const source = await openInput(files, options, model.width, context);
    try {
      const file = openResultFile(out, { format: outputFormat(undefined, out), keep: false });
      const tally = await predictSource(
        { source, categorizeProducts, file, model },
        { reviewBelow, stop: context.stop },
      );
      const show = out === '-' ? context.note : context.print;
      show(
        options.json
          ? JSON.stringify({ out, ...tally })
          : formatFields({ ...describeTally(tally, reviewBelow), ...(out !== '-' && { file: out }) }),
      );
      if (isSynthetic(model)) context.note(syntheticWarning(model));
      noteOutside(tally, context);
      context.exitWith(tally.rejected > 0 ? EXIT.REJECTS : EXIT.DONE);
    } finally {
      await source.close();
    }
  } finally {
    await close();
  }
}
