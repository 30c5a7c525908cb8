import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readJsonLinesRows } from '../../src/adapters/files/json-lines-rows.ts';
import type { SourceRow } from '../../src/application/ports.ts';
import { gather, inPieces, places, table } from '../support/files-tables.ts';

const read = (text: string, pieceSize = 1 << 16): Promise<SourceRow[]> =>
  gather(readJsonLinesRows(inPieces(text, pieceSize)));

const lineEnd = fc.constantFrom('\n', '\r\n');
const pieceSize = fc.integer({ min: 1, max: 64 });

describe('rows of JSON lines', () => {
  it('read back as they were written, whatever the ids and numbers and however the bytes come', async () => {
    await fc.assert(
      fc.asyncProperty(
        table,
        lineEnd,
        fc.boolean(),
        fc.boolean(),
        pieceSize,
        async ({ rows }, end, bom, last, size) => {
          const products = rows.map(({ id, features }) => ({ productId: id, features }));
          const text = `${bom ? '\uFEFF' : ''}${products.map((product) => JSON.stringify(product)).join(end)}${last ? end : ''}`;
          expect((await read(text, size)).map(({ product }) => product)).toEqual(products);
        },
      ),
    );
  });

  it('say the line they stand in and their text, with blank lines anywhere', async () => {
    const rows = fc.array(fc.record({ blank: fc.integer({ min: 0, max: 2 }), id: fc.string() }), { maxLength: 10 });
    await fc.assert(
      fc.asyncProperty(rows, lineEnd, pieceSize, async (table, end, size) => {
        let line = 0;
        const expected = table.map(({ blank, id }) => {
          line += blank + 1;
          return { line, raw: JSON.stringify({ productId: id, features: [] }) };
        });
        const text = table.map(({ blank }, i) => `${` ${end}`.repeat(blank)}${expected[i].raw}${end}`).join('');
        expect(places(await read(text, size))).toEqual(expected.map((row) => `${row.line}: ${row.raw}`));
      }),
    );
  });

  it.each([
    ['{"productId":"P1"', /^not JSON: ./],
    ['P1,1,2', /^not JSON: ./],
    ['null', /^expected an object with productId and features, got null$/],
    ['[1,2]', /got an array$/],
    ['"P1"', /got "P1"$/],
  ])('that are no object cannot be read, and the next one can: %s', async (text, message) => {
    const rows = await read(`${text}\n{"productId":"P2","features":[2]}\n`);
    expect(rows).toEqual([
      { line: 1, raw: text, unreadable: { code: 'INVALID_ROW', message: expect.stringMatching(message) } },
      { line: 2, raw: '{"productId":"P2","features":[2]}', product: { productId: 'P2', features: [2] } },
    ]);
  });

  it('pass on what is wrong inside, for the domain to judge', async () => {
    const rows = await read('{"productId":7}\n{"features":"x","brand":"ACME"}\n');
    expect(rows.map(({ product }) => product)).toEqual([
      { productId: 7, features: undefined },
      { productId: undefined, features: 'x' },
    ]);
  });

  it('end at line feeds only: JSON text may hold the line separators of Unicode', async () => {
    const rows = await read('{"productId":"a\u2028b\u2029c","features":[1]}\n{"productId":"P2","features":[2]}\n');
    expect(rows.map(({ line, product }) => [line, product?.productId])).toEqual([
      [1, 'a\u2028b\u2029c'],
      [2, 'P2'],
    ]);
  });

  it('of an empty file are none', async () => {
    expect(await read('')).toEqual([]);
  });

  it('end with the error of the file where that breaks off', async () => {
    async function* breakOff(): AsyncGenerator<string> {
      yield '{"productId":"P1","features":[1]}\n{"prod';
      throw new Error('the disk is gone');
    }
    await expect(gather(readJsonLinesRows(Readable.from(breakOff())))).rejects.toThrow('the disk is gone');
  });
});
