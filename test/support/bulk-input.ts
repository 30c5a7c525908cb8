import { readFile, rm, writeFile } from 'node:fs/promises';
import { DuckDBInstance } from '@duckdb/node-api';
import { type TestProduct, toCsv, WIDTH } from './products.ts';

export function toJsonLines(products: readonly TestProduct[]): string {
  return products.map((product) => `${JSON.stringify(product)}\n`).join('');
}

/** As Brazilian ERPs write it: semicolons, decimal commas, line ends of Windows. The ids stand in `codigo`. */
export function toErpCsv(products: readonly TestProduct[]): string {
  const header = ['codigo', ...Array.from({ length: WIDTH }, (_, i) => `f${i}`)].join(';');
  const rows = products.map(({ productId, features }) =>
    [`"${productId}"`, ...features.map((feature) => String(feature).replace('.', ','))].join(';'),
  );
  return `${[header, ...rows].join('\r\n')}\r\n`;
}

/** The rows of a CSV of `toCsv` without its header. */
export function csvRows(products: readonly TestProduct[]): string[] {
  return toCsv(products).trimEnd().split('\n').slice(1);
}

/**
 * Writes products to a Parquet file.
 *
 * @param columns what to select of `productId` and `features`, an array of floats: all of them as columns
 */
export async function writeParquet(path: string, products: readonly TestProduct[], columns: string): Promise<string> {
  const lines = `${path}.source.jsonl`;
  await writeFile(lines, toJsonLines(products));
  const table = `read_json(${quoted(lines)}, format = 'newline_delimited',
    columns = {productId: 'VARCHAR', features: 'FLOAT[${WIDTH}]'})`;
  await runSql(`COPY (SELECT ${columns} FROM ${table}) TO ${quoted(path)} (FORMAT parquet)`);
  await rm(lines);
  return path;
}

async function runSql(sql: string): Promise<void> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
  const connection = await instance.connect();
  await connection.run(sql);
  connection.closeSync();
  instance.closeSync();
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** One line of `<base>.jsonl`: one thing that is wrong with one row. */
export interface RejectLine {
  readonly file: string;
  readonly line: number;
  readonly column: string | null;
  readonly productId: string | null;
  readonly code: string;
  readonly message: string;
}

export async function readRejectLines(path: string): Promise<RejectLine[]> {
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  return lines.map((line): RejectLine => JSON.parse(line));
}
