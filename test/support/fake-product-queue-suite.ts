import { describe, expect, it } from 'vitest';
import type { OutgoingChunk, ProductQueue } from '../../src/application/ports.ts';
import { packIds } from '../../src/contract/index.ts';
import type { ErrorCode } from '../../src/domain/errors.ts';

export interface OpenedProductQueue {
  readonly queue: ProductQueue;
  /** Run and product ids of what is on the queue, in the order it came. */
  sent(): Promise<string[]>;
  /** Fails the oldest job on the queue, as a worker does. */
  failNext(code: ErrorCode): Promise<void>;
}

export function someChunk(number: number, products = 2, runId = 'run-1'): OutgoingChunk {
  const ids = Array.from({ length: products }, (_, i) => `P${number}-${i}`);
  const values = Float32Array.from(ids.flatMap((_, i) => [number, i]));
  return { number, runId, products: { ids: packIds(ids), features: { rows: products, width: 2, values } } };
}

const FINGERPRINT = 'a1b2c3-1000';
const TOTALS = { jobs: 3, products: 6, rejected: 1, rejectedByCode: { WRONG_WIDTH: 1 }, skipped: 2 };

/** What the real input queue and its fake have in common for a producer. */
export function describeProductQueue(name: string, open: () => Promise<OpenedProductQueue>): void {
  describe(`${name}, as every input queue,`, () => {
    it('takes chunks of several products and of one', async () => {
      const { queue, sent } = await open();
      await queue.enqueue(someChunk(0));
      await queue.enqueue(someChunk(1, 1));
      expect(await sent()).toEqual(['run-1: P0-0 P0-1', 'run-1: P1-0']);
    });

    it('holds a chunk once that is sent twice', async () => {
      const { queue, sent } = await open();
      for (const number of [0, 1, 1, 2, 0]) await queue.enqueue(someChunk(number));
      expect(await sent()).toEqual(['run-1: P0-0 P0-1', 'run-1: P1-0 P1-1', 'run-1: P2-0 P2-1']);
    });

    it('tells the chunks of two runs apart', async () => {
      const { queue, sent } = await open();
      for (const runId of ['a', 'b', '7']) await queue.enqueue(someChunk(0, 1, runId));
      expect(await sent()).toEqual(['a: P0-0', 'b: P0-0', '7: P0-0']);
    });

    it('says how many of its jobs are not finished', async () => {
      const { queue, failNext } = await open();
      expect(await queue.pendingJobs()).toBe(0);
      for (let number = 0; number < 3; number++) await queue.enqueue(someChunk(number));
      expect(await queue.pendingJobs()).toBe(3);
      await failNext('PAYLOAD_INVALID');
      expect(await queue.pendingJobs()).toBe(2);
    });

    it('knows nothing of a run that is begun for the first time', async () => {
      const { queue } = await open();
      const before = await queue.begin('run-1', FINGERPRINT);
      expect([0, 1, 7, 1000].map(before.stateOf)).toEqual([undefined, undefined, undefined, undefined]);
      expect(before.lost).toEqual([]);
      expect(before.totals).toBeUndefined();
    });

    it('knows the chunks of a run that were sent, and those alone', async () => {
      const { queue } = await open();
      await queue.begin('run-1', FINGERPRINT);
      await queue.begin('run-2', FINGERPRINT);
      for (const number of [0, 7, 8, 1000]) await queue.enqueue(someChunk(number));
      await queue.enqueue(someChunk(3, 1, 'run-2'));
      const { stateOf, lost, totals } = await queue.begin('run-1', FINGERPRINT);
      const numbers = Array.from({ length: 1200 }, (_, number) => number);
      expect(numbers.filter((number) => stateOf(number) === 'waiting')).toEqual([0, 7, 8, 1000]);
      expect(lost).toEqual([]);
      expect(totals, 'before all of it was sent').toBeUndefined();
    });

    it('refuses another input under the same run, and takes it under another', async () => {
      const { queue } = await open();
      await queue.begin('run-1', FINGERPRINT);
      await expect(queue.begin('run-1', 'd4e5f6-1000')).rejects.toMatchObject({
        code: 'RUN_CONFLICT',
        retryable: false,
      });
      await queue.begin('run-2', 'd4e5f6-1000');
      await queue.begin('run-1', FINGERPRINT);
    });

    it('gives a run of which nothing was sent to another input once it is withdrawn, and keeps one of which something was', async () => {
      const { queue } = await open();
      await queue.begin('empty', 'first');
      await queue.withdraw('empty');
      await expect(queue.begin('empty', 'mended')).resolves.toMatchObject({ totals: undefined });
      await queue.begin('begun', 'first');
      await queue.enqueue(someChunk(0, 1, 'begun'));
      await queue.withdraw('begun');
      await expect(queue.begin('begun', 'mended')).rejects.toMatchObject({ code: 'RUN_CONFLICT' });
    });

    it('knows the size of a run once all of it was sent', async () => {
      const { queue } = await open();
      await queue.begin('run-1', FINGERPRINT);
      await queue.begin('run-2', FINGERPRINT);
      for (let number = 0; number < 3; number++) await queue.enqueue(someChunk(number));
      await queue.finish('run-1', TOTALS);
      expect((await queue.begin('run-1', FINGERPRINT)).totals).toEqual(TOTALS);
      expect((await queue.begin('run-2', FINGERPRINT)).totals).toBeUndefined();
    });

    it.each(['PAYLOAD_MISSING', 'REDIS_REFUSED', 'PAYLOAD_INVALID'] as const)(
      'says that a chunk failed with %s, and takes it again once what is left of it was cleared',
      async (code) => {
        const { queue, sent, failNext } = await open();
        await queue.begin('run-1', FINGERPRINT);
        for (let number = 0; number < 3; number++) await queue.enqueue(someChunk(number));
        await queue.finish('run-1', TOTALS);
        await failNext(code);

        const { stateOf, lost, totals } = await queue.begin('run-1', FINGERPRINT);
        expect([0, 1, 2].map(stateOf)).toEqual(['failed', 'waiting', 'waiting']);
        expect(lost).toEqual([0]);
        expect(totals).toEqual(TOTALS);
        await queue.clear('run-1', lost);
        await queue.enqueue(someChunk(0));
        await queue.finish('run-1', TOTALS);
        expect(await sent()).toEqual(['run-1: P1-0 P1-1', 'run-1: P2-0 P2-1', 'run-1: P0-0 P0-1']);
        expect(await queue.pendingJobs()).toBe(3);
        expect((await queue.begin('run-1', FINGERPRINT)).lost).toEqual([]);
      },
    );

    it('still knows that a chunk is lost when its producer is killed after it was cleared', async () => {
      const { queue, failNext } = await open();
      await queue.begin('run-1', FINGERPRINT);
      for (let number = 0; number < 3; number++) await queue.enqueue(someChunk(number));
      await queue.finish('run-1', TOTALS);
      await failNext('PAYLOAD_MISSING');
      await queue.clear('run-1', [0]);
      // Killed here, and started once more.
      const { stateOf, lost } = await queue.begin('run-1', FINGERPRINT);
      expect([0, 1, 2].map(stateOf)).toEqual(['missing', 'waiting', 'waiting']);
      expect(lost).toEqual([0]);
    });

    it('knows nothing of a chunk that was forgotten, and takes it again', async () => {
      const { queue, sent } = await open();
      await queue.begin('run-1', FINGERPRINT);
      for (let number = 0; number < 2; number++) await queue.enqueue(someChunk(number));
      await queue.forget('run-1', [0]);
      const { stateOf } = await queue.begin('run-1', FINGERPRINT);
      expect([0, 1].map(stateOf)).toEqual([undefined, 'waiting']);
      await queue.enqueue(someChunk(0));
      expect(await sent()).toEqual(['run-1: P1-0 P1-1', 'run-1: P0-0 P0-1']);
    });

    it.each(['run', 'run-2', 'run-1-1'])(
      'leaves the lost chunks of other runs to those: run-1 to itself, not to %s',
      async (other) => {
        const { queue, failNext } = await open();
        for (const runId of ['run-1', other]) {
          await queue.begin(runId, FINGERPRINT);
          await queue.enqueue(someChunk(1, 1, runId));
        }
        await failNext('PAYLOAD_MISSING');
        expect((await queue.begin(other, FINGERPRINT)).stateOf(1)).toBe('waiting');
        expect((await queue.begin('run-1', FINGERPRINT)).stateOf(1)).toBe('failed');
      },
    );
  });
}
