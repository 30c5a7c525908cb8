/** Reads rejected rows of a Parquet file again, and says what is wrong with them. */

import { type Database, quoteName, type SqlValue } from '../duckdb.ts';
import type { ChosenColumns, Column } from './columns.ts';
import { findRowErrors } from './row-errors.ts';
import type { RowSet } from './row-set.ts';
import type { ExplainedRow } from './table-input.ts';

/** So many rows are found in one pass over the file. */
const ROWS_AT_ONCE = 20_000;
const ROW_BYTES = 1000;

export interface ParquetColumn extends Column {
  /** Whether its values are numbers, which need no quotes. */
  readonly number: boolean;
}

export interface ParquetReading {
  /** The file, with `file_row_number` among its columns. */
  readonly from: string;
  /** All columns of the file. */
  readonly all: readonly ParquetColumn[];
  /** The product id as SQL. */
  readonly id: string;
  readonly columns: ChosenColumns;
  readonly width: number;
}

/** In the order of the rows. */
export async function* explainParquet(
  rows: RowSet,
  reading: ParquetReading,
  database: Database,
): AsyncGenerator<ExplainedRow> {
  let batch: number[] = [];
  for (const row of rows.values()) {
    batch.push(row);
    if (batch.length < ROWS_AT_ONCE) continue;
    yield* explainBatch(batch, reading, database);
    batch = [];
  }
  if (batch.length > 0) yield* explainBatch(batch, reading, database);
}

async function* explainBatch(
  rows: readonly number[],
  reading: ParquetReading,
  database: Database,
): AsyncGenerator<ExplainedRow> {
  const { from, all, id, columns, width } = reading;
  const { features } = columns;
  const texts =
    'array' in features
      ? `CAST(${quoteName(features.array)} AS VARCHAR[])`
      : `[${features.each.map((name) => `CAST(${quoteName(name)} AS VARCHAR)`).join(', ')}]`;
  const line = all.map(csvCell).join(` || ',' || `);
  await database.run(`CREATE OR REPLACE TEMP TABLE rejected AS SELECT unnest([${rows.join(', ')}]::BIGINT[]) AS row`);
  const sql = `SELECT file_row_number, ${line}, ${id}, to_json(${texts})::VARCHAR FROM ${from}
    WHERE file_row_number BETWEEN ${rows[0]} AND ${rows[rows.length - 1]}
      AND file_row_number IN (SELECT row FROM rejected) ORDER BY file_row_number`;
  for await (const chunk of database.stream(sql, ROW_BYTES)) {
    for (const [row, raw, productId, values] of chunk.getRows()) {
      const idText = productId === null ? null : String(productId);
      const parsed: unknown = values === null ? null : JSON.parse(String(values));
      const numbers = Array.isArray(parsed) ? parsed.map(toNumber) : parsed;
      const errors = findRowErrors({ id: idText, features: numbers }, { columns, width });
      yield { line: Number(row) + 1, raw: String(raw), productId: idText, errors };
    }
  }
}

/** A value as a cell of CSV. */
function csvCell({ name, number }: ParquetColumn): string {
  const text = `CAST(${quoteName(name)} AS VARCHAR)`;
  if (number) return `coalesce(${text}, '')`;
  return `coalesce(CASE WHEN regexp_matches(${text}, '[",\\r\\n]') THEN '"' || replace(${text}, '"', '""') || '"' ELSE ${text} END, '')`;
}

/** DuckDB writes numbers as JavaScript reads them, but for those that are none. */
function toNumber(text: SqlValue): SqlValue {
  if (typeof text !== 'string') return text;
  const value = {
    nan: Number.NaN,
    '-nan': Number.NaN,
    inf: Number.POSITIVE_INFINITY,
    '-inf': Number.NEGATIVE_INFINITY,
  }[text];
  if (value !== undefined) return value;
  if (text === 'true' || text === 'false') return Number(text === 'true');
  return text.trim() !== '' && !Number.isNaN(Number(text)) ? Number(text) : text;
}
