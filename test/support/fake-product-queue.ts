import type { OutgoingChunk, ProductQueue, RunTotals } from '../../src/application/ports.ts';
import { CategorizerError, type ErrorCode } from '../../src/domain/errors.ts';
import { type CrashPlan, crashAt } from './fake-crash.ts';

interface StoredRun {
  readonly fingerprint: string;
  readonly sent: Set<number>;
  totals: RunTotals | undefined;
}

/** What stays when a producer is killed. */
export interface StoredProducts {
  /** What is on the queue, in the order it came. A chunk whose run and number are there already is not added again. */
  chunks: OutgoingChunk[];
  readonly runs: Map<string, StoredRun>;
  /** Chunks whose job failed. */
  readonly failed: Map<OutgoingChunk, ErrorCode>;
}

export function storedProducts(): StoredProducts {
  return { chunks: [], runs: new Map(), failed: new Map() };
}

export interface FakeProductQueue extends ProductQueue {
  readonly store: StoredProducts;
  /** What `pendingJobs` answers, one after the other; the last one for ever. Where it is empty, all chunks. */
  depths: number[];
  /** How often it was asked how many are pending. */
  readonly asked: () => number;
  /** Numbers of the chunks that it was asked to send, the failed too. */
  readonly sends: readonly number[];
  /** Chunks that are being sent stay so until this is done. */
  transit: () => Promise<void>;
  /** Sending the chunk of that number fails. */
  failure: { readonly chunk: number; readonly error: Error } | undefined;
}

/** A queue in memory that is as idempotent as the real one. */
export function createFakeProductQueue(
  store: StoredProducts = storedProducts(),
  crash: CrashPlan = crashAt(),
): FakeProductQueue {
  const sends: number[] = [];
  let asked = 0;

  const chunkOf = (runId: string, number: number) =>
    store.chunks.find((chunk) => chunk.runId === runId && chunk.number === number);

  /** As the real one does: so that they are sent again. */
  function forgetLostChunks(runId: string): void {
    const lost = store.chunks.filter((chunk) => chunk.runId === runId && store.failed.get(chunk) === 'PAYLOAD_MISSING');
    forget(
      runId,
      lost.map(({ number }) => number),
    );
  }

  function forget(runId: string, numbers: readonly number[]): void {
    const run = store.runs.get(runId);
    if (run && numbers.length > 0) run.totals = undefined;
    for (const number of numbers) {
      run?.sent.delete(number);
      const chunk = chunkOf(runId, number);
      if (!chunk) continue;
      store.failed.delete(chunk);
      store.chunks = store.chunks.filter((other) => other !== chunk);
    }
  }

  const queue: FakeProductQueue = {
    store,
    sends,
    depths: [],
    asked: () => asked,
    transit: async () => undefined,
    failure: undefined,
    async begin(runId, fingerprint) {
      await crash.point('begin');
      const run = store.runs.get(runId) ?? { fingerprint, sent: new Set(), totals: undefined };
      if (run.fingerprint !== fingerprint) throw new CategorizerError('RUN_CONFLICT', `run ${runId} has another input`);
      store.runs.set(runId, run);
      forgetLostChunks(runId);
      const sent = new Set(run.sent);
      return { has: (number) => sent.has(number), totals: run.totals };
    },
    async pendingJobs() {
      const { depths } = queue;
      const pending = store.chunks.filter((chunk) => !store.failed.has(chunk)).length;
      return depths[Math.min(asked++, depths.length - 1)] ?? pending;
    },
    async enqueue(chunk) {
      sends.push(chunk.number);
      await crash.point('send');
      await queue.transit();
      if (queue.failure?.chunk === chunk.number) throw queue.failure.error;
      if (!chunkOf(chunk.runId, chunk.number)) store.chunks.push(chunk);
      await crash.point('remember as sent');
      store.runs.get(chunk.runId)?.sent.add(chunk.number);
    },
    async finish(runId, totals) {
      await crash.point('finish');
      const run = store.runs.get(runId);
      if (run) run.totals = totals;
    },
    async forget(runId, numbers) {
      forget(runId, numbers);
    },
    async withdraw(runId) {
      if (store.runs.get(runId)?.sent.size === 0) store.runs.delete(runId);
    },
  };
  return queue;
}
