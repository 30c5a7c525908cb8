import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { EnqueueTracer, OutgoingChunk, ProductQueue } from '../../application/ports.ts';
import { chunkJobId, JOB_OPTIONS, PRODUCT_JOB, PRODUCT_QUEUE, PRODUCTS_JOB } from '../../contract/index.ts';
import { askRedis } from './connection.ts';

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

  async function enqueue(chunks: readonly OutgoingChunk[]): Promise<void> {
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

/** One product travels as a job of its own; more of them as a chunk. */
function formOf({ products, runId }: OutgoingChunk) {
  return products.length === 1
    ? { name: PRODUCT_JOB, data: { ...products[0], runId } }
    : { name: PRODUCTS_JOB, data: { products, runId } };
}
