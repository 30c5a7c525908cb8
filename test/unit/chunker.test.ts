import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createChunker } from '../../src/application/chunker.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import type { ProductTable } from '../../src/domain/product.ts';

const WIDTH = 2;

/** Products `from` to before `to`; each has a number of its own as features, and an id of its own length. */
function products(from: number, to: number): ProductTable {
  const numbers = Array.from({ length: to - from }, (_, i) => from + i);
  return {
    ids: Buffer.from(numbers.map(idOf).join('\n')),
    features: { rows: to - from, width: WIDTH, values: Float32Array.from(numbers.flatMap((n) => [n, -n])) },
  };
}

function idOf(number: number): string {
  return `P${number}${'🔩'.repeat(number % 3)}`;
}

/** The chunks that come of tables of these sizes. */
function chunksOf(sizes: readonly number[], chunkSize: number): ProductTable[] {
  const chunker = createChunker(chunkSize);
  let next = 0;
  const full = sizes.flatMap((size) => {
    const table = products(next, next + size);
    next += size;
    return chunker.add(table);
  });
  return [...full, ...chunker.rest()];
}

/** What a chunk holds, without regard to the arrays behind it. */
function contentOf({ ids, features }: ProductTable) {
  const { rows, width, values } = features;
  return { ids: unpackIds(ids, rows), rows, width, values: [...values] };
}

describe('a stream of tables', () => {
  it('gives the same chunks however it is cut into tables: all of one size but the last', () => {
    const sizes = fc.array(fc.nat(9), { maxLength: 12 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 7 }), (tables, chunkSize) => {
        const total = tables.reduce((sum, size) => sum + size, 0);
        const expected = Array.from({ length: Math.ceil(total / chunkSize) }, (_, i) =>
          products(i * chunkSize, Math.min(total, (i + 1) * chunkSize)),
        );
        expect(chunksOf(tables, chunkSize).map(contentOf)).toEqual(expected.map(contentOf));
      }),
      { numRuns: 500 },
    );
  });

  it('gives each chunk as soon as it is full, not later', () => {
    const chunker = createChunker(3);
    expect(chunker.add(products(0, 2))).toEqual([]);
    expect(chunker.add(products(2, 3)).map(contentOf)).toEqual([contentOf(products(0, 3))]);
    expect(chunker.add(products(3, 10)).map(contentOf)).toEqual([products(3, 6), products(6, 9)].map(contentOf));
    expect(chunker.rest().map(contentOf)).toEqual([contentOf(products(9, 10))]);
  });

  it('leaves nothing behind when it ends at the end of a chunk, or has given its rest', () => {
    const chunker = createChunker(2);
    expect(chunker.rest()).toEqual([]);
    chunker.add(products(0, 2));
    expect(chunker.rest()).toEqual([]);
    chunker.add(products(2, 3));
    expect(chunker.rest()).toHaveLength(1);
    expect(chunker.rest()).toEqual([]);
  });

  it('is not copied where a table holds a whole chunk', () => {
    const table = products(0, 4);
    for (const { ids, features } of createChunker(2).add(table)) {
      expect(features.values.buffer).toBe(table.features.values.buffer);
      expect(ids.buffer).toBe(table.ids.buffer);
    }
  });
});
