import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_FLOAT32 } from '../../src/domain/features.ts';
import { checkPackedProducts, countIds, sliceTable, unpackIds } from '../../src/domain/packed-products.ts';
import { type ProductTable, readProducts } from '../../src/domain/product.ts';

const WIDTH = 2;

interface Row {
  readonly id: string;
  readonly features: readonly number[];
}

function pack(ids: readonly string[]): Uint8Array {
  return Buffer.from(ids.join('\n'));
}

/** @param width of the table, which is the length of each row's features */
function tableOf(rows: readonly Row[], width = WIDTH): ProductTable {
  const values = Float32Array.from(rows.flatMap(({ features }) => features));
  return { ids: pack(rows.map(({ id }) => id)), features: { rows: rows.length, width, values } };
}

/** How products are checked one by one: what the check of a table must say as well. */
function checkOneByOne(rows: readonly Row[]) {
  return readProducts(
    rows.map(({ id, features }) => ({ productId: id, features: features.map(Math.fround) })),
    WIDTH,
  );
}

const GOOD = [0.5, -0.5];

/** Every kind of character but line feeds, which are no part of a packed id, and halves of pairs, which UTF-8 has not. */
const character = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('a', '~', ' ', 'ç', '€', '🔩', '\u00a0', '\u00bf', '\u2028', '\ufeff') },
  {
    weight: 1,
    arbitrary: fc.constantFrom('\u0000', '\t', '\r', '\u001b', '\u001f', '\u007f', '\u0080', '\u0085', '\u009f'),
  },
);
const id = fc.oneof(
  { weight: 8, arbitrary: fc.string({ unit: character, maxLength: 6 }) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        fc.constantFrom('', '\ufeff', '\u0085'),
        fc.constantFrom('a', 'ç', '€', '🔩'),
        fc.integer({ min: 198, max: 202 }),
      )
      .map(([first, character, length]) => first + character.repeat(length - [...first].length)),
  },
);
const number = fc.oneof({ weight: 6, arbitrary: fc.float({ noNaN: true, noDefaultInfinity: true }) }, fc.float());

function rowsOf(width: number) {
  const features = fc.array(number, { minLength: width, maxLength: width });
  return fc.array(fc.record({ id, features }), { minLength: 1, maxLength: 12 });
}

const goodRows = fc.array(
  fc.record({
    id: fc.string({ unit: fc.constantFrom('a', 'ç', '€', '🔩'), minLength: 1, maxLength: 4 }),
    features: fc.tuple(fc.integer(), fc.integer()),
  }),
  { minLength: 1, maxLength: 12 },
);

