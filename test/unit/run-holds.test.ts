import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changedRatio, findHolds, type Guards, type RunCounts } from '../../src/domain/run.ts';

const NO_GUARDS: Guards = { maxChangeRatio: 1, maxRejectRatio: 1, minProducts: 0 };

function counts(changes: Partial<RunCounts>): RunCounts {
  return { products: 0, skipped: 0, kept: 0, changed: 0, added: 0, review: 0, rejected: 0, decided: 0, ...changes };
}

function heldBackBy(changes: Partial<RunCounts>, guards: Partial<Guards>): string[] {
  return findHolds(counts(changes), { ...NO_GUARDS, ...guards }).map(({ guard }) => guard);
}

describe('a run is held back', () => {
  it.each([
    { title: 'below the bound', changed: 99, held: [] },
    { title: 'at the bound', changed: 100, held: [] },
    { title: 'above the bound', changed: 101, held: ['max-change-ratio'] },
  ])('by its changes only above the bound: $title', ({ changed, held }) => {
    expect(heldBackBy({ products: 1000, changed }, { maxChangeRatio: 0.1 })).toEqual(held);
  });

  it.each([
    { title: 'below the bound', rejected: 9, held: [] },
    { title: 'at the bound', rejected: 10, held: [] },
    { title: 'above the bound', rejected: 11, held: ['max-reject-ratio'] },
  ])('by its rejects only above the bound: $title', ({ rejected, held }) => {
    expect(heldBackBy({ products: 1000, rejected }, { maxRejectRatio: 0.01 })).toEqual(held);
  });

  it.each([
    { title: 'fewer', products: 999, held: ['min-products'] },
    { title: 'as many', products: 1000, held: [] },
    { title: 'more', products: 1001, held: [] },
  ])('where the source gave too few products: $title', ({ products, held }) => {
    expect(heldBackBy({ products }, { minProducts: 1000 })).toEqual(held);
  });

  it('by every guard that it exceeds, and says by how much', () => {
    const found = findHolds(counts({ products: 200, changed: 30, rejected: 5 }), {
      maxChangeRatio: 0.1,
      maxRejectRatio: 0.01,
      minProducts: 1000,
    });
    expect(found.map(({ message }) => message)).toEqual([
      'the source gave 200 products, fewer than 1000 (--min-products)',
      '30 of 200 products would change their category: 15 %, more than 10 % (--max-change-ratio)',
      '5 of 200 products were rejected: 2.5 %, more than 1 % (--max-reject-ratio)',
    ]);
  });

  it('by one change where the bound is 0, and by none', () => {
    expect(heldBackBy({ products: 1_000_000, changed: 1 }, { maxChangeRatio: 0 })).toEqual(['max-change-ratio']);
    expect(heldBackBy({ products: 1_000_000, changed: 0 }, { maxChangeRatio: 0 })).toEqual([]);
  });

  it('never where the bound is 1, though all of it changes or is rejected', () => {
    expect(heldBackBy({ products: 7, changed: 7 }, {})).toEqual([]);
    expect(heldBackBy({ products: 7, rejected: 7 }, {})).toEqual([]);
  });

  it('by neither products that had no category, nor those for review', () => {
    expect(heldBackBy({ products: 100, added: 90, review: 10 }, { maxChangeRatio: 0, maxRejectRatio: 0 })).toEqual([]);
  });

  it('exactly when more of it changes than the bound says, as whole numbers tell it', () => {
    const share = fc.record({ products: fc.integer({ min: 1, max: 2_000_000_000 }), bound: fc.nat(10_000) });
    const near = share.chain(({ products, bound }) => {
      const atBound = Math.floor((products * bound) / 10_000);
      const changed = fc.integer({ min: Math.max(0, atBound - 2), max: Math.min(products, atBound + 2) });
      return changed.map((each) => ({ products, bound, changed: each }));
    });
    fc.assert(
      fc.property(near, ({ products, bound, changed }) => {
        const exceeds = BigInt(changed) * 10_000n > BigInt(products) * BigInt(bound);
        // As a person types it.
        const maxChangeRatio = Number(`${bound}e-4`);
        expect(heldBackBy({ products, changed }, { maxChangeRatio })).toEqual(exceeds ? ['max-change-ratio'] : []);
      }),
    );
  });
});

describe('an empty catalogue', () => {
  it('is held back where any product was expected, and only for that', () => {
    expect(heldBackBy({}, { minProducts: 1, maxChangeRatio: 0, maxRejectRatio: 0 })).toEqual(['min-products']);
  });

  it('is not held back where none was expected', () => {
    expect(heldBackBy({}, { maxChangeRatio: 0, maxRejectRatio: 0 })).toEqual([]);
  });

  it('changes by 0, and not by NaN', () => {
    expect(changedRatio(counts({}))).toBe(0);
  });
});

describe('the share of a run that is held back', () => {
  function percentsOf(changes: Partial<RunCounts>, guards: Partial<Guards>): string[][] {
    return findHolds(counts(changes), { ...NO_GUARDS, ...guards }).map(
      ({ message }) => message.match(/[\d.]+ %/g) ?? [],
    );
  }

  it.each([
    { products: 1_000_000, changed: 100_001, bound: 0.1, reads: '10.0001 %' },
    { products: 1_000_000, changed: 1, bound: 0, reads: '0.0001 %' },
    { products: 3, changed: 1, bound: 0.3333, reads: '33.3333 %' },
    { products: 700, changed: 49, bound: 0.0699, reads: '7 %' },
  ])('reads $reads where $changed of $products exceed $bound', ({ products, changed, bound, reads }) => {
    expect(percentsOf({ products, changed }, { maxChangeRatio: bound })[0][0]).toBe(reads);
  });

  it('never reads as the bound that it exceeds', () => {
    const barely = fc.record({ products: fc.integer({ min: 1, max: 2_000_000_000 }), bound: fc.nat(9999) });
    fc.assert(
      fc.property(barely, ({ products, bound }) => {
        const changed = Math.floor((products * bound) / 10_000) + 1;
        for (const [own, limit] of percentsOf({ products, changed }, { maxChangeRatio: bound / 10_000 })) {
          expect(own).not.toBe(limit);
        }
      }),
    );
  });
});
