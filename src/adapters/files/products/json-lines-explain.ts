/** Finds rejected lines of a JSON lines file again, and says what is wrong with them. */
import type { RowError } from '../../../application/ports.ts';
import { messageOf } from '../../../domain/errors.ts';
import { describe } from '../../../domain/features.ts';
import type { ChosenColumns } from './columns.ts';
import type { Bytes } from './input-content.ts';
import { readBytes } from './input-content.ts';
import { createJsonLineScanner } from './json-records.ts';
import { findRowErrors, type RowValues } from './row-errors.ts';
import type { RowSet } from './row-set.ts';
import type { ExplainedRow } from './table-input.ts';

export interface JsonReading {
  readonly columns: ChosenColumns;
  readonly width: number;
}

/** In the order of the rows. */
export async function* explainJsonLines(
  source: Bytes,
  rows: RowSet,
  reading: JsonReading,
  stop: AbortSignal,
): AsyncGenerator<ExplainedRow> {
  const found: { readonly line: number; readonly raw: string }[] = [];
  let row = 0;
  const scanner = createJsonLineScanner((text, line) => {
    if (rows.has(row++)) found.push({ line, raw: text.toString('utf8') });
  });
  for await (const chunk of readBytes(source, stop)) {
    scanner.push(chunk);
    for (const { line, raw } of found.splice(0)) yield explainLine(line, raw, reading);
  }
  scanner.end();
  for (const { line, raw } of found) yield explainLine(line, raw, reading);
}

function explainLine(line: number, raw: string, reading: JsonReading): ExplainedRow {
  const unreadable = (message: string): ExplainedRow => {
    return { line, raw, productId: null, errors: [{ code: 'INVALID_ROW', message }] };
  };
  let value: unknown;
  try {
    value = JSON.parse(raw);
  } catch (error) {
    return unreadable(`not JSON: ${messageOf(error)}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return unreadable(`expected a JSON object, got ${describe(value)}`);
  }
  const values = readValues(new Map(Object.entries(value)), reading.columns);
  const productId = typeof values.id === 'string' ? values.id : null;
  return { line, raw, productId, errors: findErrors(values, reading) };
}

function readValues(fields: ReadonlyMap<string, unknown>, { id, features }: ChosenColumns): RowValues {
  const value = fields.get(id);
  return {
    // Whole numbers are read as they stand there.
    id: Number.isInteger(value) ? String(value) : value,
    features:
      'array' in features
        ? toNumbers(fields.get(features.array))
        : toNumbers(features.each.map((name) => fields.get(name))),
  };
}

function toNumbers(values: unknown): unknown {
  return Array.isArray(values) ? values.map(toNumber) : values;
}

/** Numbers in quotes are numbers for DuckDB as well. */
function toNumber(value: unknown): unknown {
  if (typeof value === 'boolean') return Number(value);
  return typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value;
}

function findErrors(values: RowValues, { columns, width }: JsonReading): RowError[] {
  return findRowErrors(values, { columns, width });
}
