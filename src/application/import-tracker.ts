import { type AnsweringModel, allChunks, type ChunkState, type ImportAccount, modelLabel } from '../domain/import.ts';
import { createCounts, increment } from './counts.ts';
import type { ImportChunk, ImportRecord, ImportRecords } from './ports.ts';

/** One look at an import. */
export interface ImportLook {
  readonly record: ImportRecord;
  readonly account: ImportAccount;
  /** Numbers of the chunks whose answers are on the results queue. */
  readonly answered: readonly number[];
  /** How many chunks were looked at. */
  readonly chunks: number;
}

/** Looks at an import again and again; what was collected is not looked at twice. */
export interface ImportTracker {
  /** Undefined where there is no record of it. */
  look(): Promise<ImportLook | undefined>;
}

export function createImportTracker(records: ImportRecords, runId: string): ImportTracker {
  const collected = new Map<number, ImportChunk>();

  return {
    async look() {
      const record = await records.find(runId);
      if (!record) return undefined;
      const numbers = record.totals ? allChunks(record.totals) : await records.numbers(runId);
      const open = await records.chunks(
        runId,
        numbers.filter((number) => !collected.has(number)),
      );
      for (const chunk of open) if (chunk.state === 'collected') collected.set(chunk.number, chunk);
      const others = open.filter(({ state }) => state !== 'collected');
      return {
        record,
        account: accountOf(record, [...collected.values()], others),
        chunks: open.length,
        answered: others.filter(({ state }) => state === 'answered').map(({ number }) => number),
      };
    },
  };
}

/** The one account of an import; undefined where there is no record of it. */
export async function accountForImport(records: ImportRecords, runId: string): Promise<ImportAccount | undefined> {
  return (await createImportTracker(records, runId).look())?.account;
}

/** Every row of the input is counted in exactly one place. */
function accountOf(
  { runId, totals }: ImportRecord,
  collected: readonly ImportChunk[],
  others: readonly ImportChunk[],
): ImportAccount {
  const rejectedByCode = createCounts();
  for (const [code, count] of Object.entries(totals?.rejectedByCode ?? {})) increment(rejectedByCode, code, count);
  const models = new Map<string, AnsweringModel & { products: number }>();
  let [answeredProducts, rejectedByModel] = [0, 0];
  for (const { products, answer } of collected) {
    answeredProducts += products;
    for (const [code, count] of Object.entries(answer?.rejected ?? {})) {
      increment(rejectedByCode, code, count);
      rejectedByModel += count;
    }
    if (!answer) continue;
    const model = models.get(modelLabel(answer.model)) ?? { ...answer.model, products: 0 };
    model.products += products;
    models.set(modelLabel(answer.model), model);
  }
  const inState = (wanted: ChunkState) =>
    others.reduce((sum, { state, products }) => sum + (state === wanted ? products : 0), 0);
  const [answered, waiting, failed] = [inState('answered'), inState('waiting'), inState('failed')];
  const failedByCode = createCounts();
  for (const { failure } of others) if (failure) increment(failedByCode, failure.code);
  const missingJobs = others.filter(({ state }) => state === 'missing').length;
  const open = answered + waiting + failed;
  return {
    runId,
    sent: totals?.products ?? answeredProducts + open + inState('missing'),
    read: totals && totals.products + totals.rejected + totals.skipped,
    skipped: totals?.skipped ?? 0,
    rejected: (totals?.rejected ?? 0) + rejectedByModel,
    rejectedByCode,
    categorized: answeredProducts - rejectedByModel,
    answered,
    waiting,
    failed,
    failedByCode,
    // Of a chunk whose entry is lost too, only the totals know that it was there.
    missing: totals ? totals.products - answeredProducts - open : inState('missing'),
    missingJobs,
    models: [...models.values()].sort((a, b) => b.products - a.products),
  };
}
