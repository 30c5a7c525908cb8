import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readCsvRows } from '../../src/adapters/files/csv-rows.ts';
import type { SourceRow } from '../../src/application/ports.ts';
import { csvHeader, gather, inPieces, places, quoted, table } from '../support/files-tables.ts';

async function read(text: string, width: number, pieceSize = 1 << 16): Promise<SourceRow[]> {
  const { rows } = await readCsvRows(inPieces(text, pieceSize), width);
  return gather(rows);
}

const lineEnd = fc.constantFrom('\n', '\r\n');
const pieceSize = fc.integer({ min: 1, max: 64 });

describe('rows of CSV', () => {
  it('read back as they were written, whatever the ids and numbers and however the bytes come', async () => {
    await fc.assert(
      fc.asyncProperty(
        table,
        lineEnd,
        fc.boolean(),
        fc.boolean(),
        pieceSize,
        async ({ width, rows }, end, bom, last, size) => {
          const lines = [csvHeader(width), ...rows.map(({ id, features }) => [quoted(id), ...features].join(','))];
          const text = `${bom ? '\uFEFF' : ''}${lines.join(end)}${last ? end : ''}`;
          expect((await read(text, width, size)).map(({ product }) => product)).toEqual(
            rows.map(({ id, features }) => ({ productId: id, features })),
          );
        },
      ),
    );
  });

  it('say the line they start in and their text, with blank lines and line breaks in quotes anywhere', async () => {
    const blankLines = fc.integer({ min: 0, max: 2 });
    const note = fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', 'é'), maxLength: 6 });
    const rows = fc.array(fc.record({ blank: blankLines, note }), { maxLength: 10 });
    await fc.assert(
      fc.asyncProperty(rows, note, pieceSize, async (table, headerNote, size) => {
        const header = `product_id,f0,${quoted(headerNote)}`;
        const raws = table.map(({ note: text }, i) => `P${i},1,${quoted(text)}`);
        const blocks = table.map(({ blank }, i) => `${'\n'.repeat(blank)}${raws[i]}\n`);
        const lines = blocks.map((_, i) => {
          const before = `${header}\n${blocks.slice(0, i).join('')}${'\n'.repeat(table[i].blank)}`;
          return before.split('\n').length;
        });
        const found = await read(`${header}\n${blocks.join('')}`, 1, size);
        expect(places(found)).toEqual(raws.map((raw, i) => `${lines[i]}: ${raw}`));
      }),
    );
  });

  it.each([
    [
      'CRLF between rows and in quotes',
      'product_id,f0,note\r\nP1,1,"a\r\nb"\r\nP2,1,c\r\n',
      ['2: P1,1,"a\r\nb"', '4: P2,1,c'],
    ],
    [
      'LF between rows and CRLF in quotes',
      'product_id,f0,note\nP1,1,"a\r\nb"\nP2,1,c\n',
      ['2: P1,1,"a\r\nb"', '4: P2,1,c'],
    ],
    [
      'CRLF between rows and LF in quotes',
      'product_id,f0,note\r\nP1,1,"a\nb"\r\nP2,1,c\r\n',
      ['2: P1,1,"a\nb"', '4: P2,1,c'],
    ],
    ['lines that hold only blanks', 'product_id,f0\n  \nP1,1\n\t\nP2,1\n', ['3: P1,1', '5: P2,1']],
    ['blank lines before the header', '\n\nproduct_id,f0\nP1,1\n', ['4: P1,1']],
    ['no line end after the last row', 'product_id,f0\nP1,1', ['2: P1,1']],
    ['blank lines at the end', 'product_id,f0\nP1,1\n\n\n', ['2: P1,1']],
  ])('say their line and text with %s', async (_case, text, expected) => {
    expect(places(await read(text, 1))).toEqual(expected);
  });

  it('are all there where the header ends in CRLF and the rows in LF', async () => {
    const rows = await read('product_id,f0\r\nP1,1\nP2,2\nP3,3\n', 1);
    expect(rows.map(({ product }) => product?.productId)).toEqual(['P1', 'P2', 'P3']);
  });

  it('are all there where the header ends in LF and the rows in CRLF', async () => {
    const rows = await read('product_id,f0\nP1,1\r\nP2,2\r\n', 1);
    expect(rows.map(({ product }) => product)).toEqual([
      { productId: 'P1', features: [1] },
      { productId: 'P2', features: [2] },
    ]);
  });

  it.each([
    ['1', 1],
    ['-1.5', -1.5],
    ['+2', 2],
    ['.5', 0.5],
    ['5.', 5],
    ['1e-7', 1e-7],
    ['1E+21', 1e21],
    [' 3 ', 3],
    ['"4"', 4],
    ['007', 7],
  ])('take the cell <%s> as a number', async (cell, number) => {
    const [{ product }] = await read(`product_id,f0\nP1,${cell}\n`, 1);
    expect(product?.features).toEqual([number]);
  });

  it.each(['', ' ', 'x', '0x10', '1,5', '1_000', 'NaN', 'Infinity', '1e', '--1', '1 2', '١'])(
    'leave the cell <%s> as text, so that the reject can show it',
    async (cell) => {
      const [{ product }] = await read(`product_id,f0\nP1,${quoted(cell)}\n`, 1);
      expect(product?.features).toEqual([cell]);
    },
  );

  it('keep blanks inside quotes and drop those around a cell', async () => {
    const rows = await read('product_id,f0\n" P1 ",1\n  P2  ,1\n', 1);
    expect(rows.map(({ product }) => product?.productId)).toEqual([' P1 ', 'P2']);
  });

  it('with too few or too many cells cannot be read, and the next one can', async () => {
    const rows = await read('product_id,f0\nP1\nP2,1,2\nP3,3\n', 1);
    expect(rows.map(({ product, unreadable }) => unreadable?.message ?? product?.productId)).toEqual([
      'expected 2 columns, got 1',
      'expected 2 columns, got 3',
      'P3',
    ]);
  });

  it('with a quote inside a cell do not take the others along', async () => {
    const rows = await read('product_id,f0,note\nP1,1,a\nP2,2,19" screen\nP3,3,c\n', 1);
    expect(places(rows)).toEqual(['2: P1,1,a', '3: P2,2,19" screen', '4: P3,3,c']);
  });
});

