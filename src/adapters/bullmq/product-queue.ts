import { crc32 } from 'node:zlib';
import type { JobsOptions, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { EnqueueTracer, OutgoingChunk, ProductQueue, SentBefore } from '../../application/ports.ts';
import {
  chunkJobId,
  JOB_OPTIONS,
  PACKED_PRODUCTS_JOB,
  type PackedProductsJobData,
  PRODUCT_QUEUE,
  packProducts,
  payloadKey,
  RESULT_QUEUE,
  resultIdOf,
} from '../../contract/index.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { allChunks } from '../../domain/import.ts';
import { askRedis } from './connection.ts';
import {
  answersKey,
  type ChunkEntry,
  chunksKey,
  formatEntry,
  importsKey,
  RECORD_SECONDS,
  runKey,
} from './import-keys.ts';
import { execAll, type StoredChunk, type StoredImports, toRecord, totalsFields } from './import-records.ts';
import { CLAIM_CHUNK } from './import-scripts.ts';
import type { Payloads } from './payloads.ts';
import { TolerantQueue } from './tolerant-job.ts';

/** Ids that are tried for one chunk: so many can be taken by the jobs of others. */
const MOST_ATTEMPTS = 100;

/**
 * The producer's side of the input queue.
 *
 * @param options.connection from `connectOrFail`, as that of the payloads
 */
export function createProductQueue(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly payloads: Payloads;
  readonly imports: StoredImports;
  readonly tracer: EnqueueTracer;
  /** The queue where each run has a job that waits for its chunks; none where nothing waits. */
  readonly runQueue?: string;
}): ProductQueue & { close(): Promise<void> } {
  const { connection, prefix, payloads, imports, tracer, runQueue } = options;
  const queue: Queue = new TolerantQueue(PRODUCT_QUEUE, {
    connection,
    prefix,
    defaultJobOptions: { ...JOB_OPTIONS },
  });
  // The call that fails says the same.
  queue.on('error', () => undefined);
  /** Of each run that was begun, the entries of chunks that are to be sent again. */
  const lostEntries = new Map<string, Map<number, ChunkEntry>>();

  async function begin(runId: string, fingerprint: string, command?: string): Promise<SentBefore> {
    const key = runKey(prefix, runId);
    const now = new Date();
    const pipeline = connection.pipeline();
    pipeline.hsetnx(key, 'fingerprint', fingerprint);
    pipeline.hsetnx(key, 'startedAt', now.toISOString());
    if (command !== undefined) {
      pipeline.zadd(importsKey(prefix), 'NX', now.getTime(), runId);
      pipeline.zremrangebyscore(importsKey(prefix), '-inf', now.getTime() - RECORD_SECONDS * 1000);
      pipeline.expire(importsKey(prefix), RECORD_SECONDS);
    }
    pipeline.expire(key, RECORD_SECONDS);
    pipeline.hgetall(key);
    const fields = (await askRedis(() => execAll(pipeline))).at(-1) as Record<string, string>;
    if (fields.fingerprint !== fingerprint) {
      const message = `run ${runId} was begun ${fields.startedAt} with another input, or with the same one read or cut in another way (--chunk-size, columns, format …): name another run with --run`;
      throw new CategorizerError('RUN_CONFLICT', message);
    }
    if (command !== undefined) await askRedis(() => connection.hset(key, 'command', command));
    const totals = toRecord(runId, fields)?.totals;
    const numbers = totals ? allChunks(totals) : await imports.numbers(runId);
    const chunks = await imports.chunks(runId, numbers);
    const states = new Map(chunks.filter(({ sent }) => sent).map(({ number, state }) => [number, state]));
    const lost = chunks.filter(({ state }) => state === 'failed' || state === 'missing');
    lostEntries.set(runId, new Map(lost.flatMap(({ number, entry }) => (entry ? [[number, entry]] : []))));
    return { totals, stateOf: (number) => states.get(number), lost: lost.map(({ number }) => number) };
  }

  /** Removes what is left of jobs that will not be answered; the collector removes results that nobody can read. */
  async function clear(runId: string, numbers: readonly number[]): Promise<readonly StoredChunk[]> {
    const chunks = await imports.chunks(runId, numbers);
    for (const { number, entry } of chunks) {
      for (const attempt of entry?.attempts ?? []) {
        await removeWithPayload(chunkJobId(runId, number, attempt));
      }
    }
    return chunks;
  }

  async function removeWithPayload(id: string): Promise<void> {
    const job = await askRedis(() => queue.getJob(id));
    // One that is in work is locked, and stays.
    if (!job || (await askRedis(() => queue.remove(id))) === 0) return;
    const key: unknown = job.data?.payload;
    if (typeof key === 'string') await askRedis(() => payloads.remove([{ owner: id, key }]));
  }

  async function forget(runId: string, numbers: readonly number[]): Promise<void> {
    for (const { number, entry } of await clear(runId, numbers)) {
      const pipeline = connection.pipeline().hdel(answersKey(prefix, runId), String(number));
      if (entry) pipeline.hset(chunksKey(prefix, runId), String(number), formatEntry({ ...entry, attempts: [] }));
      await askRedis(() => execAll(pipeline));
    }
  }

  /** The job of the run goes on when all chunks are finished, also those that failed. */
  function childOf(runId: string): JobsOptions {
    if (runQueue === undefined) return {};
    return { parent: { id: runId, queue: `${prefix}:${runQueue}` }, ignoreDependencyOnFailure: true };
  }

  async function enqueue({ number, runId, products, space }: OutgoingChunk): Promise<void> {
    const { payload, ...announced } = packProducts(products);
    const before = lostEntries.get(runId)?.get(number);
    const idsCrc32 = crc32(products.ids);
    const { width } = products.features;

    /** @returns whether the job that has the id now is this chunk */
    async function send(attempt: number): Promise<boolean> {
      const jobId = chunkJobId(runId, number, attempt);
      const key = payloadKey(prefix, jobId, announced.crc32);
      const data: PackedProductsJobData = { ...announced, payload: key, width, runId, space };
      const entry = formatEntry({
        products: announced.count,
        crc32: announced.crc32,
        idsCrc32,
        nextAttempt: attempt + 1,
        attempts: [...(before?.attempts ?? []), attempt],
      });
      await tracer.enqueue(PRODUCT_QUEUE, 1, async (trace) => {
        const telemetry = trace === undefined ? undefined : { metadata: trace };
        // In this order: a job whose payload is not there yet would fail.
        await askRedis(() => payloads.write(key, payload));
        await askRedis(() => queue.add(PACKED_PRODUCTS_JOB, data, { jobId, telemetry, ...childOf(runId) }));
      });
      // BullMQ ignores an add whose id exists, whatever job that is: only what is stored tells.
      const found = await askRedis(() =>
        connection.eval(
          CLAIM_CHUNK,
          1,
          chunksKey(prefix, runId),
          queue.toKey(jobId),
          queue.toKey('completed'),
          jobId,
          `${prefix}:${RESULT_QUEUE}:${resultIdOf(jobId, 0)}`,
          number,
          entry,
          RECORD_SECONDS,
          key,
          announced.count,
          announced.crc32,
          width,
        ),
      );
      return found === 'own';
    }

    const first = before?.nextAttempt ?? 0;
    for (let attempt = first; attempt < first + MOST_ATTEMPTS; attempt++) if (await send(attempt)) return;
    const message = `jobs of another producer hold the ids ${chunkJobId(runId, number, first)} and the ${MOST_ATTEMPTS - 1} after it: name another run with --run`;
    throw new CategorizerError('RUN_CONFLICT', message);
  }

  return {
    begin,
    pendingJobs: () => askRedis(() => queue.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized')),
    enqueue,
    clear: async (runId, numbers) => void (await clear(runId, numbers)),
    forget,
    async finish(runId, totals) {
      const key = runKey(prefix, runId);
      const pipeline = connection.pipeline().hset(key, totalsFields(totals)).expire(key, RECORD_SECONDS);
      await askRedis(() => execAll(pipeline));
    },
    async withdraw(runId) {
      const sent = await askRedis(() => connection.exists(chunksKey(prefix, runId)));
      if (sent > 0) return;
      const pipeline = connection.pipeline().del(runKey(prefix, runId)).zrem(importsKey(prefix), runId);
      await askRedis(() => execAll(pipeline));
    },
    close: () => queue.close(),
  };
}
