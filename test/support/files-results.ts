import { readFile } from 'node:fs/promises';
import { DuckDBInstance } from '@duckdb/node-api';
import fc from 'fast-check';
import type { OutputFormat } from '../../src/adapters/files/results/result-file.ts';
import type { ResultFile } from '../../src/application/ports.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import type { RejectCode } from '../../src/domain/errors.ts';

export type WrittenResult = Parameters<ResultFile['write']>[0] & { readonly modelSha256: string };

/** Category and confidence, or why there is none. */
export interface Outcome {
  readonly id: string | null;
  readonly category?: string;
  readonly confidence?: number;
  readonly reject?: { readonly code: RejectCode; readonly message: string };
}

/** Cells of one row; null where there is nothing. Of a CSV file an empty cell is nothing as well. */
export type ResultRow = readonly (string | number | null)[];

export function result(
  resultId: string,
  products: readonly Outcome[],
  packed = false,
  modelVersion = 'v1',
): WrittenResult {
  const categories = [...new Set(products.flatMap(({ category }) => category ?? []))];
  const ids = products.map(({ id }) => id);
  return {
    resultId,
    modelVersion,
    modelSha256: 'a'.repeat(64),
    products: {
      rows: products.length,
      ids: packed ? Buffer.from(ids.join('\n')) : ids,
      categories,
      categoryIndexes: Uint16Array.from(products, ({ category }) =>
        category === undefined ? NO_CATEGORY : categories.indexOf(category),
      ),
      confidences: Float32Array.from(products, ({ confidence }) => confidence ?? Number.NaN),
      rejects: products.flatMap(({ reject }, row) => (reject ? { row, ...reject } : [])),
    },
  };
}

/** The rows that a file with these results should have. */
export function rowsOf(results: readonly WrittenResult[], format: OutputFormat): ResultRow[] {
  return results.flatMap(({ resultId, modelVersion, products }) => {
    const { ids, rows, categories, categoryIndexes, confidences, rejects } = products;
    const texts = ids instanceof Uint8Array ? Buffer.from(ids).toString().split('\n') : ids;
    return Array.from({ length: rows }, (_, row) => {
      const hasCategory = categoryIndexes[row] !== NO_CATEGORY;
      const reject = rejects.find((one) => one.row === row);
      const categorized = hasCategory ? [categories[categoryIndexes[row]], confidences[row]] : [null, null];
      const cells = [texts[row], ...categorized, reject?.code ?? null, reject?.message ?? null, modelVersion, resultId];
      return format === 'csv' ? cells.map((cell) => (cell === '' ? null : cell)) : cells;
    });
  });
}

export async function readRows(path: string, format: OutputFormat): Promise<ResultRow[]> {
  if (format === 'parquet') return readParquet(path);
  const text = await readFile(path, 'utf8');
  return format === 'csv' ? readCsv(text).slice(1) : text.split('\n').slice(0, -1).map(readJsonLine);
}

/** @param sql with FILE where the file is to be read */
export async function queryParquet(path: string, sql: string): Promise<ResultRow[]> {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  const file = `read_parquet('${path.replaceAll("'", "''")}', hive_partitioning = false)`;
  const reader = await connection.runAndReadAll(sql.replace('FILE', file));
  const rows = reader.getRowsJS() as ResultRow[];
  connection.closeSync();
  instance.closeSync();
  return rows;
}

/** The client takes a byte order mark off the start of a text: with something before it, texts come as they are. */
async function readParquet(path: string): Promise<ResultRow[]> {
  const rows = await queryParquet(path, "SELECT '.' || COLUMNS(* EXCLUDE confidence), confidence FROM FILE");
  return rows.map((row) => {
    const [id, category, ...rest] = row.slice(0, -1).map((cell) => (typeof cell === 'string' ? cell.slice(1) : cell));
    return [id, category, row[row.length - 1], ...rest];
  });
}

function readCsv(text: string): ResultRow[] {
  const rows: (string | number | null)[][] = [[]];
  for (const [, cell, end] of text.matchAll(/("(?:[^"]|"")*"|[^",\r\n]*)([,\n])/g)) {
    const row = rows[rows.length - 1];
    const value = cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell;
    if (value === '') row.push(null);
    else row.push(row.length === 2 && rows.length > 1 ? Math.fround(Number(value)) : value);
    if (end === '\n') rows.push([]);
  }
  return rows.slice(0, -1);
}

function readJsonLine(line: string): ResultRow {
  const row = JSON.parse(line);
  const confidence = row.confidence === undefined ? null : Math.fround(row.confidence);
  const reject = [row.reject?.code ?? null, row.reject?.message ?? null];
  return [row.productId, row.categoryCode ?? null, confidence, ...reject, row.modelVersion, row.resultId];
}

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.string({
    unit: fc.constantFrom(',', '"', "'", '\\', '\n', '\r', ' ', '\u2028', '\uFEFF', '\u0000', 'é'),
    maxLength: 6,
  }),
);
const reject = fc.record({ code: fc.constantFrom<RejectCode>('WRONG_WIDTH', 'INVALID_PRODUCT_ID'), message: text });
const outcome = (id: fc.Arbitrary<string | null>): fc.Arbitrary<Outcome> =>
  fc.oneof(
    fc.record({ id, category: text, confidence: fc.float({ min: 0, max: 1, noNaN: true }) }),
    fc.record({ id, reject }),
    fc.record({ id }),
  );
/** Ids that can be packed hold no line feed. */
const packable = text.map((id) => id.replaceAll('\n', ''));

/** Results of both forms, with any text that JSON can carry. */
export const anyResult: fc.Arbitrary<WrittenResult> = fc
  .tuple(
    fc.oneof(
      fc.tuple(fc.constant(true), fc.array(outcome(packable), { minLength: 1, maxLength: 5 })),
      fc.tuple(fc.constant(false), fc.array(outcome(fc.option(text)), { maxLength: 5 })),
    ),
    text,
    text.map((id) => `r-${id}`),
  )
  .map(([[packed, products], modelVersion, resultId]) => result(resultId, products, packed, modelVersion));
