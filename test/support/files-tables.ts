import { Readable } from 'node:stream';
import fc from 'fast-check';
import type { SourceRow } from '../../src/application/ports.ts';

/** Any text that a product id can be, and worse: commas, quotes, blanks, every script, emoji. No line breaks. */
const hostileId: fc.Arbitrary<string> = fc
  .oneof(
    fc.string({ unit: 'grapheme', maxLength: 20 }),
    fc.string({
      unit: fc.constantFrom(',', '"', ' ', '\t', ';', "'", '\\', 'a', 'ç', '\u2028', '\uFEFF'),
      maxLength: 8,
    }),
  )
  .map((text) => text.replace(/[\r\n]/g, ''));

/** Any finite number. JSON and decimal notation have no negative zero. */
const finiteNumber: fc.Arbitrary<number> = fc
  .double({ noNaN: true, noDefaultInfinity: true })
  .map((number) => number + 0);

export interface TestRow {
  readonly id: string;
  readonly features: readonly number[];
}

/** A table of some width with rows of that width. */
export const table: fc.Arbitrary<{ readonly width: number; readonly rows: readonly TestRow[] }> = fc
  .integer({ min: 1, max: 5 })
  .chain((width) =>
    fc.record({
      width: fc.constant(width),
      rows: fc.array(
        fc.record({ id: hostileId, features: fc.array(finiteNumber, { minLength: width, maxLength: width }) }),
        { maxLength: 12 },
      ),
    }),
  );

export function csvHeader(width: number): string {
  return ['product_id', ...Array.from({ length: width }, (_, i) => `f${i}`)].join(',');
}

export function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

/** The bytes of a text in pieces of a size, as a slow file or pipe gives them: characters are cut in two as well. */
export function inPieces(text: string, size: number): Readable {
  const bytes = Buffer.from(text, 'utf8');
  const count = Math.ceil(bytes.length / size);
  return Readable.from(
    Array.from({ length: count }, (_, i) => bytes.subarray(i * size, (i + 1) * size)),
    { objectMode: false },
  );
}

export async function gather<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

/** Where each row stands, as `line: text`. */
export function places(rows: readonly SourceRow[]): string[] {
  return rows.map(({ line, raw }) => `${line}: ${raw}`);
}
