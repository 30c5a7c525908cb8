import type { ChunkAnswer, ImportChunk, ImportRecord, ImportRecords } from '../../src/application/ports.ts';
import type { ChunkState, ImportTotals } from '../../src/domain/import.ts';

/** An import as a test moves it along. */
export interface StoredImport {
  record: ImportRecord;
  readonly chunks: Map<number, ImportChunk>;
}

export interface FakeImportRecords extends ImportRecords {
  readonly imports: Map<string, StoredImport>;
  /** How many chunks were looked at so far. */
  looked(): number;
}

export const SOME_MODEL = { version: 'v1', sha256: 'a'.repeat(64) };

export function someTotals(totals: Partial<ImportTotals> = {}): ImportTotals {
  return { jobs: 2, products: 20, rejected: 0, rejectedByCode: {}, skipped: 0, ...totals };
}

/** @param products of each chunk */
export function storedImport(
  runId: string,
  states: readonly ChunkState[],
  totals?: ImportTotals,
  products = 10,
): StoredImport {
  const chunks = new Map(states.map((state, number) => [number, chunkIn(number, state, products)]));
  return { record: { runId, startedAt: new Date(0), command: `categorizer enqueue ${runId}`, totals }, chunks };
}

export function chunkIn(
  number: number,
  state: ChunkState,
  products = 10,
  answer: ChunkAnswer = { model: SOME_MODEL, rejected: {} },
): ImportChunk {
  return {
    number,
    state,
    sent: true,
    products,
    ...(state === 'collected' && { answer }),
    ...(state === 'failed' && { failure: { code: 'REDIS_REFUSED', message: 'full' } }),
  };
}

export function createFakeImportRecords(...stored: readonly StoredImport[]): FakeImportRecords {
  const imports = new Map(stored.map((one) => [one.record.runId, one]));
  let looked = 0;
  return {
    imports,
    looked: () => looked,
    find: async (runId) => imports.get(runId)?.record,
    numbers: async (runId) => [...(imports.get(runId)?.chunks.keys() ?? [])],
    async chunks(runId, numbers) {
      looked += numbers.length;
      const unknown = (number: number): ImportChunk => ({ number, state: 'missing', sent: false, products: 0 });
      return numbers.map((number) => imports.get(runId)?.chunks.get(number) ?? unknown(number));
    },
    latest: async (limit) => [...imports.keys()].reverse().slice(0, limit),
  };
}
