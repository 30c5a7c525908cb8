import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { CollectedResult, Logger, ResultKey, ResultQueue } from '../../application/ports.ts';
import { RESULT_QUEUE } from '../../contract/index.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { NO_PRODUCTS, readResult } from './collected-result.ts';
import { askRedis } from './connection.ts';
import type { Payloads } from './payloads.ts';
import { removeOldest } from './remove-waiting.ts';
import { collectedKey, RUN_MEMORY_SECONDS } from './run-memory.ts';
import { TolerantQueue } from './tolerant-job.ts';

/** Products to hold at once, about: a result has one or thousands of them. */
const PRODUCTS_PER_PAGE = 40_000;
const MOST_RESULTS_PER_PAGE = 500;

/** The collector's side of the results queue. @param options.connection from `connectOrFail` */
export function createResultQueue(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly payloads: Payloads;
  readonly logger: Logger;
}): ResultQueue & { close(): Promise<void> } {
  const { connection, prefix, payloads, logger } = options;
  const queue = new TolerantQueue(RESULT_QUEUE, { connection, prefix });
  // The call that fails says the same.
  queue.on('error', () => undefined);
  /** Payload keys of packed results by result id, for their removal. */
  const payloadKeys = new Map<string, string>();
  const unreadable = new Set<string>();

  async function* read(
    runId: string | undefined,
    more: () => Promise<boolean>,
  ): AsyncGenerator<readonly CollectedResult[]> {
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
      const unread = ids.filter((id) => !before.has(id));
      const isLastPage = ids.length <= pageSize;
      if (unread.length === 0 && isLastPage) {
        if (await more()) continue;
        return;
      }
      start += ids.length - 1;
      const jobs = await askRedis(() => Promise.all(unread.map((id) => queue.getJob(id))));
      before = new Set(ids);
      const wanted = jobs.filter((job) => job && (runId === undefined || job.data?.runId === runId));
      const page = await Promise.all(wanted.map((job) => job && collect(job)));
      yield page.filter((result) => result !== undefined);
      const products = jobs.reduce((sum, job) => sum + productsIn(job), 0);
      const fitting = Math.ceil((PRODUCTS_PER_PAGE * jobs.length) / products) || 1;
      pageSize = Math.min(fitting, 2 * pageSize, MOST_RESULTS_PER_PAGE);
    }
  }

  /** @returns undefined, and a line in the log, for what cannot be collected: it is left where it is. */
  async function collect(job: Job): Promise<CollectedResult | undefined> {
    try {
      const { result, payloadKey } = await readResult(job, payloads);
      if (payloadKey !== undefined) payloadKeys.set(result.resultId, payloadKey);
      return result;
    } catch (error) {
      if (!(error instanceof CategorizerError) || error.retryable) throw error;
      const key = { resultId: job.id ?? '', runId: runIdOf(job.data) };
      // The second result of a job, whose payload went with the first: it is to be dropped, not to be read.
      if ((await collectedBefore([key])).size > 0)
        return { ...key, jobId: '', modelVersion: '', products: NO_PRODUCTS };
      logger.warn({ resultId: job.id, code: error.code, reason: error.message }, 'a result cannot be read; left there');
      unreadable.add(job.id ?? '');
      return undefined;
    }
  }

  async function collectedBefore(results: readonly ResultKey[]): Promise<ReadonlySet<string>> {
    const before = new Set<string>();
    for (const [runId, ids] of byRun(results)) {
      const known = await askRedis(() => connection.smismember(collectedKey(prefix, runId), ...ids));
      ids.forEach((id, i) => {
        if (known[i] === 1) before.add(id);
      });
    }
    return before;
  }

  async function remove(results: readonly ResultKey[]): Promise<void> {
    // Remembered first: killed between the two, the next collection knows them and removes them.
    for (const [runId, ids] of byRun(results)) {
      await askRedis(() => connection.sadd(collectedKey(prefix, runId), ...ids));
      await askRedis(() => connection.expire(collectedKey(prefix, runId), RUN_MEMORY_SECONDS));
    }
    const ids = results.map(({ resultId }) => resultId);
    await askRedis(() => removeOldest(connection, queue, ids));
    await askRedis(() => payloads.remove(results.flatMap(({ resultId }) => payloadKeys.get(resultId) ?? [])));
  }

  return { read, unreadable: () => unreadable.size, collectedBefore, remove, close: () => queue.close() };
}

/** Without looking closely: what is on the queue may be anything. */
function productsIn(job: Job | undefined): number {
  const { results, count } = job?.data ?? {};
  if (Array.isArray(results)) return results.length;
  return Number.isInteger(count) ? Math.max(1, count) : 1;
}

function byRun(results: readonly ResultKey[]): Map<string | undefined, string[]> {
  const groups = new Map<string | undefined, string[]>();
  for (const { runId, resultId } of results) {
    const ids = groups.get(runId);
    if (ids) ids.push(resultId);
    else groups.set(runId, [resultId]);
  }
  return groups;
}

/** Without looking closely: what is on the queue may be anything. */
function runIdOf(data: { runId?: unknown } | null): string | undefined {
  return typeof data?.runId === 'string' ? data.runId : undefined;
}
