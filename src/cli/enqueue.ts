import { Command } from 'commander';
import { type EnqueueProgress, type EnqueueSummary, enqueueProducts } from '../application/enqueue-products.ts';
import { accountForImport } from '../application/import-tracker.ts';
import type { ImportNotes, ImportRecords, ProductQueue, ProductSource, RejectSink } from '../application/ports.ts';
import { composeEnqueue, createRejectFiles, type FileProductSource, readModel, systemClock } from '../composition.ts';
import { maxChunkProducts } from '../contract/index.ts';
import { CategorizerError } from '../domain/errors.ts';
import { type CommandAccount, commandAccount, describeAccount, exitCodeOf, incompleteSentence } from './account.ts';
import {
  type CommandContext,
  EXIT,
  formatFields,
  formatNumber,
  formatTotal,
  integerOption,
  runOption,
  spaceOption,
} from './context.ts';
import { addInputOptions, type InputOptions, openInput } from './input.ts';
import { createProgress, type Progress } from './progress.ts';

export interface EnqueueOptions extends InputOptions {
  run?: string;
  chunkSize: number;
  maxPending: number;
  rejects?: string;
}

interface CommandOptions extends EnqueueOptions {
  width?: number;
  space?: string;
  dryRun?: boolean;
  json?: boolean;
}

export function enqueueCommand(context: CommandContext): Command {
  const command = new Command('enqueue').description('send the products of files to the queue');
  return addEnqueueOptions(command)
    .option(
      '--width <numbers>',
      "numbers in a feature vector (default: from the model's manifest)",
      integerOption(1, 100_000),
    )
    .addOption(
      spaceOption(
        "what produced the vectors (default: from the model's manifest; with --width none, and any model answers)",
      ),
    )
    .option('--dry-run', 'read and check everything, send and write nothing')
    .option('--json', 'print the summary as JSON')
    .addHelpText(
      'after',
      `
The same command goes on after an interruption, and sends again what failed or was lost since; no product is in the
results twice. Without --run the same content has the same run id: to import it once more, name another --run.
Exit code 3: done, but some rows were rejected. Exit code 1, RUN_INCOMPLETE: some products failed or are missing.

Examples:
  $ categorizer enqueue catalogue.csv --run night-2026-11-22
  $ categorizer enqueue 'export/*.csv.gz' --delimiter ';' --decimal , --encoding latin-1
  $ categorizer enqueue catalogue.parquet --id-column sku --feature-columns 'v_*'
  $ zcat catalogue.jsonl.gz | categorizer enqueue - --run import-7 --rejects import-7.rejects`,
    )
    .action((files: string[], options: CommandOptions) => enqueue(files, options, context));
}

/** The options of every command that sends products. */
export function addEnqueueOptions(command: Command): Command {
  return addInputOptions(command)
    .addOption(runOption('name of this import; results are collected by it (default: from the content of the input)'))
    .option('--chunk-size <products>', 'products in a job', integerOption(1, 10_000), 8192)
    .option(
      '--max-pending <MiB>',
      'wait while about so much of products is in Redis and not categorized',
      integerOption(1, 1_000_000),
      256,
    )
    .option(
      '--rejects <base>',
      'rejected rows go to <base>.csv, and why to <base>.jsonl; a directory for several files (default: <file>.rejects)',
    );
}

async function enqueue(files: string[], options: CommandOptions, context: CommandContext): Promise<void> {
  const config = context.config();
  const { width, space } = options.width === undefined ? await readModel(config) : { width: options.width };
  const source = await openInput(files, options, width, context);
  try {
    if (options.dryRun) {
      const summary = await sendProducts(source, dryRunTarget(source, context), { space, ...options, width }, context);
      context.print(options.json ? JSON.stringify(summary) : formatFields(describeDryRun(summary)));
      context.exitWith(summary.rejected > 0 ? EXIT.REJECTS : EXIT.DONE);
      return;
    }
    const app = await composeEnqueue(config, context.stop);
    try {
      const rejects = createRejectFiles({ inputs: source.inputs, base: options.rejects });
      const summary = await sendProducts(source, { ...app, rejects }, { space, ...options, width }, context);
      report(await accountOf(app.records, summary), summary, options, context);
    } finally {
      await app.close();
    }
  } finally {
    await source.close();
  }
}

function report(
  account: CommandAccount,
  summary: EnqueueSummary,
  { json }: CommandOptions,
  context: CommandContext,
): void {
  context.print(
    json
      ? JSON.stringify({ ...summary, totals: account })
      : formatFields({ ...describeAccount(account), ...describeRejectFiles(summary) }),
  );
  noteSentBefore(summary, context);
  const incomplete = incompleteSentence(account, context.command, false);
  if (incomplete) context.note(`RUN_INCOMPLETE: ${incomplete}`);
  context.exitWith(exitCodeOf({ ...account, models: [] }, incomplete !== undefined, true));
}