describe('products in flat arrays', () => {
  it('are accepted and rejected as the same products are one by one, with the same codes and sentences', () => {
    fc.assert(
      fc.property(rowsOf(WIDTH), (rows) => {
        expect(checkPackedProducts(tableOf(rows), WIDTH)).toEqual(checkOneByOne(rows));
      }),
      { numRuns: 1000 },
    );
  });

  it('are all rejected where the table has another width, each bad id for its id', () => {
    const table = fc.constantFrom(1, 3, 4).chain((width) => rowsOf(width).map((rows) => ({ width, rows })));
    fc.assert(
      fc.property(table, ({ width, rows }) => {
        const checked = checkPackedProducts(tableOf(rows, width), WIDTH);
        expect(checked).toEqual(checkOneByOne(rows));
        expect(checked.features.rows).toBe(0);
        expect(checked.rejects).toHaveLength(rows.length);
      }),
    );
  });

  it.each([
    { title: 'nothing', id: '' },
    { title: 'a NUL', id: 'a\0' },
    { title: 'a tab', id: 'a\tb' },
    { title: 'a delete character', id: '\u007f' },
    { title: 'the first C1 control character', id: 'a\u0080' },
    { title: 'the last C1 control character', id: '\u009fa' },
    { title: '201 characters', id: 'a'.repeat(201) },
    { title: '201 characters of two bytes', id: 'ç'.repeat(201) },
    { title: '201 characters of four bytes', id: '🔩'.repeat(201) },
    { title: '201 characters, the first of which is a byte order mark', id: `\ufeff${'a'.repeat(200)}` },
  ])('are rejected alone where their id is $title', ({ id }) => {
    const rows = ['before', id, 'after'].map((text) => ({ id: text, features: GOOD }));
    const checked = checkPackedProducts(tableOf(rows), WIDTH);
    expect(checked.rejects).toMatchObject([{ row: 1, code: 'INVALID_PRODUCT_ID' }]);
    expect(checked).toEqual(checkOneByOne(rows));
  });

  it.each([
    { title: '200 characters', id: 'a'.repeat(200) },
    { title: '200 characters of two bytes', id: 'ç'.repeat(200) },
    { title: '200 characters of four bytes', id: '🔩'.repeat(200) },
    { title: 'the first character after the C1 controls', id: '\u00a0' },
    { title: 'a character whose bytes begin as those of a C1 control', id: '\u00bf' },
    { title: 'characters whose later bytes are those of C1 controls', id: 'À€🔩' },
    { title: 'a byte order mark', id: '\ufeff' },
  ])('are accepted where their id is $title', ({ id }) => {
    const rows = ['before', id, 'after'].map((text) => ({ id: text, features: GOOD }));
    expect(checkPackedProducts(tableOf(rows), WIDTH).rejects).toEqual([]);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'are rejected alone for a feature that is %s, wherever it stands in tables of any size',
    (bad) => {
      const size = fc.record({
        rows: fc.integer({ min: 1, max: 9 }),
        width: fc.integer({ min: 1, max: 7 }),
        at: fc.nat(),
      });
      fc.assert(
        fc.property(size, ({ rows, width, at }) => {
          const values = new Float32Array(rows * width).fill(MAX_FLOAT32);
          const place = at % values.length;
          values[place] = bad;
          const ids = pack(Array.from({ length: rows }, (_, i) => `P${i}`));
          const { rejects, features, acceptedRows } = checkPackedProducts(
            { ids, features: { rows, width, values } },
            width,
          );
          const row = Math.floor(place / width);
          const message = `feature ${place % width} is not a finite float32 number: ${bad}`;
          expect(rejects).toEqual([{ row, code: 'NON_FINITE_FEATURE', message }]);
          expect(features.rows).toBe(rows - 1);
          expect(features.values).toEqual(new Float32Array((rows - 1) * width).fill(MAX_FLOAT32));
          expect(acceptedRows).toEqual(Array.from({ length: rows }, (_, i) => i).filter((i) => i !== row));
        }),
      );
    },
  );

  it('are not copied where all of them are accepted', () => {
    const table = tableOf([
      { id: 'a', features: [MAX_FLOAT32, -MAX_FLOAT32] },
      { id: 'b', features: [0, -0] },
    ]);
    const checked = checkPackedProducts(table, WIDTH);
    expect(checked.features).toBe(table.features);
    expect(checked).toMatchObject({ count: 2, acceptedRows: undefined, rejects: [] });
  });

  it('stay as they were where some are rejected', () => {
    const table = tableOf([
      { id: 'a', features: [1, Number.NaN] },
      { id: 'b', features: [2, 3] },
    ]);
    const { features } = checkPackedProducts(table, WIDTH);
    expect([...features.values]).toEqual([2, 3]);
    expect([...table.features.values]).toEqual([1, Number.NaN, 2, 3]);
  });
});

describe('packed ids', () => {
  const ids = fc.array(fc.string({ unit: character, maxLength: 5 }), { minLength: 1, maxLength: 9 });

  it('are as many as were packed, and the same, the empty ones too', () => {
    fc.assert(
      fc.property(ids, (texts) => {
        expect(countIds(pack(texts))).toBe(texts.length);
        expect(unpackIds(pack(texts), texts.length)).toEqual(texts);
      }),
    );
  });

  it('of no bytes are one empty id, or none', () => {
    expect(unpackIds(pack([]), 0)).toEqual([]);
    expect(unpackIds(pack(['']), 1)).toEqual(['']);
  });
});

describe('a table that is cut in two', () => {
  it('has its rows in both parts, each with its own id', () => {
    fc.assert(
      fc.property(goodRows, fc.nat(), (rows, at) => {
        const cut = 1 + (at % rows.length);
        const [head, tail] = sliceTable(tableOf(rows), cut);
        expect(head).toEqual(tableOf(rows.slice(0, cut)));
        expect(tail).toEqual(tableOf(rows.slice(cut)));
      }),
    );
  });

  it('may have empty ids: they count as rows', () => {
    const rows = ['', '', 'a', ''].map((id, i) => ({ id, features: [i, i] }));
    for (const cut of [1, 2, 3]) {
      const parts = sliceTable(tableOf(rows), cut);
      expect(parts).toEqual([tableOf(rows.slice(0, cut)), tableOf(rows.slice(cut))]);
    }
  });

  it('shares its memory with both parts', () => {
    const table = tableOf([
      { id: 'a', features: [1, 2] },
      { id: 'b', features: [3, 4] },
    ]);
    for (const { ids, features } of sliceTable(table, 1)) {
      expect(ids.buffer).toBe(table.ids.buffer);
      expect(features.values.buffer).toBe(table.features.values.buffer);
    }
  });
});
