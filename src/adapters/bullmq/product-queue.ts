import type { JobsOptions, Queue } from 'bullmq';
import type { ChainableCommander, Redis } from 'ioredis';
import type { EnqueueTracer, OutgoingChunk, ProductQueue, SentBefore } from '../../application/ports.ts';
import {
  chunkJobId,
  JOB_OPTIONS,
  PACKED_PRODUCTS_JOB,
  type PackedProductsJobData,
  PRODUCT_QUEUE,
  packProducts,
  parseFailedReason,
  payloadKey,
} from '../../contract/index.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { askRedis } from './connection.ts';
import type { Payloads } from './payloads.ts';
import { RUN_MEMORY_SECONDS, readTotals, runKey, sentKey, TOTALS_FIELDS } from './run-memory.ts';
import { TolerantQueue } from './tolerant-job.ts';

/**
 * The producer's side of the input queue.
 *
 * @param options.connection from `connectOrFail`, as that of the payloads
 */
export function createProductQueue(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly payloads: Payloads;
  readonly tracer: EnqueueTracer;
  /** The queue where each run has a job that waits for its chunks; none where nothing waits. */
  readonly runQueue?: string;
}): ProductQueue & { close(): Promise<void> } {
  const { connection, prefix, payloads, tracer, runQueue } = options;
  const queue: Queue = new TolerantQueue(PRODUCT_QUEUE, {
    connection,
    prefix,
    defaultJobOptions: { ...JOB_OPTIONS },
  });
  // The call that fails says the same.
  queue.on('error', () => undefined);

  async function begin(runId: string, fingerprint: string): Promise<SentBefore> {
    const key = runKey(prefix, runId);
    const pipeline = connection.pipeline();
    pipeline.hsetnx(key, 'fingerprint', fingerprint);
    pipeline.hsetnx(key, 'startedAt', new Date().toISOString());
    pipeline.expire(key, RUN_MEMORY_SECONDS);
    pipeline.hgetall(key);
    const record = (await askRedis(() => execAll(pipeline))).at(-1) as Record<string, string>;
    if (record.fingerprint !== fingerprint) {
      const message = `run ${runId} was begun ${record.startedAt} with another input, or with the same one read or cut in another way (--chunk-size, columns, format …): name another run with --run`;
      throw new CategorizerError('RUN_CONFLICT', message);
    }
    const mended = await forgetLostChunks(runId);
    const bits = await askRedis(() => connection.getBuffer(sentKey(prefix, runId)));
    return {
      has: (number) => bits !== null && ((bits[number >> 3] ?? 0) & (0x80 >> (number & 7))) !== 0,
      totals: mended ? undefined : readTotals(record),
    };
  }

  /**
   * A chunk whose payload is gone, or that no worker's model fitted, has failed for good; sent again it can be done.
   *
   * @returns whether there were any
   */
  async function forgetLostChunks(runId: string): Promise<boolean> {
    const ids = await askRedis(() => queue.getRanges(['failed'], 0, -1, true));
    const lost: number[] = [];
    for (const id of ids) {
      const number = numberOf(runId, id);
      if (number === undefined) continue;
      const job = await askRedis(() => queue.getJob(id));
      if (job && LOST.has(parseFailedReason(job.failedReason ?? '').code)) lost.push(number);
    }
    await forget(runId, lost);
    return lost.length > 0;
  }

  async function forget(runId: string, chunkNumbers: readonly number[]): Promise<void> {
    for (const number of chunkNumbers) {
      // In this order: killed in between, the next call still knows that the run is not complete.
      await askRedis(() => connection.hdel(runKey(prefix, runId), ...TOTALS_FIELDS));
      await askRedis(() => connection.setbit(sentKey(prefix, runId), number, 0));
      const job = await askRedis(() => queue.getJob(chunkJobId(runId, number)));
      const removed = job && (await askRedis(() => queue.remove(job.id ?? '')));
      if (removed && typeof job.data?.payload === 'string') await askRedis(() => payloads.remove([job.data.payload]));
    }
  }

  /** The job of the run goes on when all chunks are finished, also those that failed. */
  function childOf(runId: string): JobsOptions {
    if (runQueue === undefined) return {};
    return { parent: { id: runId, queue: `${prefix}:${runQueue}` }, ignoreDependencyOnFailure: true };
  }

  async function enqueue({ number, runId, products, space }: OutgoingChunk): Promise<void> {
    const jobId = chunkJobId(runId, number);
    const { payload, ...announced } = packProducts(products);
    const key = payloadKey(prefix, jobId, announced.crc32);
    const data: PackedProductsJobData = { ...announced, payload: key, width: products.features.width, runId, space };
    await tracer.enqueue(PRODUCT_QUEUE, 1, async (trace) => {
      const telemetry = trace === undefined ? undefined : { metadata: trace };
      // In this order: a job whose payload is not there yet would fail.
      await askRedis(() => payloads.write(key, payload));
      await askRedis(() => queue.add(PACKED_PRODUCTS_JOB, data, { jobId, telemetry, ...childOf(runId) }));
    });
    const pipeline = connection.pipeline();
    pipeline.setbit(sentKey(prefix, runId), number, 1);
    pipeline.expire(sentKey(prefix, runId), RUN_MEMORY_SECONDS);
    await askRedis(() => execAll(pipeline));
  }

  return {
    begin,
    pendingJobs: () => askRedis(() => queue.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized')),
    enqueue,
    forget,
    async finish(runId, totals) {
      const pipeline = connection.pipeline();
      pipeline.hset(runKey(prefix, runId), totals);
      pipeline.expire(runKey(prefix, runId), RUN_MEMORY_SECONDS);
      await askRedis(() => execAll(pipeline));
    },
    async withdraw(runId) {
      const sent = await askRedis(() => connection.exists(sentKey(prefix, runId)));
      if (sent === 0) await askRedis(() => connection.del(runKey(prefix, runId)));
    },
    close: () => queue.close(),
  };
}

/** Chunks that failed with these are done when they are sent again. */
const LOST: ReadonlySet<string> = new Set(['PAYLOAD_MISSING', 'MODEL_MISMATCH']);

/** The number of the chunk that a job of the run is. */
function numberOf(runId: string, jobId: string): number | undefined {
  const number = jobId.slice(runId.length + 1);
  return jobId.startsWith(`${runId}-`) && /^\d+$/.test(number) ? Number(number) : undefined;
}

/** The replies of all commands. @throws the error of the first that failed */
async function execAll(pipeline: ChainableCommander): Promise<unknown[]> {
  const replies = (await pipeline.exec()) ?? [];
  return replies.map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}
