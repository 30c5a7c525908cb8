/** Product ids that stand more than once in an import, and what becomes of their rows. */
import { join } from 'node:path';
import { CategorizerError } from '../../domain/errors.ts';
import { checkPackedProducts } from '../../domain/packed-products.ts';
import { type Database, quoteText } from './duckdb.ts';
import { createIdIndex, type IdIndex } from './id-index.ts';
import { namingInput } from './input-error.ts';
import { forEachId } from './packed-ids.ts';
import { idColumns, readIds } from './product-chunks.ts';
import { selectFrom } from './relation.ts';
import type { TableInput } from './table-input.ts';
import { readTables, type TableReading } from './table-reader.ts';

const MAX_DUPLICATES = 1_000_000;
const GROUPED_ROWS = 3_000_000;

/** `reject`: none of the rows of such an id is a product. Else the first or the last of them that is valid. */
export type DuplicatePolicy = 'first' | 'last' | 'reject';

export interface DuplicateFilter {
  /** How many ids stand more than once. */
  readonly size: number;
  /** What becomes of a row that is valid. To be asked once for each, in their order. */
  judge(ids: Uint8Array, start: number, end: number): 'take' | 'skip' | 'reject';
  /** Whether rows with this id are rejected for it. */
  isRejected(id: Uint8Array): boolean;
}

/** @throws CategorizerError `TOO_MANY_DUPLICATES` */
export async function createDuplicateFilter(
  inputs: readonly TableInput[],
  policy: DuplicatePolicy,
  reading: TableReading,
): Promise<DuplicateFilter> {
  const names = inputs.map(({ file }) => file.path).join(', ');
  const index = await namingInput(names, reading.stop, () => findDuplicates(inputs, reading));
  const isRejected = (id: Uint8Array) => policy === 'reject' && index.find(id, 0, id.length) >= 0;
  const find = index.find;
  if (policy === 'reject' || index.size === 0) {
    return {
      size: index.size,
      judge: (ids, start, end) => (find(ids, start, end) < 0 ? 'take' : 'reject'),
      isRejected,
    };
  }
  // How many rows of each id are passed over before one is taken, and after that all.
  const before = policy === 'last' ? await countValidRows(inputs, index, reading) : new Uint32Array(index.size).fill(1);
  return {
    size: index.size,
    judge(ids, start, end) {
      const number = find(ids, start, end);
      if (number < 0) return 'take';
      if (before[number] === 0) return 'skip';
      before[number]--;
      return before[number] === 0 ? 'take' : 'skip';
    },
    isRejected,
  };
}

/**
 * Exactly those of all inputs together. DuckDB groups them, part by part: the parts are what fits into its memory, more or
 * less; of all ids of a large import at once it would go to disk, and at some size give up.
 */
async function findDuplicates(inputs: readonly TableInput[], reading: TableReading): Promise<IdIndex> {
  const { database, pieces } = reading;
  const duplicates = createIdIndex();
  const rows = inputs.reduce((sum, input) => sum + input.rows, 0);
  const parts = Math.ceil(rows / GROUPED_ROWS);
  const all = parts > 1 ? await selectIdsAgain(inputs, database) : selectIds(inputs);
  for (let part = 0; part < parts; part++) {
    const repeated = `SELECT id FROM (${all}) WHERE id <> '' AND hash(id) % ${parts} = ${part}
      GROUP BY id HAVING count(*) > 1`;
    for await (const chunk of database.stream(`SELECT ${idColumns(pieces)} FROM (${repeated})`)) {
      duplicates.add(readIds(chunk, pieces, 0));
      if (duplicates.size > MAX_DUPLICATES) {
        throw new CategorizerError(
          'TOO_MANY_DUPLICATES',
          `more than ${MAX_DUPLICATES} product ids stand more than once: is --id-column right?`,
        );
      }
    }
  }
  return duplicates;
}

function selectIds(inputs: readonly TableInput[]): string {
  return inputs.map(({ relation }) => selectFrom(relation, 'id')).join(' UNION ALL ');
}

/** Ids that are to be read more than once: to parse all of a text for each time would take long. */
async function selectIdsAgain(inputs: readonly TableInput[], database: Database): Promise<string> {
  if (inputs.every(({ format }) => format === 'parquet')) return selectIds(inputs);
  const file = quoteText(join(database.directory, 'ids.parquet'));
  await database.run(`COPY (${selectIds(inputs)}) TO ${file} (FORMAT parquet)`);
  return `SELECT id FROM read_parquet(${file})`;
}

async function countValidRows(
  inputs: readonly TableInput[],
  index: IdIndex,
  reading: TableReading,
): Promise<Uint32Array> {
  const counts = new Uint32Array(index.size);
  for (const input of inputs) {
    for await (const table of readTables(input, reading)) {
      const { acceptedRows } = checkPackedProducts(table, reading.width);
      const accepted = acceptedRows && new Set(acceptedRows);
      forEachId(table.ids, (start, end, row) => {
        const number = index.find(table.ids, start, end);
        if (number >= 0 && (accepted?.has(row) ?? true)) counts[number]++;
      });
    }
  }
  return counts;
}
