import type { Readable } from 'node:stream';
import { parse } from 'csv-parse';
import type { SourceRow } from '../../application/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';

/** Decimal notation only: `Number` would also take hexadecimal, and an empty cell as 0. */
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

interface Parsed {
  readonly record: string[];
  /** The text since the record before: blank lines that were skipped, the row, its line end. */
  readonly raw: string;
}

interface Columns {
  readonly count: number;
  readonly productId: number;
  /** Where f0, f1 … stand. */
  readonly features: readonly number[];
}

/** Reads the header at once and the rows as they are asked for. @throws CategorizerError, of line 1 */
export async function readCsvRows(
  stream: Readable,
  width: number,
): Promise<{ header: string; rows: AsyncIterable<SourceRow> }> {
  const parser = parse({
    bom: true,
    raw: true,
    // Not discovered from the header alone: files are put together from parts.
    record_delimiter: ['\r\n', '\n', '\r'],
    relax_column_count: true,
    // A quote inside a cell (19" rack) is a character like any other.
    relax_quotes: true,
    skip_empty_lines: true,
    trim: true,
  });
  stream.on('error', (error) => parser.destroy(error));
  const records: AsyncIterator<Parsed> = stream.pipe(parser)[Symbol.asyncIterator]();
  const first = await records.next();
  if (first.done) throw new CategorizerError('INPUT_NOT_READABLE', 'it is empty: expected a CSV header line');
  const columns = findColumns(first.value.record, width);
  const { text, nextLine } = locate(first.value.raw, 1);
  return { header: text, rows: readRows(records, columns, nextLine) };
}

function findColumns(names: readonly string[], width: number): Columns {
  const productId = names.indexOf('product_id');
  if (productId < 0) {
    throw new CategorizerError('INPUT_NOT_READABLE', `line 1: no column product_id among: ${names.join(', ')}`);
  }
  const count = names.filter((name) => /^f\d+$/.test(name)).length;
  const features = Array.from({ length: count }, (_, i) => names.indexOf(`f${i}`));
  const missing = features.indexOf(-1);
  if (missing >= 0) {
    throw new CategorizerError('INPUT_NOT_READABLE', `line 1: column f${missing} is missing or stands there twice`);
  }
  if (count !== width) {
    throw new CategorizerError(
      'WRONG_WIDTH',
      `line 1: the model expects ${width} feature columns (f0 …), got ${count}`,
    );
  }
  return { count: names.length, productId, features };
}

async function* readRows(
  records: AsyncIterator<Parsed>,
  columns: Columns,
  firstLine: number,
): AsyncGenerator<SourceRow> {
  let before = firstLine;
  for (let next = await records.next(); !next.done; next = await records.next()) {
    const { record } = next.value;
    const { line, text: raw, nextLine } = locate(next.value.raw, before);
    before = nextLine;
    if (record.length === columns.count) {
      yield { line, raw, product: toProduct(record, columns) };
    } else {
      const message = `expected ${columns.count} columns, got ${record.length}`;
      yield { line, raw, unreadable: { code: 'INVALID_ROW', message } };
    }
  }
}

/** Where a row stands and what it says, without the blank lines before and the line end behind. */
function locate(raw: string, firstLine: number): { line: number; text: string; nextLine: number } {
  const blank = /^(\uFEFF?[^\S\r\n]*(\r\n|\n|\r))+/.exec(raw)?.[0] ?? '';
  const text = raw.slice(blank.length).replace(/^\uFEFF|(\r\n|\n|\r)$/g, '');
  const line = firstLine + countLineEnds(blank);
  return { line, text, nextLine: firstLine + countLineEnds(raw) };
}

function countLineEnds(text: string): number {
  return text.match(/\r\n|\n|\r/g)?.length ?? 0;
}

/** What is no number stays text, so that the reject can show it. */
function toProduct(record: readonly string[], columns: Columns): { productId: string; features: unknown[] } {
  const features = columns.features.map((column) => {
    const text = record[column];
    return NUMBER.test(text) ? Number(text) : text;
  });
  return { productId: record[columns.productId], features };
}
