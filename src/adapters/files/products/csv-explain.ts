/** Finds rejected rows of a CSV file again, and says what is wrong with them. */
import type { RowError } from '../../../application/ports.ts';
import { messageOf } from '../../../domain/errors.ts';
import type { ChosenColumns } from './columns.ts';
import { splitRecord } from './csv-dialect.ts';
import { createRecordScanner, type RecordOptions, type RecordProblem } from './csv-records.ts';
import { type Bytes, readBytes } from './input-content.ts';
import { findRowErrors } from './row-errors.ts';
import type { RowSet } from './row-set.ts';
import { bufferEncoding, type Encoding, type ExplainedRow } from './table-input.ts';

/** Decimal notation; DuckDB allows _ between digits. */
const NUMBER = /^[+-]?(\d+(_\d+)*\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const WITH_DECIMALS = /^[+-]?[\d.,]*([.,])\d+(e[+-]?\d+)?$/i;
/** Enough to mend a row by: what is longer is broken in another way. */
const MAX_RAW_BYTES = 1 << 20;

const PROBLEMS: Readonly<Record<Exclude<RecordProblem, 'columns'>, string>> = {
  quotes: 'its quotes are broken: one is not closed, or something else than the end of the cell follows it',
  size: 'it is too long',
  encoding: 'it is not UTF-8 (see --encoding)',
};

export interface CsvReading {
  readonly records: RecordOptions;
  readonly encoding: Encoding;
  readonly decimal: '.' | ',';
  readonly names: readonly string[];
  readonly columns: ChosenColumns;
  readonly width: number;
}

interface FoundRecord {
  readonly line: number;
  readonly bytes: Buffer;
  readonly problem: RecordProblem | undefined;
}

/** In the order of the rows. */
export async function* explainCsv(
  source: Bytes,
  rows: RowSet,
  reading: CsvReading,
  stop: AbortSignal,
): AsyncGenerator<ExplainedRow> {
  const found: FoundRecord[] = [];
  // The header is the first record.
  let row = -1;
  const scanner = createRecordScanner(reading.records, (bytes, start, end, line, problem) => {
    if (row >= 0 && rows.has(row)) {
      found.push({ line, problem, bytes: Buffer.from(bytes.subarray(start, Math.min(end, start + MAX_RAW_BYTES))) });
    }
    row++;
  });
  for await (const chunk of readBytes(source, stop)) {
    scanner.push(chunk);
    for (const record of found.splice(0)) yield explainRecord(record, reading);
  }
  scanner.end();
  for (const record of found) yield explainRecord(record, reading);
}

function explainRecord({ line, bytes, problem }: FoundRecord, reading: CsvReading): ExplainedRow {
  const raw = bytes.toString(bufferEncoding(reading.encoding));
  const unreadable = (message: string): ExplainedRow => {
    return { line, raw, productId: null, errors: [{ code: 'INVALID_ROW', message }] };
  };
  if (problem && problem !== 'columns') return unreadable(PROBLEMS[problem]);
  let cells: string[];
  try {
    cells = splitRecord(raw, reading.records.delimiter);
  } catch (error) {
    return unreadable(messageOf(error));
  }
  if (problem === 'columns') return unreadable(`expected ${reading.names.length} columns, got ${cells.length}`);
  const productId = cells[reading.names.indexOf(reading.columns.id)];
  return { line, raw, productId, errors: findCellErrors(productId, cells, reading) };
}

function findCellErrors(id: string, cells: readonly string[], reading: CsvReading): RowError[] {
  const { columns, names, decimal, width } = reading;
  const features = 'each' in columns.features ? columns.features.each : [];
  const values = features.map((name) => toNumber(cells[names.indexOf(name)], decimal));
  return findRowErrors({ id, features: values }, { columns, width }, (value) => decimalHint(value, decimal));
}

/** What is no number stays text, so that the reject can show it. */
function toNumber(text: string, decimal: '.' | ','): number | string {
  const number = decimal === '.' ? text : text.includes('.') ? '' : text.replace(',', '.');
  return NUMBER.test(number) ? Number(number.replaceAll('_', '')) : text;
}

function decimalHint(value: unknown, decimal: '.' | ','): string {
  const sign = typeof value === 'string' ? WITH_DECIMALS.exec(value)?.[1] : undefined;
  return sign && sign !== decimal ? ` (numbers are read with a decimal ${decimal}: see --decimal)` : '';
}
