import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SlicePart, WriteOutcome } from '../../src/application/recategorization/ports.ts';
import { writeSlices } from '../../src/application/recategorization/write-slices.ts';

const NEVER = new AbortController().signal;

interface Call {
  readonly slice: number;
  readonly products: number;
  readonly hasty: boolean;
}

/** Slices of products in memory, of which some are locked, and some are not touched by what writes them. */
function createFakeErp(options: {
  readonly slices: readonly (readonly string[])[];
  readonly locked?: readonly string[];
  readonly untouched?: readonly string[];
  /** Is told of each write before it is done. */
  readonly before?: (calls: number, locked: Set<string>) => void;
}) {
  const locked = new Set(options.locked);
  const untouched = new Set(options.untouched);
  const open = options.slices.map((products) => new Set(products));
  const written: string[] = [];
  const calls: Call[] = [];

  return {
    written,
    calls,
    numbers: options.slices.map((_, slice) => slice),
    writer: {
      async write(slice: number, { productIds, hasty }: SlicePart): Promise<WriteOutcome> {
        options.before?.(calls.length, locked);
        const products = [...open[slice]].filter((id) => productIds?.includes(id) ?? true);
        calls.push({ slice, products: products.length, hasty });
        if (products.some((id) => locked.has(id))) return 'locked';
        // Of one alone it is known.
        if (products.length > 1 && products.some((id) => untouched.has(id))) return 'short';
        for (const id of products) open[slice].delete(id);
        written.push(...products);
        return 'written';
      },
      open: async (slice: number) => [...open[slice]],
    },
  };
}

const range = (count: number, prefix = 'P') => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

describe('slices that are written', () => {
  it('take one transaction each where nobody holds a row', async () => {
    const erp = createFakeErp({ slices: [range(3), range(2, 'Q')] });
    expect(await writeSlices(erp.writer, erp.numbers, NEVER)).toEqual(new Map());
    expect(erp.calls).toEqual([
      { slice: 0, products: 3, hasty: false },
      { slice: 1, products: 2, hasty: false },
    ]);
  });

  it('are halved around a locked row, which comes last, after the slices that follow', async () => {
    const erp = createFakeErp({ slices: [range(8), range(8, 'Q')], locked: ['P3'] });
    expect(await writeSlices(erp.writer, erp.numbers, NEVER)).toEqual(new Map([[0, ['P3']]]));
    expect(erp.written).toHaveLength(15);
    const parts = erp.calls.map(({ slice, products }) => `${slice}:${products}`);
    expect(parts).toEqual(['0:8', '0:4', '0:2', '0:2', '0:1', '0:1', '0:4', '1:8', '0:1', '0:1', '0:1']);
  });

  it('wait in haste while they are halved, and with patience for the row alone', async () => {
    const erp = createFakeErp({ slices: [range(4)], locked: ['P0'] });
    await writeSlices(erp.writer, erp.numbers, NEVER);
    expect(erp.calls.map(({ products, hasty }) => `${products}${hasty ? '!' : ''}`)).toEqual([
      ...['4', '2!', '1!', '1!', '2!', '1', '1', '1'],
    ]);
  });

  it('include a row that comes free while the others are written', async () => {
    const erp = createFakeErp({
      slices: [range(8), range(8, 'Q')],
      locked: ['P3'],
      before: (calls, locked) => void (calls === 9 && locked.clear()),
    });
    expect(await writeSlices(erp.writer, erp.numbers, NEVER)).toEqual(new Map());
    expect(erp.written.toSorted()).toEqual([...range(8), ...range(8, 'Q')]);
  });

  it('are given up after a bounded number of tries, where everything is locked', async () => {
    const slices = Array.from({ length: 100 }, (_, slice) => range(1000, `S${slice}-`));
    const erp = createFakeErp({ slices, locked: slices.flat() });
    const left = await writeSlices(erp.writer, erp.numbers, NEVER);
    expect([...left.values()].flat()).toHaveLength(100_000);
    const patient = erp.calls.filter(({ hasty }) => !hasty).length;
    expect(patient).toBeLessThanOrEqual(24);
    expect((erp.calls.length - patient) / 20).toBeLessThan(60);
  });

  it('are halved until what the statement does not touch is alone, however much of it there is', async () => {
    const erp = createFakeErp({ slices: [range(64)], untouched: range(64).filter((_, i) => i % 3 === 0) });
    expect(await writeSlices(erp.writer, erp.numbers, NEVER)).toEqual(new Map());
    expect(erp.written).toHaveLength(64);
  });

  it('end between two transactions when they are told to stop, with the sentence that was given', async () => {
    const stopper = new AbortController();
    const erp = createFakeErp({
      slices: [range(8)],
      locked: ['P3'],
      before: (calls) => void (calls === 3 && stopper.abort()),
    });
    const writing = writeSlices(erp.writer, erp.numbers, stopper.signal, 'it goes on');
    await expect(writing).rejects.toMatchObject({ code: 'INTERRUPTED', message: 'it goes on' });
    expect(erp.calls).toHaveLength(4);
  });

  it('have every product written or left as locked, once, whatever is locked, untouched, or comes free', async () => {
    const ids = range(12);
    const some = fc.subarray(ids);
    await fc.assert(
      fc.asyncProperty(some, some, fc.nat(40), async (locked, untouched, freed) => {
        const erp = createFakeErp({
          slices: [ids.slice(0, 7), ids.slice(7)],
          ...{ locked, untouched },
          before: (calls, set) => void (calls === freed && set.clear()),
        });
        const left = [...(await writeSlices(erp.writer, erp.numbers, NEVER)).values()].flat();
        expect([...erp.written, ...left].toSorted()).toEqual(ids.toSorted());
        expect(left.filter((id) => !locked.includes(id))).toEqual([]);
      }),
    );
  });
});
