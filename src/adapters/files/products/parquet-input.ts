import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { quoteName, quoteText } from '../duckdb.ts';
import { chooseColumns, type FeatureColumns } from './columns.ts';
import { type Content, readBytes } from './input-content.ts';
import type { InputFile } from './input-files.ts';
import { explainParquet, type ParquetColumn } from './parquet-explain.ts';
import type { InputContext, TableInput, TableOptions } from './table-input.ts';

/** @throws CategorizerError `INPUT_NOT_READABLE`, or `WRONG_WIDTH` */
export async function openParquet(
  file: InputFile,
  content: Content,
  options: TableOptions,
  { database, copy, stop }: InputContext,
): Promise<TableInput> {
  // It is read from its end, which a gzipped file does not give.
  if (content.gzip) await pipeline(readBytes({ file: file.file, gzip: true }, stop), createWriteStream(copy));
  // Directories named like key=value would give columns more.
  const path = `${quoteText(content.gzip ? copy : file.file)}, hive_partitioning = false`;
  const described = await database.rows(`SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(${path}))`);
  const all = described.map(([name, type]) => toColumn(String(name), String(type)));
  const columns = chooseColumns(all, options);
  const [[rows]] = await database.rows(`SELECT count(*) FROM read_parquet(${path})`);
  const { width } = options;
  const id = `CAST(${quoteName(columns.id)} AS VARCHAR)`;
  const reading = { from: `read_parquet(${path}, file_row_number = true)`, all, id, columns, width };
  return {
    file,
    content,
    format: 'parquet',
    encoding: 'utf-8',
    header: all.map(({ name }) => csvCell(name)).join(','),
    rows: Number(rows),
    relation: { from: `read_parquet(${path})`, id, features: toFloats(columns.features, width) },
    explain: (rejected) => explainParquet(rejected, reading, database),
    reading: columns,
  };
}

/** Lists are written as INTEGER[]. */
function toColumn(name: string, type: string): ParquetColumn {
  return {
    name,
    array: type.endsWith(']'),
    number: /^(\w*INT|INTEGER|UINTEGER|FLOAT|DOUBLE|DECIMAL\(.*\))$/.test(type),
  };
}

function toFloats(features: FeatureColumns, width: number): string {
  if ('array' in features) return `TRY_CAST(${quoteName(features.array)} AS FLOAT[${width}])`;
  return `[${features.each.map((name) => `TRY_CAST(${quoteName(name)} AS FLOAT)`).join(', ')}]::FLOAT[${width}]`;
}

function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
