import { randomBytes } from 'node:crypto';
import { Command } from 'commander';
import { type EnqueueSummary, enqueueProducts } from '../application/enqueue-products.ts';
import type { ProductQueue, RejectSink } from '../application/ports.ts';
import { composeEnqueue, createRejectFiles, openProductSource, readModelWidth, systemClock } from '../composition.ts';
import type { Config } from '../config.ts';
import { maxChunkProducts } from '../contract/index.ts';
import {
  type CommandContext,
  EXIT,
  formatFields,
  formatOption,
  formatTotal,
  integerOption,
  productsArgument,
  runOption,
} from './context.ts';
import { createProgress } from './progress.ts';

interface Options {
  run?: string;
  format?: 'csv' | 'jsonl';
  chunkSize: number;
  maxWaiting: number;
  width?: number;
  rejects?: string;
  dryRun?: boolean;
  json?: boolean;
}

export function enqueueCommand(context: CommandContext): Command {
  return new Command('enqueue')
    .description('send the products of a file to the queue')
    .addArgument(productsArgument())
    .addOption(runOption('name of this import; results are collected by it (default: time and a random part)'))
    .addOption(formatOption('format of the input (default: told from its first character)'))
    .option(
      '--chunk-size <products>',
      'products in a job; 1 sends each as a job of its own',
      integerOption(1, 10_000),
      1000,
    )
    .option(
      '--max-waiting <jobs>',
      'wait while so many jobs are waiting for a worker',
      integerOption(1, 10_000_000),
      1000,
    )
    .option(
      '--width <numbers>',
      "numbers in a feature vector (default: from the model's manifest)",
      integerOption(1, 100_000),
    )
    .option('--rejects <base>', 'where rejected rows go: <base>.csv and <base>.jsonl (default: <file>.rejects)')
    .option('--dry-run', 'read and check everything, send and write nothing')
    .option('--json', 'print the summary as JSON')
    .addHelpText(
      'after',
      `
The same command with the same --run goes on: no product is in the results twice. Exit code 3: done, but some products were rejected.

Examples:
  $ categorizer enqueue catalogue.csv --run night-2026-11-22
  $ zcat catalogue.jsonl.gz | categorizer enqueue - --run import-7 --rejects import-7.rejects
  $ categorizer enqueue catalogue.csv --dry-run`,
    )
    .action((file: string, options: Options) => enqueue(file, options, context));
}

async function enqueue(file: string, options: Options, context: CommandContext): Promise<void> {
  const config = context.config();
  const width = options.width ?? (await readModelWidth(config));
  const source = await openProductSource({ path: file, format: options.format, width, stop: context.stop });
  const base = options.rejects ?? `${file === '-' ? 'stdin' : file}.rejects`;
  const target = options.dryRun
    ? dryRunTarget(context)
    : await realTarget(
        config,
        context.stop,
        createRejectFiles({ base, input: file, format: source.format, header: source.header }),
      );
  const bar = createProgress(source.progress().total);
  const saysItWaits = once(() =>
    context.note(
      `${options.maxWaiting} jobs or more are waiting (--max-waiting): going on when workers have taken some`,
    ),
  );
  try {
    const summary = await enqueueProducts(
      { source, queue: target.queue, rejects: target.rejects, clock: systemClock },
      {
        runId: options.run ?? newRunId(),
        chunkSize: Math.min(options.chunkSize, maxChunkProducts(width)),
        maxWaitingJobs: options.maxWaiting,
        width,
        stop: context.stop,
        onProgress: ({ enqueued, rejected, paused }) => {
          const waits = paused ? ', waiting for the workers' : '';
          bar.update(source.progress().read, `${enqueued} products, ${rejected} rejected${waits}`);
          if (paused) saysItWaits();
        },
      },
    );
    bar.stop();
    const rejectFiles = await target.rejects.commit();
    context.print(options.json ? JSON.stringify({ ...summary, rejectFiles }) : describeSummary(summary, rejectFiles));
    context.exitWith(summary.rejected > 0 ? EXIT.REJECTS : EXIT.DONE);
  } catch (error) {
    await target.rejects.abort();
    throw error;
  } finally {
    bar.stop();
    await target.close();
  }
}

function once(call: () => void): () => void {
  let called = false;
  return () => {
    if (!called) call();
    called = true;
  };
}

interface Target {
  readonly queue: ProductQueue;
  readonly rejects: RejectSink;
  close(): Promise<void>;
}

async function realTarget(config: Config, stop: AbortSignal, rejects: RejectSink): Promise<Target> {
  const { queue, close } = await composeEnqueue(config, stop);
  return { queue, rejects, close };
}

/** Sends nothing and writes nothing; says what it would reject. */
function dryRunTarget(context: CommandContext): Target {
  return {
    queue: { waiting: async () => 0, enqueue: async () => undefined },
    rejects: {
      write: async ({ line }, { code, message }) => context.note(`line ${line}: ${code}: ${message}`),
      commit: async () => [],
      abort: async () => undefined,
    },
    close: async () => undefined,
  };
}

function describeSummary(summary: EnqueueSummary, rejectFiles: readonly string[]): string {
  const { runId, products, enqueued, jobs, rejected, rejectedByCode } = summary;
  return formatFields({
    run: runId,
    products,
    enqueued: `${enqueued} in ${jobs} jobs`,
    rejected: formatTotal(rejected, rejectedByCode),
    ...(rejectFiles.length > 0 && { 'reject files': rejectFiles.join(', ') }),
  });
}

function newRunId(): string {
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  return `${time}-${randomBytes(3).toString('hex')}`;
}
