import { crc32 } from 'node:zlib';
import { Queue } from 'bullmq';
import type { ChainableCommander, Redis } from 'ioredis';
import type { EnqueueTracer, OutgoingChunk, ProductQueue } from '../../application/ports.ts';
import { chunkJobId, JOB_OPTIONS, PRODUCT_JOB, PRODUCT_QUEUE, PRODUCTS_JOB } from '../../contract/index.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { askRedis } from './connection.ts';
import { RUN_MEMORY_SECONDS, sentKey } from './run-memory.ts';

/** The producer's side of the input queue. @param options.connection from `connectOrFail` */
export function createProductQueue(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly tracer: EnqueueTracer;
}): ProductQueue & { close(): Promise<void> } {
  const { connection, prefix, tracer } = options;
  const queue = new Queue(PRODUCT_QUEUE, { connection, prefix, defaultJobOptions: { ...JOB_OPTIONS } });
  // The call that fails says the same.
  queue.on('error', () => undefined);

  /**
   * A job id that exists is not added again, whatever is in the job: another content under the same number would be
   * lost without a word. So what is sent under each number is remembered, and must stay the same.
   */
  async function claimNumbers(runId: string, chunks: readonly OutgoingChunk[]): Promise<void> {
    const key = sentKey(prefix, runId);
    const checksums = chunks.map(({ products }) => String(crc32(JSON.stringify(products))));
    const pipeline = connection.pipeline();
    chunks.forEach(({ number }, i) => {
      pipeline.hsetnx(key, String(number), checksums[i]);
    });
    pipeline.hmget(key, ...chunks.map(({ number }) => String(number)));
    pipeline.expire(key, RUN_MEMORY_SECONDS);
    const replies = await askRedis(() => execAll(pipeline));
    const remembered = replies.at(-2);
    const changed = chunks.find((_, i) => !Array.isArray(remembered) || remembered[i] !== checksums[i]);
    if (changed) {
      const message = `chunk ${changed.number} of run ${runId} was sent with other products before: an input that has changed, or another --chunk-size, wants another run id`;
      throw new CategorizerError('RUN_CONFLICT', message);
    }
  }

  async function enqueue(chunks: readonly OutgoingChunk[]): Promise<void> {
    if (chunks.length > 0) await claimNumbers(chunks[0].runId, chunks);
    await tracer.enqueue(PRODUCT_QUEUE, chunks.length, async (trace) => {
      const telemetry = trace === undefined ? undefined : { metadata: trace };
      await askRedis(() =>
        queue.addBulk(
          chunks.map((chunk) => ({
            ...formOf(chunk),
            opts: { jobId: chunkJobId(chunk.runId, chunk.number), telemetry },
          })),
        ),
      );
    });
  }

  return {
    waiting: () => askRedis(() => queue.getWaitingCount()),
    enqueue,
    close: () => queue.close(),
  };
}

/** The replies of all commands. @throws the error of the first that failed */
async function execAll(pipeline: ChainableCommander): Promise<unknown[]> {
  const replies = (await pipeline.exec()) ?? [];
  return replies.map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}

/** One product travels as a job of its own; more of them as a chunk. */
function formOf({ products, runId }: OutgoingChunk) {
  return products.length === 1
    ? { name: PRODUCT_JOB, data: { ...products[0], runId } }
    : { name: PRODUCTS_JOB, data: { products, runId } };
}
