import { Command } from 'commander';
import { composeEnqueue, composeLocalWorker, composeQueues, createRejectFiles, readModel } from '../composition.ts';
import { isSynthetic, syntheticWarning } from '../domain/category.ts';
import { type CommandContext, EXIT, formatFields, noteOutside } from './context.ts';
import {
  addEnqueueOptions,
  describeEnqueue,
  describeSentBefore,
  type EnqueueOptions,
  runIdOf,
  sendProducts,
} from './enqueue.ts';
import { openInput } from './input.ts';
import { createProgress, type Progress } from './progress.ts';
import { addReviewOption, type CollectOptions, collect, describeCollection, isClean } from './results.ts';

interface Options extends EnqueueOptions, Omit<CollectOptions, 'outFormat'> {
  local?: boolean;
  json?: boolean;
}

/** While the import goes on, results are looked for after so many milliseconds. */
const IMPORT_POLL_MS = 20;

export function runCommand(context: CommandContext): Command {
  const command = new Command('run').description('send the products of files, wait, and collect their categories');
  return addReviewOption(addEnqueueOptions(command))
    .requiredOption('--out <file>', 'where to; CSV, JSON lines or Parquet by its ending')
    .option('--local', 'with a worker in this process; else workers must be running')
    .option('--json', 'print the summary as JSON')
    .addHelpText(
      'after',
      `
Does what enqueue and results --wait do, at the same time. Killed at any moment, the same command finishes the job.
Exit code 3: done, but some products were rejected, or some jobs of the run failed.

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
    const { queue } = using(await composeEnqueue(config, context.stop));
    if (options.local) using(await composeLocalWorker(config));

    // What fails on one side ends the other.
    const failed = new AbortController();
    const both = { ...context, stop: AbortSignal.any([context.stop, failed.signal]) };
    let sending = true;
    let categorized = 0;
    // One bar for both: how far the input is sent, and then how much of it is categorized.
    const bar = createProgress();
    const sendingBar: Progress = {
      update: (done, total, note) => bar.update(done, total, `${note}, ${categorized} categorized`),
      stop: () => undefined,
    };
    const target = { queue, rejects };
    const sent = sendProducts(source, target, { ...options, width, space, run: runId }, both, sendingBar).finally(
      () => {
        sending = false;
      },
    );
    const collected = collect(queues, runId, options, both, {
      async more(progress, whenSent) {
        categorized = progress.products;
        if (!sending) return whenSent(progress);
        await new Promise((resolve) => setTimeout(resolve, IMPORT_POLL_MS));
        both.stop.throwIfAborted();
        return true;
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

    context.print(
      options.json
        ? JSON.stringify({ import: imported, results: { out: options.out, ...collection } })
        : formatFields({ ...describeEnqueue(imported), ...describeCollection(collection, options) }),
    );
    if (isSynthetic(model)) context.note(syntheticWarning(model));
    noteOutside(collection, context);
    if (imported.sentBefore.products > 0) context.note(describeSentBefore(imported));
    context.exitWith(isClean(collection) && imported.rejected === 0 ? EXIT.DONE : EXIT.REJECTS);
  } finally {
    for (const close of closers) await close();
  }
}
