/** How `results` and `run` collect a run: with a bar and hints, into one file, with one account and one exit code. */
import type { Command } from 'commander';
import { type CollectSummary, collectResults } from '../application/collect-results.ts';
import { accountForImport } from '../application/import-tracker.ts';
import type { ImportRecords } from '../application/ports.ts';
import { allPages, createRunPages, describeHolder, type WaitHint } from '../application/result-pages.ts';
import { type OutputFormat, openResultFile, type QueueApp, systemClock } from '../composition.ts';
import { CategorizerError, REJECT_CODES } from '../domain/errors.ts';
import { type ImportAccount, modelLabel } from '../domain/import.ts';
import {
  type CommandAccount,
  commandAccount,
  countProducts,
  describeAccount,
  exitCodeOf,
  incompleteSentence,
} from './account.ts';
import {
  type CommandContext,
  describeCategories,
  describeTally,
  EXIT,
  formatCounts,
  formatNumber,
  outputFormat,
  ratioOption,
} from './context.ts';
import { createProgress, createRate, type Progress } from './progress.ts';

export interface CollectOptions {
  out: string;
  outFormat?: OutputFormat;
  reviewBelow: number;
  anyModel?: boolean;
}

export function addCollectOptions(command: Command): Command {
  return addReviewOption(command).option('--any-model', 'exit with 0 although more than one model answered');
}

export function addReviewOption(command: Command): Command {
  return command.option(
    '--review-below <confidence>',
    'count the products whose confidence is below it',
    ratioOption,
    0.7,
  );
}

export interface Collection extends CollectSummary {
  /** Of an import that has a record. */
  readonly totals?: CommandAccount;
  /** Failed jobs of the run, by code. */
  readonly failedJobs: Readonly<Record<string, number>>;
  /** Jobs of the run that are nowhere any more. */
  readonly missingJobs: number;
  /** Runs that another collector holds, and who: their results were left. */
  readonly held: readonly string[];
  /** Of all runs: what is missing of the imports whose answers were met; absent where nothing is. */
  readonly incomplete?: readonly string[];
}

interface WaitingOptions {
  readonly wait: boolean;
  readonly timeoutMs?: number;
  readonly stillSending?: () => boolean;
  readonly bar?: Progress;
  readonly onProgress?: (products: number) => void;
}

/** Collects with a bar. @throws CategorizerError as `createRunPages` and `collectResults` say, and `RUN_COLLECTED` */
export async function collect(
  app: QueueApp,
  runId: string | undefined,
  options: CollectOptions,
  context: Pick<CommandContext, 'stop' | 'note'>,
  how: WaitingOptions,
): Promise<Collection> {
  const { monitor, results: queue, records, notes } = app;
  const { out, reviewBelow } = options;
  const { wait, timeoutMs, stillSending, bar = createProgress() } = how;
  const claims = app.createClaims(out);
  const ports = { queue, records, claims, monitor, notes, clock: systemClock };
  const rate = createRate();
  const { stop } = context;
  const onHint = createHints(runId, context);
  const held: string[] = [];
  const run =
    runId === undefined ? undefined : createRunPages(ports, { runId, wait, timeoutMs, stillSending, stop, onHint });
  const pages =
    run?.pages() ??
    allPages(ports, { wait, timeoutMs, stop, onHint, onHeld: (id, holder) => held.push(describeHolder(id, holder)) });
  let met = 0;
  const recorded = new Set<string>();
  async function* counted() {
    for await (const page of pages) {
      met += page.length;
      for (const { runId: its, chunk } of page) if (its !== undefined && chunk !== undefined) recorded.add(its);
      yield page;
    }
  }
  const mayBeEmpty = () => {
    const account = run?.account();
    return account ? account.sent === 0 : runId === undefined || met > 0;
  };
  try {
    const summary = await collectResults(
      { queue, claims, file: openResultFile(out, { format: outputFormat(options.outFormat, out), keep: true }) },
      {
        pages: counted(),
        mayBeEmpty,
        reviewBelow,
        stop,
        onProgress(products) {
          how.onProgress?.(products);
          bar.update(products, run?.account()?.sent, `${formatNumber(products)} products, ${rate(products)}`);
        },
      },
    );
    const account = run?.account() && runId !== undefined ? await accountOrLost(records, runId) : undefined;
    if (account && !summary.written) throw nothingToCollect(account, (await records.find(account.runId))?.command);
    const failedJobs = account ? account.failedByCode : await monitor.failures(runId);
    if (!summary.written && Object.keys(failedJobs).length === 0)
      throw collectedBefore(`what came of run ${runId} was`);
    return {
      ...summary,
      totals: account && commandAccount(account, 0),
      failedJobs,
      missingJobs: account?.missingJobs ?? 0,
      held,
      ...(runId === undefined && (await missingOf(records, recorded))),
    };
  } finally {
    bar.stop();
  }
}

/** Who collects all runs speaks of these imports too. What is still on its way is not missing. */
async function missingOf(records: ImportRecords, runIds: Iterable<string>): Promise<Pick<Collection, 'incomplete'>> {
  const sentences: string[] = [];
  for (const runId of runIds) {
    const account = await accountForImport(records, runId);
    if (!account || account.failed + account.missing === 0) continue;
    const sentence = incompleteSentence(account, (await records.find(runId))?.command, false);
    if (sentence) sentences.push(sentence);
  }
  return sentences.length > 0 ? { incomplete: sentences } : {};
}

