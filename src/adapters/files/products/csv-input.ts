import { quoteText } from '../duckdb.ts';
import { chooseColumns, type FeatureColumns } from './columns.ts';
import { detectDecimal, detectDelimiter, readHeader, splitRecord } from './csv-dialect.ts';
import { explainCsv } from './csv-explain.ts';
import { makeReadable } from './csv-file.ts';
import { createRecordScanner, type RecordOptions } from './csv-records.ts';
import type { Bytes, Content } from './input-content.ts';
import type { InputFile } from './input-files.ts';
import { bufferEncoding, type Encoding, type InputContext, type TableInput, type TableOptions } from './table-input.ts';

/** A row of this size is none; for tables of very many columns it may be larger. */
const MAX_RECORD_BYTES = 1 << 20;
const MAX_CELL_BYTES = 64;
const SAMPLED_ROWS = 1000;

/** @throws CategorizerError `INPUT_NOT_READABLE`, or `WRONG_WIDTH` */
export async function openCsv(
  file: InputFile,
  content: Content,
  options: TableOptions,
  context: InputContext,
): Promise<TableInput> {
  const encoding: Encoding = options.encoding ?? (content.utf8 ? 'utf-8' : 'latin-1');
  const sample = readSample(content, encoding);
  const delimiter = options.delimiter ?? detectDelimiter(sample, options.idColumn);
  const header = readHeader(sample, delimiter);
  const chosen = chooseColumns(
    header.names.map((name) => ({ name, array: false })),
    options,
  );
  const places = placesOf(header.names, chosen.features);
  const records = {
    delimiter,
    columns: header.names.length,
    utf8: encoding === 'utf-8' && !content.utf8,
    maxBytes: MAX_RECORD_BYTES + header.names.length * MAX_CELL_BYTES,
  };
  const decimal = options.decimal ?? detectDecimal(sampleRows(content, records, encoding), delimiter, places);
  const original = { file: file.file, gzip: content.gzip };
  const readable = await makeReadable(original, records, context.copy, context.stop);
  const reading = { records, encoding, decimal, names: header.names, columns: chosen, width: options.width };
  const cells = places.map((place) => toFloat(`c${place}`, decimal));
  return {
    file,
    content,
    format: 'csv',
    encoding,
    header: header.text,
    rows: readable.rows,
    relation: {
      from: readCsv(readable.source, records, { encoding, quotes: content.quotes }),
      id: `trim(c${header.names.indexOf(chosen.id)}, E' \\t')`,
      features: `[${cells.join(', ')}]::FLOAT[${options.width}]`,
    },
    explain: (rows) => explainCsv(original, rows, reading, context.stop),
    reading: { delimiter, decimal, encoding, columns: chosen },
  };
}

/** The first lines. A line that is cut off must not look like one with less columns. */
function readSample({ start, bytes }: Content, encoding: Encoding): string {
  const text = start.toString(bufferEncoding(encoding)).replace(/^\uFEFF/, '');
  return start.length < bytes ? text.slice(0, Math.max(text.lastIndexOf('\n'), text.lastIndexOf('\r')) + 1) : text;
}

/** The cells of the first rows, but for those that are broken or cut off. */
function sampleRows({ start }: Content, records: RecordOptions, encoding: Encoding): string[][] {
  const rows: string[][] = [];
  const scanner = createRecordScanner(records, (bytes, from, to, _line, problem) => {
    if (!problem && rows.length < SAMPLED_ROWS) {
      rows.push(splitRecord(bytes.toString(bufferEncoding(encoding), from, to), records.delimiter));
    }
  });
  scanner.push(start);
  return rows.slice(1);
}

function placesOf(names: readonly string[], features: FeatureColumns): number[] {
  return 'each' in features ? features.each.map((name) => names.indexOf(name)) : [];
}

/**
 * All columns as texts, so that a row with a bad number keeps its place, and by place, because names may differ in case
 * alone. With quotes on one thread: several cannot always tell a quoted line end from one between rows, and refuse the file.
 */
function readCsv(
  { file, gzip }: Bytes,
  { columns, delimiter, maxBytes }: RecordOptions,
  options: { readonly encoding: Encoding; readonly quotes: boolean },
): string {
  const types = Array.from({ length: columns }, (_, i) => `c${i}: 'VARCHAR'`);
  return `read_csv(${quoteText(file)}, auto_detect = false, hive_partitioning = false, header = true, columns = {${types.join(', ')}},
    delim = ${quoteText(delimiter)}, quote = '"', escape = '"', comment = '', strict_mode = true,
    encoding = ${quoteText(options.encoding)}, compression = '${gzip ? 'gzip' : 'none'}',
    max_line_size = ${2 * maxBytes}, buffer_size = ${4 * maxBytes}, parallel = ${!options.quotes})`;
}

/** With a decimal comma a point is refused: 1.234 may mean 1234. A comma where a point is expected is no number anyway. */
function toFloat(column: string, decimal: '.' | ','): string {
  if (decimal === '.') return `TRY_CAST(${column} AS FLOAT)`;
  return `CASE WHEN contains(${column}, '.') THEN NULL ELSE TRY_CAST(replace(${column}, ',', '.') AS FLOAT) END`;
}
