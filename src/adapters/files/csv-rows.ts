import type { Readable } from 'node:stream';
import { type Info, parse } from 'csv-parse';
import type { SourceRow } from '../../application/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';

/** Decimal notation only: `Number` would also take hexadecimal, and an empty cell as 0. */
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

interface Parsed {
  readonly record: string[];
  readonly raw: string;
  readonly info: Info;
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
    info: true,
    raw: true,
    relax_column_count: true,
    skip_empty_lines: true,
    trim: true,
  });
  stream.on('error', (error) => parser.destroy(error));
  const records: AsyncIterator<Parsed> = stream.pipe(parser)[Symbol.asyncIterator]();
  const first = await records.next();
  if (first.done) throw new CategorizerError('INPUT_NOT_READABLE', 'it is empty: expected a CSV header line');
  const columns = findColumns(first.value.record, width);
  return { header: withoutLineEnd(first.value.raw), rows: readRows(records, columns) };
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

async function* readRows(records: AsyncIterator<Parsed>, columns: Columns): AsyncGenerator<SourceRow> {
  for (let next = await records.next(); !next.done; next = await records.next()) {
    const { record, raw: rawWithEnd, info } = next.value;
    const raw = withoutLineEnd(rawWithEnd);
    const line = info.lines - (raw.match(/\n/g)?.length ?? 0);
    if (record.length === columns.count) {
      yield { line, raw, product: toProduct(record, columns) };
    } else {
      const message = `expected ${columns.count} columns, got ${record.length}`;
      yield { line, raw, unreadable: { code: 'INVALID_ROW', message } };
    }
  }
}

/** What is no number stays text, so that the reject can show it. */
function toProduct(record: readonly string[], columns: Columns): { productId: string; features: unknown[] } {
  const features = columns.features.map((column) => {
    const text = record[column];
    return NUMBER.test(text) ? Number(text) : text;
  });
  return { productId: record[columns.productId], features };
}

function withoutLineEnd(raw: string): string {
  return raw.replace(/^\uFEFF/, '').replace(/^[\r\n]+|[\r\n]+$/g, '');
}
