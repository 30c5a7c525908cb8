import type { OutgoingChunk, ProductQueue } from '../../src/application/ports.ts';
import { CategorizerError, type ErrorCode } from '../../src/domain/errors.ts';
import type { ChunkState, ImportTotals } from '../../src/domain/import.ts';
import { type CrashPlan, crashAt } from './fake-crash.ts';

interface StoredRun {
  readonly fingerprint: string;
  readonly sent: Set<number>;
  totals: ImportTotals | undefined;
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

  function stateOf(runId: string, number: number): ChunkState | undefined {
    if (!store.runs.get(runId)?.sent.has(number)) return undefined;
    const chunk = chunkOf(runId, number);
    if (!chunk) return 'missing';
    return store.failed.has(chunk) ? 'failed' : 'waiting';
  }

  function clear(runId: string, numbers: readonly number[]): void {
    for (const number of numbers) {
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
      const numbers = run.totals ? Array.from({ length: run.totals.jobs }, (_, number) => number) : [...run.sent];
      const states = new Map(numbers.map((number) => [number, stateOf(runId, number)]));
      const lost = numbers.filter((number) => ['failed', 'missing'].includes(states.get(number) ?? 'missing'));
      return { stateOf: (number) => states.get(number), lost, totals: run.totals };
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
    async clear(runId, numbers) {
      await crash.point('clear');
      clear(runId, numbers);
    },
    async forget(runId, numbers) {
      clear(runId, numbers);
      for (const number of numbers) store.runs.get(runId)?.sent.delete(number);
    },
    async withdraw(runId) {
      if (store.runs.get(runId)?.sent.size === 0) store.runs.delete(runId);
    },
  };
  return queue;
}
