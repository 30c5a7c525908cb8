import type { OutgoingChunk, ProductQueue } from '../../src/application/ports.ts';

export interface FakeProductQueue extends ProductQueue {
  /** What is on the queue, in the order it came. A chunk whose run and number are there already is not added again. */
  readonly chunks: OutgoingChunk[];
  /** How many jobs each round trip brought. */
  readonly sends: number[];
  /** What `waiting` answers, one after the other; the last one for ever. */
  depths: number[];
  /** How often it was asked how many wait. */
  readonly asked: () => number;
  /** The round trip of that number, from 0, adds so many of its jobs and then throws. */
  failure: { readonly send: number; readonly after: number; readonly error: Error } | undefined;
}

/** A queue in memory that is as idempotent as the real one. */
export function createFakeProductQueue(): FakeProductQueue {
  const chunks: OutgoingChunk[] = [];
  const sends: number[] = [];
  let asked = 0;

  function add(added: readonly OutgoingChunk[]): void {
    for (const chunk of added) {
      const isThere = chunks.some(({ runId, number }) => runId === chunk.runId && number === chunk.number);
      if (!isThere) chunks.push(chunk);
    }
  }

  const queue: FakeProductQueue = {
    chunks,
    sends,
    depths: [0],
    asked: () => asked,
    failure: undefined,
    async waiting() {
      return queue.depths[Math.min(asked++, queue.depths.length - 1)];
    },
    async enqueue(added) {
      const { failure } = queue;
      const fails = failure?.send === sends.length;
      sends.push(added.length);
      add(fails ? added.slice(0, failure.after) : added);
      if (fails) throw failure.error;
    },
  };
  return queue;
}
