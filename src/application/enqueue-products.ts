import { CategorizerError, messageOf, type RejectReason } from '../domain/errors.ts';
import { readFeatures } from '../domain/features.ts';
import { checkProductId } from '../domain/product.ts';
import { type Counts, increment } from './counts.ts';
import type { Clock, OutgoingChunk, ProductQueue, ProductSource, RejectSink, SourceRow } from './ports.ts';

/** Products in one round trip to Redis, about: enough to hide its time, little enough for memory. */
const PRODUCTS_PER_SEND = 5000;
const JOBS_PER_SEND = 500;

/** While the queue is full it is asked again after so many milliseconds. */
const FULL_QUEUE_PAUSE_MS = 250;

export interface EnqueueOptions {
  readonly runId: string;
  /** Products in a job. */
  readonly chunkSize: number;
  /** Waits while so many jobs or more are waiting for a worker. */
  readonly maxWaitingJobs: number;
  /** Numbers in a feature vector. */
  readonly width: number;
  /** Ends the import between two sends. */
  readonly stop: AbortSignal;
  readonly onProgress?: (progress: EnqueueSummary & { readonly paused: boolean }) => void;
}

export interface EnqueueSummary {
  readonly runId: string;
  /** Products read, well-formed or not. */
  readonly products: number;
  readonly enqueued: number;
  readonly jobs: number;
  readonly rejected: number;
  readonly rejectedByCode: Readonly<Record<string, number>>;
}

type ValidProduct = OutgoingChunk['products'][number];

/**
 * Sends a stream of products to the queue in chunks; what a worker would reject is put aside before it travels.
 *
 * Chunks are numbered in the order of the input, so the same input under the same run id gives the same jobs: sending
 * them again after an error adds none twice.
 *
 * @throws CategorizerError `INTERRUPTED`, and what the ports throw
 */
export async function enqueueProducts(
  ports: {
    readonly source: ProductSource;
    readonly queue: ProductQueue;
    readonly rejects: RejectSink;
    readonly clock: Clock;
  },
  options: EnqueueOptions,
): Promise<EnqueueSummary> {
  const { source, queue, rejects, clock } = ports;
  const { runId, chunkSize, maxWaitingJobs, width, stop, onProgress } = options;
  const scratch = new Float32Array(width);
  const rejectedByCode: Counts = {};
  let products = 0;
  let enqueued = 0;
  let jobs = 0;
  let rejected = 0;
  let gathered: ValidProduct[] = [];
  let unsent: OutgoingChunk[] = [];
  let unsentProducts = 0;
  let nextChunk = 0;
  let sending = false;

  const summary = (): EnqueueSummary => ({ runId, products, enqueued, jobs, rejected, rejectedByCode });

  function closeChunk(): void {
    if (gathered.length === 0) return;
    unsent.push({ number: nextChunk++, runId, products: gathered });
    unsentProducts += gathered.length;
    gathered = [];
  }

  async function send(): Promise<void> {
    if (unsent.length === 0) return;
    while ((await queue.waiting()) >= maxWaitingJobs) {
      onProgress?.({ ...summary(), paused: true });
      await new Promise<void>((resolve) => clock.after(FULL_QUEUE_PAUSE_MS, resolve));
      throwIfStopped(stop);
    }
    sending = true;
    await queue.enqueue(unsent);
    jobs += unsent.length;
    enqueued += unsentProducts;
    unsent = [];
    unsentProducts = 0;
    onProgress?.({ ...summary(), paused: false });
  }

  try {
    for await (const row of source.rows()) {
      throwIfStopped(stop);
      products++;
      const reason = whyRejected(row, scratch);
      if (reason) {
        rejected++;
        increment(rejectedByCode, reason.code);
        await rejects.write(row, reason);
        continue;
      }
      gathered.push(row.product as ValidProduct);
      if (gathered.length === chunkSize) closeChunk();
      if (unsentProducts >= PRODUCTS_PER_SEND || unsent.length >= JOBS_PER_SEND) await send();
    }
    closeChunk();
    await send();
    return summary();
  } catch (error) {
    // Once a send was begun a part of it may have arrived.
    throw sending ? saysHowToGoOn(error, summary()) : error;
  }
}

function whyRejected(row: SourceRow, scratch: Float32Array): RejectReason | undefined {
  if (row.product === undefined) return row.unreadable ?? { code: 'INVALID_ROW', message: 'the row cannot be read' };
  return checkProductId(row.product.productId) ?? readFeatures(row.product.features, scratch.length, scratch, 0);
}

function throwIfStopped(stop: AbortSignal): void {
  if (stop.aborted) throw new CategorizerError('INTERRUPTED', 'stopped by a signal');
}

function saysHowToGoOn(error: unknown, { runId, enqueued, jobs }: EnqueueSummary): unknown {
  if (!(error instanceof CategorizerError)) return error;
  const { retryable } = error;
  const advice = `${enqueued} products in ${jobs} jobs were sent; the same command with --run ${runId} sends the rest, and no product is in the results twice`;
  return new CategorizerError(error.code, `${messageOf(error)} (${advice})`, { retryable, cause: error });
}