describe('the header of CSV', () => {
  it('is given as it stood, for the file of rejects', async () => {
    const { header } = await readCsvRows(inPieces('\uFEFFnote,"product_id", f0\r\nx,P1,1\r\n', 7), 1);
    expect(header).toBe('note,"product_id", f0');
  });

  it('may have its columns in any order, quoted, and others between', async () => {
    const [{ product }] = await read('f1,note,"f0",product_id\n2,x,1,P1\n', 2);
    expect(product).toEqual({ productId: 'P1', features: [1, 2] });
  });

  it.each([
    ['no product_id', 'id,f0\n', 'INPUT_NOT_READABLE', /line 1: no column product_id among: id, f0/],
    ['a gap', 'product_id,f0,f2\n', 'INPUT_NOT_READABLE', /f1 is missing/],
    ['a feature twice', 'product_id,f0,f0\n', 'INPUT_NOT_READABLE', /f1 is missing or stands there twice/],
    ['another width', 'product_id,f0,f1,f2\n', 'WRONG_WIDTH', /expects 2 feature columns.*got 3/],
    ['no features', 'product_id\n', 'WRONG_WIDTH', /expects 2 feature columns.*got 0/],
    ['nothing', '', 'INPUT_NOT_READABLE', /empty/],
    ['blank lines only', '\n\n', 'INPUT_NOT_READABLE', /empty/],
    ['semicolons', 'product_id;f0;f1\n', 'INPUT_NOT_READABLE', /no column product_id/],
  ])('with %s is refused', async (_case, text, code, message) => {
    await expect(read(text, 2)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});
