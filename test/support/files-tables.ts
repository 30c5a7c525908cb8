import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { DuckDBInstance } from '@duckdb/node-api';
import fc from 'fast-check';
import {
  type FileProductSource,
  openProductSource,
  type SourceOptions,
} from '../../src/adapters/files/products/product-source.ts';
import type { RejectedRow } from '../../src/application/ports.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';

interface TestRow {
  readonly id: string;
  readonly features: readonly number[];
}

export interface TestTable {
  readonly width: number;
  readonly rows: readonly TestRow[];
}

/** Any text that a product id can be: commas, quotes, blanks inside, every script, emoji. */
const hostileId: fc.Arbitrary<string> = fc
  .oneof(
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }),
    fc.string({ unit: fc.constantFrom(',', '"', ' ', ';', '|', "'", '\\', '#', 'a', 'ç', '\u2028'), maxLength: 40 }),
  )
  .map((text) => text.replace(/[\p{Cc}\p{Cs}]/gu, ''))
  .filter((text) => /^\S(.*\S)?$/.test(text));

/** Any float32. No format has a negative zero for sure. */
const float: fc.Arbitrary<number> = fc
  .float({ noNaN: true, noDefaultInfinity: true })
  .map((number) => Math.fround(number) + 0);

/** A table of some width with rows of that width, whose ids are all different. */
export const table: fc.Arbitrary<TestTable> = fc.integer({ min: 1, max: 5 }).chain((width) =>
  fc.record({
    width: fc.constant(width),
    rows: fc.uniqueArray(
      fc.record({ id: hostileId, features: fc.array(float, { minLength: width, maxLength: width }) }),
      { maxLength: 12, selector: ({ id }) => id },
    ),
  }),
);

export interface CsvStyle {
  readonly delimiter: ',' | ';' | '\t' | '|';
  readonly decimal: '.' | ',';
  readonly lineEnd: '\n' | '\r\n' | '\r';
  readonly bom: boolean;
  readonly lastLineEnd: boolean;
}

export const csvStyle: fc.Arbitrary<CsvStyle> = fc
  .record({
    delimiter: fc.constantFrom<CsvStyle['delimiter'][]>(',', ';', '\t', '|'),
    decimal: fc.constantFrom<CsvStyle['decimal'][]>('.', ','),
    lineEnd: fc.constantFrom<CsvStyle['lineEnd'][]>('\n', '\r\n', '\r'),
    bom: fc.boolean(),
    lastLineEnd: fc.boolean(),
  })
  .filter(({ delimiter, decimal }) => delimiter !== decimal);

function csvHeader(width: number): string[] {
  return ['product_id', ...Array.from({ length: width }, (_, i) => `f${i}`)];
}

export function toCsvText({ width, rows }: TestTable, style: CsvStyle): string {
  const { delimiter, decimal, lineEnd, bom, lastLineEnd } = style;
  const lines = rows.map(({ id, features }) =>
    [quoted(id), ...features.map((value) => String(value).replace('.', decimal))].join(delimiter),
  );
  const text = [csvHeader(width).join(delimiter), ...lines].join(lineEnd);
  return `${bom ? '\uFEFF' : ''}${text}${lastLineEnd ? lineEnd : ''}`;
}

export function toJsonLines({ rows }: TestTable): string {
  return rows.map(({ id, features }) => `${JSON.stringify({ productId: id, features })}\n`).join('');
}

/** Runs SQL that writes a file. */
export async function runSql(sql: string): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
  const connection = await instance.connect();
  await connection.run(sql);
  connection.closeSync();
  instance.closeSync();
}

/** By way of JSON lines, which DuckDB makes a Parquet file of. @param arrays one column `features`, or one for each */
export async function writeParquet({ width, rows }: TestTable, directory: string, arrays: boolean): Promise<string> {
  const file = join(directory, 'table.parquet');
  const source = join(directory, 'table.parquet.jsonl');
  await writeFile(source, toJsonLines({ width, rows }));
  const features = arrays
    ? 'features'
    : Array.from({ length: width }, (_, i) => `features[${i + 1}] AS f${i}`).join(', ');
  await runSql(`COPY (SELECT "productId" AS product_id, ${features} FROM read_json('${source}',
    format = 'newline_delimited', columns = {'productId': 'VARCHAR', 'features': 'FLOAT[]'})) TO '${file}' (FORMAT parquet)`);
  return file;
}

export function gzipped(content: string | Uint8Array): Uint8Array {
  return gzipSync(content);
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

export const never = new AbortController().signal;

export interface ReadSource {
  readonly products: TestRow[];
  readonly rejects: RejectedRow[];
  readonly source: FileProductSource;
}

/** Opens a source, reads everything that it gives and closes it. */
export async function readSource(options: Partial<SourceOptions> & { paths: readonly string[] }): Promise<ReadSource> {
  const source = await openProductSource({ width: 1, onDuplicate: 'reject', stop: never, ...options });
  try {
    const products: TestRow[] = [];
    for await (const { ids, features } of source.products()) {
      const { rows, width, values } = features;
      unpackIds(ids, rows).forEach((id, i) => {
        products.push({ id, features: [...values.subarray(i * width, (i + 1) * width)] });
      });
    }
    return { products, rejects: await gather(source.rejects()), source };
  } finally {
    await source.close();
  }
}

export async function gather<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const row of rows) all.push(row);
  return all;
}

/** Where each reject stands and what is wrong with it, as `line: column code, column code`. */
export function summarize(rejects: readonly RejectedRow[]): string[] {
  return rejects.map(({ line, errors }) => {
    return `${line}: ${errors.map(({ column, code }) => (column ? `${column} ${code}` : code)).join(', ')}`;
  });
}