/** @throws CategorizerError `RUN_LOST` where the record that was just seen is gone */
async function accountOrLost(records: ImportRecords, runId: string): Promise<ImportAccount> {
  const account = await accountForImport(records, runId);
  if (account) return account;
  const message = `Redis lost the record of run ${runId} while it was collected: it was emptied; run the same import again`;
  throw new CategorizerError('RUN_LOST', message);
}

/** An import that has products, and a file that would have none. */
function nothingToCollect(account: ImportAccount, command: string | undefined): CategorizerError {
  const { runId, sent } = account;
  const incomplete = incompleteSentence(account, command, true);
  if (incomplete)
    return new CategorizerError(
      'RUN_INCOMPLETE',
      `${incomplete}; nothing was there to collect, and no file was written`,
    );
  return collectedBefore(`all ${formatNumber(sent)} products of run ${runId} were`);
}

/** @param what with its verb */
function collectedBefore(what: string): CategorizerError {
  const message = `${what} collected before, and this file holds none of it: no file was written; to categorize the products again, import them under another --run`;
  return new CategorizerError('RUN_COLLECTED', message);
}

/** What a person who waits should know, each once. */
function createHints(runId: string | undefined, { note }: Pick<CommandContext, 'note'>): (hint: WaitHint) => void {
  const said = new Set<WaitHint>();
  const sentences: Record<WaitHint, string> = {
    'not begun': `no run ${runId} has begun: waiting for it to begin (--timeout ends the wait)`,
    'no worker': 'jobs are left and no worker is connected: start one with: categorizer worker',
    'no fitting worker':
      'all jobs that are left are for another model than those of the workers: see categorizer queue status',
    'not all sent': `all that was sent of run ${runId} is done, but not all of it was sent: run the same import again to finish it`,
    'timed out': 'the time of --timeout is over',
  };
  return (hint) => {
    if (!said.has(hint)) note(sentences[hint]);
    said.add(hint);
  };
}

/** Says what is not as it should be, and sets the exit code. */
export async function conclude(
  { records, notes }: Pick<QueueApp, 'records' | 'notes'>,
  collection: Collection,
  { anyModel = false }: CollectOptions,
  context: Pick<CommandContext, 'note' | 'exitWith'>,
): Promise<void> {
  const { totals, results, duplicates, held } = collection;
  if (results === 0 && duplicates === 0) context.note('no new results on the queue');
  for (const sentence of held) context.note(`RUN_HELD: ${sentence}; its results were left`);
  for (const sentence of collection.incomplete ?? []) context.note(`RUN_INCOMPLETE: ${sentence}`);
  if (!totals) {
    context.exitWith(exitCodeWithoutRecord(collection, anyModel));
    return;
  }
  if (totals.models.length > 1 && !anyModel) {
    context.note(`${totals.models.length} models answered this run (--any-model accepts that)`);
  }
  const { command } = (await records.find(totals.runId)) ?? {};
  const incomplete = incompleteSentence(totals, command, true);
  if (incomplete) context.note(`RUN_INCOMPLETE: ${incomplete}`);
  else await notes.remove(totals.runId);
  context.exitWith(exitCodeOf(totals, incomplete !== undefined, anyModel));
}

/** Nobody knows what there should be: what was found must be well. */
function exitCodeWithoutRecord(collection: Collection, anyModel: boolean): number {
  const { rejected, failedJobs, unreadable, models, held, incomplete = [] } = collection;
  // A job of one bad product fails with the code of a reject; any other failed job is a product without an answer.
  const failures = Object.keys(failedJobs).filter((code) => !(code in REJECT_CODES));
  if (failures.length > 0 || unreadable > 0 || held.length > 0 || incomplete.length > 0) return EXIT.FAILED;
  const doubtful = rejected > 0 || Object.keys(failedJobs).length > 0 || (models.length > 1 && !anyModel);
  return doubtful ? EXIT.REJECTS : EXIT.DONE;
}

export function describeCollection(
  collected: Collection,
  { run, out, reviewBelow }: CollectOptions & { run?: string },
  account: CommandAccount | undefined = collected.totals,
): Record<string, string | number> {
  const { unreadable, duplicates, foreign, products } = collected;
  return {
    ...(account
      ? { ...describeAccount(account), ...describeNew(collected, account.sent, reviewBelow) }
      : { ...(run !== undefined && { run }), ...describeUnrecorded(collected, reviewBelow) }),
    ...(unreadable > 0 && { unreadable: `${formatNumber(unreadable)} results, left on the queue; the log says why` }),
    ...(foreign > 0 && {
      'left alone': `${formatNumber(foreign)} results that name the run and answer none of its jobs`,
    }),
    ...(duplicates > 0 && { 'collected before': `${formatNumber(duplicates)} results, dropped` }),
    ...(out !== '-' && { file: products > 0 || account ? out : `${out} (nothing new)` }),
  };
}

/** The categories are those of what this call collected. */
function describeNew(collected: Collection, sent: number, reviewBelow: number): Record<string, string | number> {
  return {
    ...(collected.products !== sent && { 'collected now': formatNumber(collected.products) }),
    ...describeCategories(collected, reviewBelow),
  };
}

function describeUnrecorded(collected: Collection, reviewBelow: number): Record<string, string | number> {
  const { failedJobs, models } = collected;
  const failures = Object.values(failedJobs).reduce((sum, count) => sum + count, 0);
  return {
    ...describeTally(collected, reviewBelow),
    'failed jobs':
      failures === 0 ? 0 : `${formatNumber(failures)} (${formatCounts(failedJobs)}); see: categorizer queue status`,
    ...Object.fromEntries(models.map((model) => [`model ${modelLabel(model)}`, countProducts(model.products)])),
    record: 'none: of results without one, what is missing is not known',
  };
}
