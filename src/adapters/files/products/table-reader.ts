/** Reads all rows of an input, valid or not, in tables of their order. */
import type { ProductTable } from '../../../domain/product.ts';
import type { Database } from '../duckdb.ts';
import { namingInput, notReadable } from './input-error.ts';
import { checkUnchanged } from './input-files.ts';
import { idBytes, piecesFor, readTable, tableColumns } from './product-chunks.ts';
import { selectFrom } from './relation.ts';
import type { TableInput } from './table-input.ts';

const SAMPLED_ROWS = 2048;

export interface TableReading {
  readonly database: Database;
  readonly width: number;
  /** In how many pieces ids are read. */
  readonly pieces: number;
  readonly stop: AbortSignal;
}

/** @throws CategorizerError `INPUT_NOT_READABLE`, also where the file is another than it was when it was opened */
export async function* readTables(input: TableInput, reading: TableReading): AsyncGenerator<ProductTable> {
  const { database, width, pieces, stop } = reading;
  const sql = selectFrom(input.relation, tableColumns(pieces));
  const rowBytes = width * Float32Array.BYTES_PER_ELEMENT + idBytes(pieces);
  let rows = 0;
  try {
    await checkUnchanged(input.file);
    for await (const chunk of database.stream(sql, rowBytes)) {
      const table = readTable(chunk, pieces, width);
      rows += table.features.rows;
      yield table;
    }
    await checkUnchanged(input.file);
    // Rejects are found again by their place: with one row too few they would get the lines of others.
    if (rows !== input.rows) throw new Error(`${rows} rows were read where there are ${input.rows}`);
  } catch (error) {
    stop.throwIfAborted();
    throw notReadable(input.file.path, error);
  }
}

/** In how many pieces the first ids can be read; what comes later is hardly longer. */
export async function guessPieces(
  inputs: readonly TableInput[],
  { database, stop }: Omit<TableReading, 'pieces'>,
): Promise<number> {
  let pieces = 1;
  for (const { file, relation } of inputs) {
    const first = `(${selectFrom(relation, 'id')} LIMIT ${SAMPLED_ROWS})`;
    const sql = `SELECT max(strlen(id)) FROM ${first}`;
    const [[longest]] = await namingInput(file.path, stop, () => database.rows(sql));
    pieces = Math.max(pieces, piecesFor(Number(longest ?? 0)));
  }
  return pieces;
}
