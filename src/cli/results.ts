import { Command } from 'commander';
import { composeQueues, type OutputFormat } from '../composition.ts';
import { addCollectOptions, type CollectOptions, collect, conclude, describeCollection } from './collection.ts';
import {
  type CommandContext,
  durationOption,
  formatFields,
  noteOutside,
  outputFormatOption,
  runOption,
} from './context.ts';

interface CommandOptions extends Omit<CollectOptions, 'outFormat'> {
  run?: string;
  all?: boolean;
  format?: OutputFormat;
  wait?: boolean;
  timeout?: number;
  json?: boolean;
}

export function resultsCommand(context: CommandContext): Command {
  const command = new Command('results')
    .description('collect the results of a run into a file')
    .addOption(runOption('the run to collect').conflicts('all'))
    .option('--all', 'collect every run, and results without one')
    .option('--out <file>', 'where to; - for standard output (no Parquet)', '-')
    .addOption(outputFormatOption('--format <format>'));
  return addCollectOptions(command)
    .option('--wait', 'wait until the run is complete: each of its products is categorized, rejected or failed')
    .option('--timeout <duration>', 'stop waiting after 90s, 15m or 2h', durationOption)
    .option('--json', 'print the summary as JSON (with --out FILE)')
    .addHelpText(
      'after',
      `
What is in the file leaves the queue, after the file is safe on disk. The same command goes on where an earlier one
ended: it keeps what the file holds and adds what is new. To standard output there is no such safety.
Exit code 0: every product of the run is categorized. 3: some were rejected, or several models answered.
1, RUN_INCOMPLETE: some are missing, failed or still to come; the message names the command that goes on.

Examples:
  $ categorizer results --run night-2026-11-22 --wait --out night.parquet
  $ categorizer results --run night-2026-11-22 --wait --timeout 2h --out night.csv
  $ categorizer results --all --format jsonl | gzip > results.jsonl.gz`,
    )
    .action((options: CommandOptions, self: Command) => {
      if (options.run === undefined && !options.all) self.error('error: say which results: --run <id> or --all');
      if (options.json && options.out === '-') self.error('error: --json needs --out FILE');
      if (options.format === 'parquet' && options.out === '-') self.error('error: Parquet needs --out FILE');
      if (options.timeout !== undefined && !options.wait) self.error('error: --timeout needs --wait');
      return results(options, context);
    });
}

async function results(options: CommandOptions, context: CommandContext): Promise<void> {
  const { run: runId, wait = false, timeout, out } = options;
  const app = await composeQueues(context.config(), context.stop);
  try {
    const collected = await collect(app, runId, { ...options, outFormat: options.format }, context, {
      wait,
      timeoutMs: timeout,
    });
    const show = out === '-' ? context.note : context.print;
    show(
      options.json
        ? JSON.stringify({ runId, out, ...collected })
        : formatFields(describeCollection(collected, options)),
    );
    noteOutside(collected, context);
    await conclude(app, collected, options, context);
  } finally {
    await app.close();
  }
}
