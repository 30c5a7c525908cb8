import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { CollectedResult, Logger, ResultQueue } from '../../application/ports.ts';
import {
  CATEGORIES_RESULT,
  CATEGORY_RESULT,
  categoriesResultSchema,
  categoryResultSchema,
  RESULT_QUEUE,
} from '../../contract/index.ts';
import { askRedis } from './connection.ts';
import { collectedKey, RUN_MEMORY_SECONDS } from './run-memory.ts';
import { TolerantQueue } from './tolerant-job.ts';

/** Products to hold at once, about: a result has one or thousands of them. */
const PRODUCTS_PER_PAGE = 5000;
const MOST_RESULTS_PER_PAGE = 500;

/** The collector's side of the results queue. @param options.connection from `connectOrFail` */
export function createResultQueue(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly logger: Logger;
}): ResultQueue & { close(): Promise<void> } {
  const { connection, prefix, logger } = options;
  const queue = new TolerantQueue(RESULT_QUEUE, { connection, prefix });
  // The call that fails says the same.
  queue.on('error', () => undefined);

  async function* read(runId: string | undefined): AsyncGenerator<readonly CollectedResult[]> {
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
      if (unread.length === 0 && isLastPage) return;
      start += ids.length - 1;
      const jobs = await askRedis(() => Promise.all(unread.map((id) => queue.getJob(id))));
      before = new Set(ids);
      const page: CollectedResult[] = [];
      for (const job of jobs) {
        if (job === undefined || (runId !== undefined && job.data?.runId !== runId)) continue;
        const result = toCollectedResult(job);
        if (result) page.push(result);
        else logger.warn({ resultId: job.id }, 'a job on the results queue is no result of this contract; left there');
      }
      yield page;
      const products = jobs.reduce((sum, job) => sum + productsIn(job), 0);
      const fitting = Math.ceil((PRODUCTS_PER_PAGE * jobs.length) / products) || 1;
      pageSize = Math.min(fitting, 2 * pageSize, MOST_RESULTS_PER_PAGE);
    }
  }

  async function collectedBefore(results: readonly CollectedResult[]): Promise<ReadonlySet<string>> {
    const before = new Set<string>();
    for (const [runId, ids] of byRun(results)) {
      const known = await askRedis(() => connection.smismember(collectedKey(prefix, runId), ...ids));
      ids.forEach((id, i) => {
        if (known[i] === 1) before.add(id);
      });
    }
    return before;
  }

  async function remove(results: readonly CollectedResult[]): Promise<void> {
    // Remembered first: killed between the two, the next collection knows them and removes them.
    for (const [runId, ids] of byRun(results)) {
      await askRedis(() => connection.sadd(collectedKey(prefix, runId), ...ids));
      await askRedis(() => connection.expire(collectedKey(prefix, runId), RUN_MEMORY_SECONDS));
    }
    await askRedis(() => Promise.all(results.map(({ resultId }) => queue.remove(resultId))));
  }

  return { read, collectedBefore, remove, close: () => queue.close() };
}

/** Without looking closely: what is on the queue may be anything. */
function productsIn(job: Job | undefined): number {
  const results: unknown = job?.data?.results;
  return Array.isArray(results) ? results.length : 1;
}

function byRun(results: readonly CollectedResult[]): Map<string | undefined, string[]> {
  const groups = new Map<string | undefined, string[]>();
  for (const { runId, resultId } of results) {
    const ids = groups.get(runId);
    if (ids) ids.push(resultId);
    else groups.set(runId, [resultId]);
  }
  return groups;
}

function toCollectedResult(job: Job): CollectedResult | undefined {
  const resultId = job.id ?? '';
  if (job.name === CATEGORY_RESULT) {
    const { data } = categoryResultSchema.safeParse(job.data);
    if (!data) return undefined;
    const { productId, category, confidence, model, runId } = data;
    const row = { productId, categoryCode: category.code, confidence, modelVersion: model.version, resultId };
    return { resultId, runId, rows: [row] };
  }
  if (job.name === CATEGORIES_RESULT) {
    const { data } = categoriesResultSchema.safeParse(job.data);
    if (!data) return undefined;
    const { results, model, runId } = data;
    return { resultId, runId, rows: results.map((row) => ({ ...row, modelVersion: model.version, resultId })) };
  }
  // `categories.packed` gets its case here.
  return undefined;
}