/** @throws CategorizerError `RUN_LOST` where Redis was emptied while it was sent */
async function accountOf(records: ImportRecords, summary: EnqueueSummary): Promise<CommandAccount> {
  const { runId, sentNow } = summary;
  const account = await accountForImport(records, runId);
  if (account) return commandAccount(account, sentNow.products);
  const message = `Redis lost the record of run ${runId} while it was sent: it was emptied; run the same import again`;
  throw new CategorizerError('RUN_LOST', message);
}

/** Sends all of a source, with a bar. */
export async function sendProducts(
  source: FileProductSource,
  target: { readonly queue: ProductQueue; readonly rejects: RejectSink; readonly notes?: ImportNotes },
  options: EnqueueOptions & { readonly width: number; readonly space?: string },
  context: Pick<CommandContext, 'stop' | 'note' | 'command'>,
  bar: Progress = createProgress(),
): Promise<EnqueueSummary> {
  const onProgress = createProgressListener(source, options, bar.update, context);
  const runId = runIdOf(source, options);
  try {
    const summary = await enqueueProducts(
      { source, queue: target.queue, rejects: target.rejects, clock: systemClock },
      {
        runId,
        command: context.command,
        space: options.space,
        chunkSize: Math.min(options.chunkSize, maxChunkProducts(options.width)),
        maxPendingBytes: options.maxPending * 1024 * 1024,
        stop: context.stop,
        onProgress,
      },
    );
    await target.notes?.write(runId);
    return summary;
  } finally {
    bar.stop();
  }
}

/** The same content has the same run, so that the same command goes on without being told which run it was. */
export function runIdOf(source: ProductSource, options: { run?: string }): string {
  return options.run ?? `import-${source.fingerprint.slice(0, 16)}`;
}

function createProgressListener(
  source: ProductSource,
  { maxPending }: EnqueueOptions,
  show: (done: number, total: number, note: string) => void,
  { note }: Pick<CommandContext, 'note'>,
): (progress: EnqueueProgress) => void {
  let saidThatItWaits = false;
  return ({ products, rejected, paused }) => {
    const { read, total } = source.progress();
    show(read, total, `${products} products, ${rejected} rejected${paused ? ', waiting for the workers' : ''}`);
    if (!paused || saidThatItWaits) return;
    saidThatItWaits = true;
    note(`${maxPending} MiB are waiting in Redis (--max-pending): going on when workers have taken some`);
  };
}

/** Sends nothing and writes nothing; says what it would reject. */
function dryRunTarget({ inputs }: FileProductSource, { note }: CommandContext) {
  const queue: ProductQueue = {
    begin: async () => ({ stateOf: () => undefined, lost: [] }),
    clear: async () => undefined,
    pendingJobs: async () => 0,
    enqueue: async () => undefined,
    forget: async () => undefined,
    finish: async () => undefined,
    withdraw: async () => undefined,
  };
  const rejects: RejectSink = {
    async write({ input, line, errors }) {
      for (const { column, code, message } of errors) {
        note(`${inputs[input].path}:${line}: ${column === undefined ? '' : `${column}: `}${code}: ${message}`);
      }
    },
    commit: async () => [],
    abort: async () => undefined,
  };
  return { queue, rejects, close: async () => undefined };
}

function describeDryRun({ runId, products, jobs, rejected, rejectedByCode, skipped }: EnqueueSummary) {
  return {
    run: runId,
    read: formatNumber(products + rejected + skipped),
    rejected: formatTotal(rejected, rejectedByCode),
    ...(skipped > 0 && { skipped: `${formatNumber(skipped)} rows whose product id occurs more than once` }),
    'would be sent': `${formatNumber(products)} products in ${jobs} ${jobs === 1 ? 'job' : 'jobs'}`,
  };
}

export function describeRejectFiles({ rejectFiles }: EnqueueSummary): Record<string, string> {
  return rejectFiles.length > 0 ? { 'reject files': rejectFiles.join(', ') } : {};
}

/** Why fewer products were sent than the input has. */
export function noteSentBefore(
  { runId, jobs, sentBefore }: EnqueueSummary,
  { note }: Pick<CommandContext, 'note'>,
): void {
  if (sentBefore.products === 0) return;
  note(
    sentBefore.jobs === jobs
      ? `all of run ${runId} was sent before: nothing was sent now; to send the same products again, name another --run`
      : `${formatNumber(sentBefore.products)} products of run ${runId} were sent before, and were not sent again`,
  );
}
