import type { Redis } from 'ioredis';
import type { ChunkOutcome, RunChunks } from '../../application/recategorization/ports.ts';
import { chunkJobId, PRODUCT_QUEUE, parseFailedReason, RESULT_QUEUE, resultIdOf } from '../../contract/index.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { readResult } from './collected-result.ts';
import { askRedis } from './connection.ts';
import type { Payloads } from './payloads.ts';
import { TolerantQueue } from './tolerant-job.ts';

const FINISHED = ['completed', 'failed', 'unknown'];

/** The chunks of a run, found by their ids: however long the queues are, no other job is looked at. */
export function createRunChunks(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly payloads: Payloads;
}): RunChunks & { close(): Promise<void> } {
  const { connection, prefix, payloads } = options;
  const products = new TolerantQueue(PRODUCT_QUEUE, { connection, prefix });
  const results = new TolerantQueue(RESULT_QUEUE, { connection, prefix });
  // The call that fails says the same.
  for (const queue of [products, results]) queue.on('error', () => undefined);

  const resultJob = (runId: string, number: number) =>
    askRedis(() => results.getJob(resultIdOf(chunkJobId(runId, number), 0)));

  async function outcome(runId: string, number: number): Promise<ChunkOutcome> {
    const jobId = chunkJobId(runId, number);
    // The state first: a job completes after its result is there.
    const state = await askRedis(() => products.getJobState(jobId));
    if (!FINISHED.includes(state)) return { state: 'pending' };
    const found = await resultJob(runId, number);
    if (found) {
      try {
        const { result, model } = await readResult(found, payloads);
        return { state: 'categorized', result, model };
      } catch (error) {
        if (!(error instanceof CategorizerError) || error.retryable) throw error;
      }
    }
    const job = state === 'failed' ? await askRedis(() => products.getJob(jobId)) : undefined;
    const { code, message } = parseFailedReason(job?.failedReason ?? '');
    return job && code !== 'PAYLOAD_MISSING' ? { state: 'failed', code, message } : { state: 'lost' };
  }

  async function removeResults(runId: string, numbers: readonly number[]): Promise<void> {
    for (const number of numbers) {
      const job = await resultJob(runId, number);
      if (!job) continue;
      const payload: unknown = job.data?.payload;
      // In this order: killed in between, the next call finds the job, and with it what is left.
      if (typeof payload === 'string') await askRedis(() => payloads.remove([payload]));
      await askRedis(() => job.remove());
    }
  }

  return {
    outcome,
    removeResults,
    async close() {
      await Promise.all([products.close(), results.close()]);
    },
  };
}
