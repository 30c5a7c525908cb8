import { Command } from 'commander';
import { collectResults } from '../application/collect-results.ts';
import { type Counts, increment } from '../application/counts.ts';
import type { QueueMonitor } from '../application/ports.ts';
import { composeQueues, openResultFile } from '../composition.ts';
import { CategorizerError } from '../domain/errors.ts';
import {
  type CommandContext,
  EXIT,
  formatCounts,
  formatFields,
  formatOption,
  formatTotal,
  outputFormat,
  runOption,
} from './context.ts';
import { createProgress } from './progress.ts';

const POLL_MS = 250;

interface Options {
  run?: string;
  all?: boolean;
  out: string;
  format?: 'csv' | 'jsonl';
  wait?: boolean;
  json?: boolean;
}

export function resultsCommand(context: CommandContext): Command {
  return new Command('results')
    .description('collect the results of a run into a file')
    .addOption(runOption('the run to collect').conflicts('all'))
    .option('--all', 'collect every run, and results without one')
    .option('--out <file>', 'where to; - for standard output', '-')
    .addOption(formatOption('format of the output (default: by the ending of --out, else csv)'))
    .option('--wait', 'first wait until the workers have nothing left to do')
    .option('--json', 'print the summary as JSON (with --out FILE)')
    .addHelpText(
      'after',
      `
What is in the file leaves the queue, after the file is safe on disk. The same command goes on where an earlier one
ended: it keeps what the file holds and adds what is new. To standard output there is no such safety.
Exit code 3: done, but some products were rejected, or some jobs of the run failed.

Examples:
  $ categorizer results --run night-2026-11-22 --wait --out night.csv
  $ categorizer results --all --format jsonl | gzip > results.jsonl.gz`,
    )
    .action((options: Options, command: Command) => {
      if (options.run === undefined && !options.all) command.error('error: say which results: --run <id> or --all');
      if (options.json && options.out === '-') command.error('error: --json needs --out FILE');
      return results(options, context);
    });
}

async function results(options: Options, context: CommandContext): Promise<void> {
  const { run: runId, out } = options;
  const { monitor, results: queue, close } = await composeQueues(context.config(), context.stop);
  try {
    if (options.wait) await waitUntilDone(monitor, context);
    const file = openResultFile(out, { format: outputFormat(options.format, out), keep: true });
    const bar = createProgress(undefined);
    const summary = await collectResults(
      { queue, file },
      { runId, stop: context.stop, onProgress: (products) => bar.update(products, `${products} products`) },
    ).finally(() => bar.stop());
    const failedJobs = await countFailed(monitor, runId);
    const failures = Object.values(failedJobs).reduce((sum, count) => sum + count, 0);

    const show = out === '-' ? context.note : context.print;
    show(
      options.json
        ? JSON.stringify({ runId, out, ...summary, failedJobs })
        : formatFields({
            ...(runId !== undefined && { run: runId }),
            products: summary.products,
            categorized: formatTotal(summary.categorized, summary.byCategory),
            rejected: formatTotal(summary.rejected, summary.rejectedByCode),
            'failed jobs':
              failures === 0 ? 0 : `${failures} (${formatCounts(failedJobs)}); see: categorizer queue status`,
            ...(summary.duplicates > 0 && { 'collected before': `${summary.duplicates} results, dropped` }),
            ...(out !== '-' && { file: out }),
          }),
    );
    if (summary.results === 0 && summary.duplicates === 0) context.note('no new results on the queue');
    context.exitWith(summary.rejected > 0 || failures > 0 ? EXIT.REJECTS : EXIT.DONE);
  } finally {
    await close();
  }
}

/** Until no job of the input queue waits, runs or is to be tried again. */
async function waitUntilDone(monitor: QueueMonitor, { stop, note }: CommandContext): Promise<void> {
  const bar = createProgress(undefined);
  let warned = false;
  try {
    for (;;) {
      const [{ jobs }] = await monitor.depths();
      const left = jobs.waiting + jobs.prioritized + jobs.active + jobs.delayed;
      if (left === 0) return;
      bar.update(0, `${left} jobs left`);
      if (!warned && (await monitor.workers()) === 0) {
        warned = true;
        note(`${left} jobs are left and no worker is connected: start one with: categorizer worker`);
      }
      await pause(POLL_MS, stop);
    }
  } finally {
    bar.stop();
  }
}

async function pause(ms: number, stop: AbortSignal): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  if (stop.aborted) throw new CategorizerError('INTERRUPTED', 'stopped by a signal; nothing was taken off the queue');
}

async function countFailed(monitor: QueueMonitor, runId: string | undefined): Promise<Counts> {
  const byCode: Counts = {};
  for await (const job of monitor.failed()) {
    if (runId !== undefined && job.runId !== runId) continue;
    increment(byCode, job.code);
  }
  return byCode;
}
