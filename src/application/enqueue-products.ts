import { CategorizerError, messageOf } from '../domain/errors.ts';
import type { ChunkState, ImportTotals } from '../domain/import.ts';
import type { ProductTable } from '../domain/product.ts';
import { createChunker } from './chunker.ts';
import { createCounts, increment } from './counts.ts';
import type { Clock, ProductQueue, ProductSource, RejectSink } from './ports.ts';
import { throwIfStopped } from './stopping.ts';

/** Chunks on their way to Redis at once: enough to hide its time, little enough for memory. */
const SENDS_IN_FLIGHT = 4;

/** While the queue is full it is asked again after so many milliseconds. */
const FULL_QUEUE_PAUSE_MS = 50;

/** Whether a chunk in that state need not be sent again. */
const IS_THERE: Readonly<Record<ChunkState, boolean>> = {
  collected: true,
  answered: true,
  waiting: true,
  failed: false,
  missing: false,
};

export interface EnqueueOptions {
  readonly runId: string;
  /** Of an import, what a person types to run it again. */
  readonly command?: string;
  /** Products in a job. */
  readonly chunkSize: number;
  /** Waits while about so many bytes of products are in Redis and not categorized. */
  readonly maxPendingBytes: number;
  /** What produced the vectors, where that is known. */
  readonly space?: string;
  /** Ends the import between two chunks. */
  readonly stop: AbortSignal;
  readonly onProgress?: (progress: EnqueueProgress) => void;
}

export interface EnqueueProgress {
  /** Products that are on the queue, or were before. */
  readonly products: number;
  readonly rejected: number;
  /** The queue is full. */
  readonly paused: boolean;
}

export interface EnqueueSummary extends ImportTotals {
  readonly runId: string;
  /** Chunks that were sent by this call, and the products in them. */
  readonly sentNow: { readonly jobs: number; readonly products: number };
  /** Chunks of an earlier call of the same import that were not sent again, and the products in them. */
  readonly sentBefore: { readonly jobs: number; readonly products: number };
  readonly rejectFiles: readonly string[];
}

/**
 * Sends a stream of products to the queue in chunks; what a worker would reject is put aside before it travels.
 *
 * Chunks are numbered in the order of the input, so that the same input under the same run id gives the same jobs. What is on
 * its way, answered or collected is not sent again, and what failed or is missing is: killed at any moment, or when something
 * of it was lost, the same call finishes the import.
 *
 * @throws CategorizerError `INTERRUPTED`, `RUN_CONFLICT`, and what the ports throw
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
  const { runId, command, space, chunkSize, maxPendingBytes, stop, onProgress } = options;
  const before = await queue.begin(runId, `${source.fingerprint}-${chunkSize}`, command);
  if (before.totals && before.lost.length === 0) return sentCompletely(runId, before.totals);
  await queue.clear(runId, before.lost);
  const isThere = (number: number) => IS_THERE[before.stateOf(number) ?? 'missing'];

  const inFlight = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  const sent = { jobs: 0, products: 0 };
  const sentBefore = { jobs: 0, products: 0 };
  let nextChunk = 0;

  const progress = (paused: boolean) =>
    onProgress?.({ products: sent.products + sentBefore.products, rejected: source.counts().rejected, paused });

  async function waitForRoom(bytes: number): Promise<void> {
    while (inFlight.size >= SENDS_IN_FLIGHT) await Promise.race(inFlight);
    for (;;) {
      const pending = (await queue.pendingJobs()) + inFlight.size;
      if (pending === 0 || (pending + 1) * bytes <= maxPendingBytes) return;
      progress(true);
      await new Promise<void>((resolve) => clock.after(FULL_QUEUE_PAUSE_MS, resolve));
      throwIfStopped(stop);
      if (failure) throw failure.error;
    }
  }

  async function send(products: ProductTable): Promise<void> {
    throwIfStopped(stop);
    if (failure) throw failure.error;
    const number = nextChunk++;
    const { rows } = products.features;
    if (isThere(number)) {
      sentBefore.jobs++;
      sentBefore.products += rows;
      progress(false);
      return;
    }
    await waitForRoom(products.features.values.byteLength + products.ids.byteLength);
    const sending = queue
      .enqueue({ number, runId, products, space })
      .then(() => {
        sent.jobs++;
        sent.products += rows;
        progress(false);
      })
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => inFlight.delete(sending));
    inFlight.add(sending);
  }

  async function settle(): Promise<void> {
    await Promise.all(inFlight);
    if (failure) throw failure.error;
  }

  try {
    const chunker = createChunker(chunkSize);
    for await (const table of source.products()) {
      throwIfStopped(stop);
      for (const chunk of chunker.add(table)) await send(chunk);
    }
    for (const chunk of chunker.rest()) await send(chunk);
    await settle();
    // The files of the rejects first: a run that is complete is not read again.
    const { rejectFiles, rejectedByCode, rejected } = await putAside(source, rejects);
    const { skipped } = source.counts();
    const products = sent.products + sentBefore.products;
    const totals = { jobs: nextChunk, products, rejected, rejectedByCode, skipped };
    await queue.finish(runId, totals);
    return { runId, ...totals, sentNow: sent, sentBefore, rejectFiles };
  } catch (error) {
    await settle().catch(() => undefined);
    await rejects.abort();
    if (sent.jobs > 0) throw saysHowToGoOn(error, sent);
    // What is wrong is the error; that the claim may stay is not.
    await queue.withdraw(runId).catch(() => undefined);
    throw error;
  }
}

async function putAside(source: ProductSource, rejects: RejectSink) {
  const rejectedByCode = createCounts();
  let rejected = 0;
  for await (const row of source.rejects()) {
    rejected++;
    // A row with several errors counts once, by the first.
    increment(rejectedByCode, row.errors[0].code);
    await rejects.write(row);
  }
  return { rejected, rejectedByCode, rejectFiles: await rejects.commit() };
}

function sentCompletely(runId: string, totals: ImportTotals): EnqueueSummary {
  const { jobs, products } = totals;
  return { runId, ...totals, sentNow: { jobs: 0, products: 0 }, sentBefore: { jobs, products }, rejectFiles: [] };
}

function saysHowToGoOn(error: unknown, sent: { products: number; jobs: number }): unknown {
  if (!(error instanceof CategorizerError)) return error;
  const { retryable } = error;
  const advice = `${sent.products} products in ${sent.jobs} jobs were sent; the same command sends the rest, and no product is in the results twice`;
  return new CategorizerError(error.code, `${messageOf(error)} (${advice})`, { retryable, cause: error });
}
