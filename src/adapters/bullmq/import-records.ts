import type { ChainableCommander, Redis } from 'ioredis';
import type { ChunkAnswer, ImportChunk, ImportRecord, ImportRecords } from '../../application/ports.ts';
import { PRODUCT_QUEUE, parseFailedReason, payloadKeyStart, RESULT_QUEUE } from '../../contract/index.ts';
import type { ChunkState, ImportTotals } from '../../domain/import.ts';
import { askRedis } from './connection.ts';
import {
  answersKey,
  type ChunkEntry,
  chunksKey,
  formatEntry,
  importsKey,
  parseEntry,
  RECORD_SECONDS,
  runKey,
} from './import-keys.ts';
import { CHUNK_STATES } from './import-scripts.ts';

/** Chunks that one script looks at: about 2 ms of Redis's time. */
const CHUNKS_PER_LOOK = 500;

/** A chunk with what the other adapters need to find its job and result. */
export interface StoredChunk extends ImportChunk {
  readonly entry: ChunkEntry | undefined;
  /** The attempt that its state is about. */
  readonly attempt: number | undefined;
}

/** The records of imports, with what the adapters of the queues need of them. */
export interface StoredImports extends ImportRecords {
  chunks(runId: string, numbers: readonly number[]): Promise<readonly StoredChunk[]>;
  /** Remembers the answers of these chunks as collected. */
  markCollected(runId: string, answers: ReadonlyMap<number, ChunkAnswer>): Promise<void>;
  /** What has the id of this attempt is not its own: the chunk counts as missing, and is sent under another id. */
  disown(runId: string, number: number, attempt: number): Promise<void>;
}

/** Looks at imports. @param options.connection any that fits the caller's patience */
export function createImportRecords(options: { readonly connection: Redis; readonly prefix: string }): StoredImports {
  const { connection, prefix } = options;
  const jobsStart = `${prefix}:${PRODUCT_QUEUE}:`;
  const resultsStart = `${prefix}:${RESULT_QUEUE}:`;

  async function look(runId: string, numbers: readonly number[]): Promise<StoredChunk[]> {
    const keys = [chunksKey(prefix, runId), answersKey(prefix, runId)];
    const found = await askRedis(() =>
      connection.eval(
        CHUNK_STATES,
        keys.length,
        ...keys,
        jobsStart,
        resultsStart,
        payloadKeyStart(prefix),
        runId,
        ...numbers,
      ),
    );
    const cells = (Array.isArray(found) ? found : []).map(String);
    return numbers.map((number, i) => toChunk(number, cells.slice(5 * i, 5 * i + 5)));
  }

  return {
    async find(runId) {
      const record = await askRedis(() => connection.hgetall(runKey(prefix, runId)));
      return toRecord(runId, record);
    },

    async numbers(runId) {
      const fields = await askRedis(() => connection.hkeys(chunksKey(prefix, runId)));
      return fields.map(Number).sort((a, b) => a - b);
    },

    async chunks(runId, numbers) {
      const chunks: StoredChunk[] = [];
      for (let start = 0; start < numbers.length; start += CHUNKS_PER_LOOK) {
        chunks.push(...(await look(runId, numbers.slice(start, start + CHUNKS_PER_LOOK))));
      }
      return chunks;
    },

    latest: (limit) => askRedis(() => connection.zrevrange(importsKey(prefix), 0, limit - 1)),

    async markCollected(runId, answers) {
      const key = answersKey(prefix, runId);
      const fields = [...answers].flatMap(([number, answer]) => [String(number), JSON.stringify(answer)]);
      if (fields.length === 0) return;
      const pipeline = connection.pipeline().hset(key, ...fields);
      for (const of of [key, chunksKey(prefix, runId), runKey(prefix, runId)]) pipeline.expire(of, RECORD_SECONDS);
      await askRedis(() => execAll(pipeline));
    },

    async disown(runId, number, attempt) {
      const key = chunksKey(prefix, runId);
      const text = await askRedis(() => connection.hget(key, String(number)));
      if (text === null) return;
      const entry = parseEntry(text);
      const attempts = entry.attempts.filter((own) => own !== attempt);
      await askRedis(() => connection.hset(key, String(number), formatEntry({ ...entry, attempts })));
    },
  };
}

function toChunk(number: number, cells: readonly string[]): StoredChunk {
  const [entryText, answerText, state, attempt, reason] = cells;
  const entry = entryText === '' ? undefined : parseEntry(entryText);
  return {
    number,
    entry,
    state: state as ChunkState,
    products: entry?.products ?? 0,
    sent: entry !== undefined && entry.attempts.length > 0,
    attempt: attempt === '' ? undefined : Number(attempt),
    failure: state === 'failed' ? parseFailedReason(reason) : undefined,
    answer: answerText === '' ? undefined : (JSON.parse(answerText) as ChunkAnswer),
  };
}

/** The fields of a run's hash that say that all of it was sent. */
export function totalsFields({ jobs, products, rejected, skipped, rejectedByCode }: ImportTotals) {
  return { jobs, products, rejected, skipped, rejectedByCode: JSON.stringify(rejectedByCode) };
}

/** @param record the hash of a run, empty where there is none */
export function toRecord(runId: string, record: Readonly<Record<string, string>>): ImportRecord | undefined {
  const { fingerprint, startedAt, command, jobs, products, rejected, skipped, rejectedByCode } = record;
  // A record that lost its beginning (Redis was emptied meanwhile) is none.
  if (fingerprint === undefined) return undefined;
  const totals = jobs !== undefined && {
    jobs: Number(jobs),
    products: Number(products),
    rejected: Number(rejected),
    skipped: Number(skipped ?? 0),
    rejectedByCode: JSON.parse(rejectedByCode ?? '{}') as Record<string, number>,
  };
  return { runId, startedAt: new Date(startedAt), command, totals: totals || undefined };
}

/** The replies of all commands. @throws the error of the first that failed */
export async function execAll(pipeline: ChainableCommander): Promise<unknown[]> {
  const replies = (await pipeline.exec()) ?? [];
  return replies.map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}
