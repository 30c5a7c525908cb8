import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { CollectedKey, CollectedResult, Logger, ResultQueue } from '../../application/ports.ts';
import { chunkJobId, RESULT_QUEUE, resultIdOf } from '../../contract/index.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { idsChecksum, NO_PRODUCTS, readResult } from './collected-result.ts';
import { askRedis } from './connection.ts';
import { collectedKey, RECORD_SECONDS } from './import-keys.ts';
import { execAll, type StoredChunk, type StoredImports } from './import-records.ts';
import { RESULTS_NAMING } from './import-scripts.ts';
import type { PayloadRef, Payloads } from './payloads.ts';
import { removeOldest } from './remove-waiting.ts';
import { TolerantQueue } from './tolerant-job.ts';

/** Products to hold at once, about: a result has one or thousands of them. */
const PRODUCTS_PER_PAGE = 40_000;
const MOST_RESULTS_PER_PAGE = 500;
/** Results of others that are looked at, once, for those that name a run and are none of its answers. */
const MOST_LOOKED_AT = 10_000;

/** The summary counts the rest. */
const MOST_LOGGED = 10;

/** The collector's side of the results queue. @param options.connection from `connectOrFail` */
export function createResultQueue(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly payloads: Payloads;
  readonly imports: StoredImports;
  readonly logger: Logger;
}): ResultQueue & { close(): Promise<void> } {
  const { connection, prefix, payloads, imports, logger } = options;
  const queue = new TolerantQueue(RESULT_QUEUE, { connection, prefix });
  // The call that fails says the same.
  queue.on('error', () => undefined);
  /** Payloads of packed results by result id, for their removal. */
  const payloadsOf = new Map<string, PayloadRef>();
  const unreadable = new Set<string>();
  const foreign = new Set<string>();
  const recorded = new Map<string, boolean>();

  async function* scan(runId: string | undefined, met: Set<string>): AsyncGenerator<readonly CollectedResult[]> {
    // Workers add at the other end, so places counted from the oldest only move when another collector takes results
    // away. Each page overlaps the one before by one; where it does not, it begins again further back.
    let pageSize = 1;
    let start = 0;
    let before = new Set<string>();
    for (;;) {
      const ids = await askRedis(() => queue.getRanges(['waiting'], start, start + pageSize, true));
      if (start > 0 && !before.has(ids[0])) {
        start = Math.max(0, start - pageSize);
        continue;
      }
      if (ids.filter((id) => !before.has(id)).length === 0 && ids.length <= pageSize) return;
      start += ids.length - 1;
      before = new Set(ids);
      // What was met in an earlier pass is not read again, whoever's it is.
      const jobs = await getJobs(ids.filter((id) => !met.has(id)));
      for (const id of ids) met.add(id);
      const page = await Promise.all(jobs.filter((job) => runId === undefined || runIdOf(job) === runId).map(collect));
      yield page.filter((result) => result !== undefined);
      const products = jobs.reduce((sum, job) => sum + productsIn(job), 0);
      const fitting = Math.ceil((PRODUCTS_PER_PAGE * jobs.length) / products) || MOST_RESULTS_PER_PAGE;
      pageSize = Math.min(fitting, 2 * pageSize, MOST_RESULTS_PER_PAGE);
    }
  }

  async function getJobs(ids: readonly string[]): Promise<Job[]> {
    const jobs = await askRedis(() => Promise.all(ids.map((id) => queue.getJob(id))));
    return jobs.filter((job) => job !== undefined);
  }

  /** @returns undefined, and a line in the log, for what cannot be collected: it is left where it is. */
  async function collect(job: Job): Promise<CollectedResult | undefined> {
    const runId = runIdOf(job);
    if (runId !== undefined && (await isRecorded(runId))) return collectRecorded(job, runId);
    try {
      return await read(job);
    } catch (error) {
      if (!(error instanceof CategorizerError) || error.retryable) throw error;
      const key = { resultId: job.id ?? '', runId };
      // The second result of a job, whose payload went with the first: it is to be dropped, not to be read.
      if ((await collectedBefore([key])).size > 0) {
        return { ...key, jobId: '', modelVersion: '', modelSha256: '', products: NO_PRODUCTS };
      }
      logger.warn({ resultId: job.id, code: error.code, reason: error.message }, 'a result cannot be read; left there');
      unreadable.add(job.id ?? '');
      return undefined;
    }
  }

  async function read(job: Job): Promise<CollectedResult> {
    const { result, payloadKey } = await readResult(job, payloads);
    if (payloadKey !== undefined) payloadsOf.set(result.resultId, { owner: result.resultId, key: payloadKey });
    return result;
  }

  async function isRecorded(runId: string): Promise<boolean> {
    const known = recorded.get(runId) ?? (await imports.find(runId)) !== undefined;
    recorded.set(runId, known);
    return known;
  }

  /** A result of a run that has a record counts where the record knows its job. */
  async function collectRecorded(job: Job, runId: string): Promise<CollectedResult | undefined> {
    const { number, attempt } = placeOf(job.id ?? '', runId) ?? {};
    const [chunk] = number === undefined ? [] : await imports.chunks(runId, [number]);
    if (!chunk || attempt === undefined || !chunk.entry?.attempts.includes(attempt)) {
      leave(job, runId, 'a result names a run and answers none of its jobs; left there');
      return undefined;
    }
    if (chunk.state !== 'collected') return answerOf({ ...chunk, attempt }, runId, job);
    // Answered twice: this one is to be dropped.
    const nothing = { jobId: '', modelVersion: '', modelSha256: '', products: NO_PRODUCTS };
    return { ...nothing, resultId: job.id ?? '', runId, chunk: chunk.number };
  }

  function leave(job: Job, runId: string, sentence: string, reason?: string): void {
    const isNew = !foreign.has(job.id ?? '') && foreign.size < MOST_LOGGED;
    if (isNew) logger.warn({ resultId: job.id, runId, reason }, sentence);
    foreign.add(job.id ?? '');
  }

  async function* answers(runId: string, chunkNumbers: readonly number[]): AsyncGenerator<readonly CollectedResult[]> {
    for (let start = 0, size = 1; start < chunkNumbers.length; ) {
      const chunks = await imports.chunks(runId, chunkNumbers.slice(start, start + size));
      start += size;
      const page: CollectedResult[] = [];
      for (const chunk of chunks) {
        if (chunk.state !== 'answered' || chunk.attempt === undefined) continue;
        const [job] = await getJobs([resultIdOf(chunkJobId(runId, chunk.number, chunk.attempt), 0)]);
        const answer = job && (await answerOf(chunk, runId, job));
        if (answer) page.push(answer);
      }
      yield page;
      const products = chunks.reduce((sum, chunk) => sum + chunk.products, 0);
      size = Math.max(1, Math.min(MOST_RESULTS_PER_PAGE, Math.floor((PRODUCTS_PER_PAGE * chunks.length) / products)));
    }
  }

  /**
   * The answer to a chunk, where it is one: of the same products, in the same order. Whoever may write to the results queue can
   * put anything there under the id of a result; the worker's own is not added then, and the chunk must be sent again.
   */
  async function answerOf(chunk: StoredChunk, runId: string, job: Job): Promise<CollectedResult | undefined> {
    const { number, entry, attempt = 0 } = chunk;
    let problem = 'it does not have the products of its chunk';
    try {
      const result = await read(job);
      if (!entry || (result.products.rows === entry.products && idsChecksum(result.products) === entry.idsCrc32)) {
        const answerIds = entry?.attempts.map((own) => resultIdOf(chunkJobId(runId, number, own), 0));
        return { ...result, runId, chunk: number, answerIds };
      }
    } catch (error) {
      if (!(error instanceof CategorizerError) || error.retryable) throw error;
      // It was one: its chunk is missing now, and nobody can use what is left of it.
      if (error.code === 'PAYLOAD_MISSING') {
        await askRedis(() => removeOldest(connection, queue, [job.id ?? '']));
        return undefined;
      }
      problem = error.message;
    }
    leave(job, runId, 'a result does not answer its chunk; left there', problem);
    payloadsOf.delete(job.id ?? '');
    await imports.disown(runId, number, attempt);
    return undefined;
  }

  async function findForeign(runId: string): Promise<void> {
    const ids = await askRedis(() => queue.getRanges(['waiting'], 0, MOST_LOOKED_AT - 1, true));
    const needle = JSON.stringify({ runId }).slice(1, -1);
    for (let start = 0; start < ids.length; start += MOST_RESULTS_PER_PAGE) {
      const page = ids.slice(start, start + MOST_RESULTS_PER_PAGE);
      const found = await askRedis(() => connection.eval(RESULTS_NAMING, 0, queue.toKey(''), needle, ...page));
      for (const job of await getJobs(Array.isArray(found) ? found.map(String) : [])) {
        if (runIdOf(job) !== runId) continue;
        const result = await collectRecorded(job, runId);
        if (result?.jobId === '') await remove([result]);
      }
    }
  }

  async function collectedBefore(results: readonly CollectedKey[]): Promise<ReadonlySet<string>> {
    const before = new Set<string>();
    for (const [runId, keys] of groupByRun(results.filter(({ chunk }) => chunk === undefined))) {
      const ids = keys.map(({ resultId }) => resultId);
      const known = await askRedis(() => connection.zmscore(collectedKey(prefix, runId), ...ids));
      ids.forEach((id, i) => {
        if (known[i] !== null) before.add(id);
      });
    }
    return before;
  }

  async function remember(results: readonly CollectedKey[]): Promise<void> {
    const now = Date.now();
    for (const [runId, keys] of groupByRun(results.filter(({ chunk }) => chunk === undefined))) {
      const key = collectedKey(prefix, runId);
      // One that is collected every day lives for ever; what is in it does not.
      const pipeline = connection
        .pipeline()
        .zadd(key, ...keys.flatMap(({ resultId }) => [now, resultId]))
        .zremrangebyscore(key, '-inf', now - RECORD_SECONDS * 1000)
        .expire(key, RECORD_SECONDS);
      await askRedis(() => execAll(pipeline));
    }
    for (const [runId, answered] of groupByRun(results)) {
      const answers = answered.flatMap(({ chunk, answer }) =>
        chunk !== undefined && answer ? [[chunk, answer] as const] : [],
      );
      await imports.markCollected(runId ?? '', new Map(answers));
    }
  }

  async function remove(results: readonly CollectedKey[]): Promise<void> {
    // Remembered first: killed between the two, the next collection knows them and removes them.
    await remember(results);
    const ids = results.map(({ resultId }) => resultId);
    await askRedis(() => removeOldest(connection, queue, ids));
    await askRedis(() => payloads.remove(ids.flatMap((id) => payloadsOf.get(id) ?? [])));
  }

  return {
    scan,
    answers,
    findForeign,
    unreadable: () => unreadable.size,
    foreign: () => foreign.size,
    collectedBefore,
    hasCollected: async (runId) => (await askRedis(() => connection.exists(collectedKey(prefix, runId)))) === 1,
    remove,
    close: () => queue.close(),
  };
}

/** The chunk and the attempt that the id of a result stands for. */
function placeOf(resultId: string, runId: string): { number: number; attempt: number } | undefined {
  const start = `r-${runId}-`;
  const place = resultId.startsWith(start) && /^(\d+)(?:\.(\d+))?$/.exec(resultId.slice(start.length));
  return place ? { number: Number(place[1]), attempt: Number(place[2] ?? 0) } : undefined;
}

/** Lenient on purpose: queue data is untrusted. */
function productsIn(job: Job | undefined): number {
  const { results, count } = job?.data ?? {};
  if (Array.isArray(results)) return results.length;
  return Number.isInteger(count) ? Math.max(1, count) : 1;
}

function groupByRun<T extends { readonly runId?: string }>(results: readonly T[]): Map<string | undefined, T[]> {
  const groups = new Map<string | undefined, T[]>();
  for (const result of results) {
    const group = groups.get(result.runId);
    if (group) group.push(result);
    else groups.set(result.runId, [result]);
  }
  return groups;
}

/** Lenient on purpose: queue data is untrusted. */
function runIdOf({ data }: Job): string | undefined {
  return typeof data?.runId === 'string' ? data.runId : undefined;
}
