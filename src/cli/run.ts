import { Command } from 'commander';
import { composeEnqueue, composeLocalWorker, composeQueues, createRejectFiles, readModel } from '../composition.ts';
import { isSynthetic, syntheticWarning } from '../domain/category.ts';
import { commandAccount } from './account.ts';
import { addCollectOptions, type CollectOptions, collect, conclude, describeCollection } from './collection.ts';
import { type CommandContext, formatFields, formatNumber, noteOutside } from './context.ts';
import {
  addEnqueueOptions,
  describeRejectFiles,
  type EnqueueOptions,
  noteSentBefore,
  runIdOf,
  sendProducts,
} from './enqueue.ts';
import { openInput } from './input.ts';
import { createProgress, type Progress } from './progress.ts';

interface Options extends EnqueueOptions, Omit<CollectOptions, 'outFormat'> {
  local?: boolean;
  json?: boolean;
}

export function runCommand(context: CommandContext): Command {
  const command = new Command('run').description('send the products of files, wait, and collect their categories');
  return addCollectOptions(addEnqueueOptions(command))
    .requiredOption('--out <file>', 'where to; CSV, JSON lines or Parquet by its ending')
    .option('--local', 'with a worker in this process; else workers must be running')
    .option('--json', 'print the summary as JSON')
    .addHelpText(
      'after',
      `
Does what enqueue and results --wait do, at the same time. Killed at any moment, the same command finishes the job.
Exit code 0: every product is categorized. 3: some were rejected, or several models answered. 1, RUN_INCOMPLETE: some
failed or are missing; the same command sends them again.

Examples:
  $ categorizer run catalogue.parquet --out categories.parquet
  $ categorizer run catalogue.csv.gz --out categories.csv --local`,
    )
    .action((files: string[], options: Options, self: Command) => {
      if (options.out === '-') self.error('error: --out needs a file; results --out - writes to standard output');
      return run(files, options, context);
    });
}

async function run(files: string[], options: Options, context: CommandContext): Promise<void> {
  const config = context.config();
  const model = await readModel(config);
  const { width, space } = model;
  const closers: (() => Promise<void>)[] = [];
  const using = <T extends { close(): Promise<void> }>(app: T): T => {
    closers.unshift(() => app.close());
    return app;
  };
  try {
    const source = using(await openInput(files, options, width, context));
    const runId = runIdOf(source, options);
    const rejects = createRejectFiles({ inputs: source.inputs, base: options.rejects });
    const queues = using(await composeQueues(config, context.stop));
    const producer = using(await composeEnqueue(config, context.stop));
    if (options.local) using(await composeLocalWorker(config));

    // What fails on one side ends the other.
    const failed = new AbortController();
    const both = { ...context, stop: AbortSignal.any([context.stop, failed.signal]) };
    let sending = true;
    let categorized = 0;
    // One bar for both: how far the input is sent, and then how much of it is categorized.
    const bar = createProgress();
    const sendingBar: Progress = {
      update: (done, total, note) => bar.update(done, total, `${note}, ${formatNumber(categorized)} categorized`),
      stop: () => undefined,
    };
    const sent = sendProducts(
      source,
      { ...producer, rejects },
      { ...options, width, space, run: runId },
      both,
      sendingBar,
    ).finally(() => {
      sending = false;
    });
    const collected = collect(queues, runId, options, both, {
      wait: true,
      stillSending: () => sending,
      onProgress: (products) => {
        categorized = products;
      },
      bar: {
        update: (done, total, note) => !sending && bar.update(done, total ?? done, note),
        stop: bar.stop,
      },
    });
    const abort = (reason: unknown) => failed.abort(reason);
    await Promise.all([sent.catch(abort), collected.catch(abort)]);
    failed.signal.throwIfAborted();
    const [imported, collection] = await Promise.all([sent, collected]);
    const account = collection.totals && commandAccount(collection.totals, imported.sentNow.products);

    context.print(
      options.json
        ? JSON.stringify({
            import: imported,
            results: { out: options.out, ...collection, totals: account },
            totals: account,
          })
        : formatFields({ ...describeCollection(collection, options, account), ...describeRejectFiles(imported) }),
    );
    if (isSynthetic(model)) context.note(syntheticWarning(model));
    noteOutside(collection, context);
    noteSentBefore(imported, context);
    await conclude(queues, collection, options, context);
  } finally {
    for (const close of closers) await close();
  }
}
