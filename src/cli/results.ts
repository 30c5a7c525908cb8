import { Command } from 'commander';
import { type CollectProgress, type CollectSummary, collectResults } from '../application/collect-results.ts';
import type { RunProgress } from '../application/ports.ts';
import { watchRun } from '../application/watch-run.ts';
import { composeQueues, type OutputFormat, openResultFile, type QueueApp, systemClock } from '../composition.ts';
import {
  type CommandContext,
  describeTally,
  EXIT,
  formatCounts,
  formatFields,
  noteOutside,
  outputFormat,
  outputFormatOption,
  ratioOption,
  runOption,
} from './context.ts';
import { createProgress, createRate, type Progress } from './progress.ts';

export interface CollectOptions {
  out: string;
  outFormat?: OutputFormat;
  reviewBelow: number;
}

interface CommandOptions extends Omit<CollectOptions, 'outFormat'> {
  run?: string;
  all?: boolean;
  format?: OutputFormat;
  wait?: boolean;
  json?: boolean;
}

export function resultsCommand(context: CommandContext): Command {
  const command = new Command('results')
    .description('collect the results of a run into a file')
    .addOption(runOption('the run to collect').conflicts('all'))
    .option('--all', 'collect every run, and results without one')
    .option('--out <file>', 'where to; - for standard output (no Parquet)', '-')
    .addOption(outputFormatOption('--format <format>'));
  return addReviewOption(command)
    .option('--wait', 'wait until the run is complete: every job of it has a result or has failed')
    .option('--json', 'print the summary as JSON (with --out FILE)')
    .addHelpText(
      'after',
      `
What is in the file leaves the queue, after the file is safe on disk. The same command goes on where an earlier one
ended: it keeps what the file holds and adds what is new. To standard output there is no such safety.
Exit code 3: done, but some products were rejected, or some jobs of the run failed.

Examples:
  $ categorizer results --run night-2026-11-22 --wait --out night.parquet
  $ categorizer results --all --format jsonl | gzip > results.jsonl.gz`,
    )
    .action((options: CommandOptions, self: Command) => {
      if (options.run === undefined && !options.all) self.error('error: say which results: --run <id> or --all');
      if (options.json && options.out === '-') self.error('error: --json needs --out FILE');
      if (options.format === 'parquet' && options.out === '-') self.error('error: Parquet needs --out FILE');
      return results(options, context);
    });
}

export function addReviewOption(command: Command): Command {
  return command.option(
    '--review-below <confidence>',
    'count the products whose confidence is below it',
    ratioOption,
    0.7,
  );
}

async function results(options: CommandOptions, context: CommandContext): Promise<void> {
  const { run: runId, out } = options;
  const app = await composeQueues(context.config(), context.stop);
  try {
    const collected = await collect(
      app,
      runId,
      { ...options, outFormat: options.format },
      context,
      options.wait ? {} : { more: async () => false },
    );
    const show = out === '-' ? context.note : context.print;
    show(
      options.json
        ? JSON.stringify({ runId, out, ...collected })
        : formatFields({ ...(runId !== undefined && { run: runId }), ...describeCollection(collected, options) }),
    );
    noteOutside(collected, context);
    if (collected.results === 0 && collected.duplicates === 0) context.note('no new results on the queue');
    context.exitWith(isClean(collected) ? EXIT.DONE : EXIT.REJECTS);
  } finally {
    await app.close();
  }
}

export interface Collection extends CollectSummary {
  /** Failed jobs of the run, by code. */
  readonly failedJobs: Readonly<Record<string, number>>;
  /** Jobs of the run that are nowhere any more. */
  readonly missingJobs: number;
}

/** Collects with a bar. @param how.more where it is not said, until the run is complete */
export async function collect(
  { monitor, results: queue }: QueueApp,
  runId: string | undefined,
  options: CollectOptions,
  context: Pick<CommandContext, 'stop' | 'note'>,
  how: {
    readonly more?: (
      progress: CollectProgress,
      wait: (progress: CollectProgress) => Promise<boolean>,
    ) => Promise<boolean>;
    readonly bar?: Progress;
  } = {},
): Promise<Collection> {
  const { out, reviewBelow } = options;
  const { more, bar = createProgress() } = how;
  const rate = createRate();
  const hint = createHints(runId, context);
  const watch = watchRun({ monitor, clock: systemClock }, { runId, stop: context.stop, onWait: hint });
  try {
    const summary = await collectResults(
      { queue, file: openResultFile(out, { format: outputFormat(options.outFormat, out), keep: true }) },
      {
        runId,
        reviewBelow,
        stop: context.stop,
        more: (progress) => (more ? more(progress, watch.more) : watch.more(progress)),
        onProgress: ({ products }) =>
          bar.update(products, watch.progress()?.totals?.products, `${products} products, ${rate(products)}`),
      },
    );
    const { failed: failedJobs } = await monitor.progress(runId);
    return { ...summary, failedJobs, missingJobs: watch.missingJobs() };
  } finally {
    bar.stop();
  }
}

/** What a person who waits should know, each once. */
function createHints(
  runId: string | undefined,
  { note }: Pick<CommandContext, 'note'>,
): (progress: RunProgress) => void {
  const said = new Set<string>();
  const say = (text: string) => {
    if (!said.has(text)) note(text);
    said.add(text);
  };
  return ({ begun, totals, unfinishedJobs, workers }) => {
    if (workers === 0 && unfinishedJobs > 0)
      say('jobs are left and no worker is connected: start one with: categorizer worker');
    if (begun && !totals && unfinishedJobs === 0) {
      say(
        `all that was sent of run ${runId} is done, but not all of it was sent: run the same import again to finish it`,
      );
    }
  };
}

export function isClean({ rejected, failedJobs, missingJobs, unreadable }: Collection): boolean {
  return rejected === 0 && missingJobs === 0 && unreadable === 0 && Object.keys(failedJobs).length === 0;
}

export function describeCollection(
  collected: Collection,
  { out, reviewBelow }: CollectOptions,
): Record<string, string | number> {
  const { failedJobs, missingJobs, unreadable, duplicates } = collected;
  const failures = Object.values(failedJobs).reduce((sum, count) => sum + count, 0);
  return {
    ...describeTally(collected, reviewBelow),
    'failed jobs': failures === 0 ? 0 : `${failures} (${formatCounts(failedJobs)}); see: categorizer queue status`,
    ...(missingJobs > 0 && { 'missing jobs': `${missingJobs}: neither on the queue, nor failed, nor collected` }),
    ...(unreadable > 0 && { unreadable: `${unreadable} results, left on the queue; the log says why` }),
    ...(duplicates > 0 && { 'collected before': `${duplicates} results, dropped` }),
    ...(out !== '-' && { file: out }),
  };
}
