import type { Redis } from 'ioredis';
import type { ChunkOutcome, RunChunks } from '../../application/recategorization/ports.ts';
import { chunkJobId, RESULT_QUEUE, resultIdOf } from '../../contract/index.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { readResult } from './collected-result.ts';
import { askRedis } from './connection.ts';
import type { StoredChunk, StoredImports } from './import-records.ts';
import type { Payloads } from './payloads.ts';
import { TolerantQueue } from './tolerant-job.ts';

/** The chunks of a run, found by their ids: however long the queues are, no other job is looked at. */
export function createRunChunks(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly payloads: Payloads;
  readonly imports: StoredImports;
}): RunChunks & { close(): Promise<void> } {
  const { connection, prefix, payloads, imports } = options;
  const results = new TolerantQueue(RESULT_QUEUE, { connection, prefix });
  // The call that fails says the same.
  results.on('error', () => undefined);

  const resultJob = (runId: string, number: number, attempt: number) =>
    askRedis(() => results.getJob(resultIdOf(chunkJobId(runId, number, attempt), 0)));

  async function outcome(runId: string, number: number): Promise<ChunkOutcome> {
    const [chunk] = await imports.chunks(runId, [number]);
    switch (chunk.state) {
      case 'waiting':
        return { state: 'pending' };
      case 'answered':
        return readAnswer(runId, chunk);
      case 'failed':
        return chunk.failure && chunk.failure.code !== 'PAYLOAD_MISSING'
          ? { state: 'failed', ...chunk.failure }
          : { state: 'lost' };
      // Collected: by somebody else, who has it now.
      case 'collected':
      case 'missing':
        return { state: 'lost' };
    }
  }

  async function readAnswer(runId: string, { number, attempt }: StoredChunk): Promise<ChunkOutcome> {
    const job = attempt === undefined ? undefined : await resultJob(runId, number, attempt);
    if (!job) return { state: 'lost' };
    try {
      const { result, model } = await readResult(job, payloads);
      return { state: 'categorized', result, model };
    } catch (error) {
      if (!(error instanceof CategorizerError) || error.retryable) throw error;
      return { state: 'lost' };
    }
  }

  async function removeResults(runId: string, numbers: readonly number[]): Promise<void> {
    for (const { number, entry } of await imports.chunks(runId, numbers)) {
      for (let attempt = 0; attempt < (entry?.nextAttempt ?? 1); attempt++) {
        const job = await resultJob(runId, number, attempt);
        if (!job?.id) continue;
        const key: unknown = job.data?.payload;
        // In this order: killed in between, the next call finds the job, and with it what is left.
        if (typeof key === 'string') await askRedis(() => payloads.remove([{ owner: job.id ?? '', key }]));
        await askRedis(() => job.remove());
      }
    }
  }

  return { outcome, removeResults, close: () => results.close() };
}
