import { describe, expect, it } from 'vitest';
import type { OutgoingChunk, ProductQueue } from '../../src/application/ports.ts';

export interface OpenedProductQueue {
  readonly queue: ProductQueue;
  /** Run and product ids of what is on the queue, in the order it came. */
  sent(): Promise<string[]>;
}

export function someChunk(number: number, products = 2, runId = 'run-1'): OutgoingChunk {
  return {
    number,
    runId,
    products: Array.from({ length: products }, (_, i) => ({ productId: `P${number}-${i}`, features: [number, i] })),
  };
}

/** What the real input queue and its fake have in common for a producer. */
export function describeProductQueue(name: string, open: () => Promise<OpenedProductQueue>): void {
  describe(`${name}, as every input queue,`, () => {
    it('takes chunks of several products and of one', async () => {
      const { queue, sent } = await open();
      await queue.enqueue([someChunk(0), someChunk(1, 1)]);
      expect(await sent()).toEqual(['run-1: P0-0 P0-1', 'run-1: P1-0']);
    });

    it('holds a chunk once that is sent twice', async () => {
      const { queue, sent } = await open();
      await queue.enqueue([someChunk(0), someChunk(1)]);
      await queue.enqueue([someChunk(1), someChunk(2)]);
      expect(await sent()).toEqual(['run-1: P0-0 P0-1', 'run-1: P1-0 P1-1', 'run-1: P2-0 P2-1']);
    });

    it('tells the chunks of two runs apart', async () => {
      const { queue, sent } = await open();
      await queue.enqueue([someChunk(0, 1, 'a'), someChunk(0, 1, 'b'), someChunk(0, 1, '7')]);
      expect(await sent()).toEqual(['a: P0-0', 'b: P0-0', '7: P0-0']);
    });

    it('has nothing waiting at first', async () => {
      const { queue } = await open();
      expect(await queue.waiting()).toBe(0);
    });
  });
}
