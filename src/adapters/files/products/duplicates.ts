/** Product ids that stand more than once in an import, and what becomes of their rows. */
import { join } from 'node:path';
import { CategorizerError } from '../../../domain/errors.ts';
import { checkPackedProducts } from '../../../domain/packed-products.ts';
import type { Database } from '../duckdb.ts';
import type { HashSet } from './hash-set.ts';
import { createIdIndex, type IdIndex } from './id-index.ts';
import { namingInput } from './input-error.ts';
import { forEachId } from './packed-ids.ts';
import { HASH_BYTES, idBytes, idColumns, readHashes, readIds } from './product-chunks.ts';
import { selectFrom } from './relation.ts';
import { createRepeatedHashes } from './repeated-hashes.ts';
import type { TableInput } from './table-input.ts';
import { readTables, type TableReading } from './table-reader.ts';

const MAX_DUPLICATES = 1_000_000;

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
 * Exactly those of all inputs together: first the hashes that stand more than once, and only where there are any the ids
 * behind them. (DuckDB groups ids as well, but with little memory it gives up on many of them.)
 */
async function findDuplicates(inputs: readonly TableInput[], reading: TableReading): Promise<IdIndex> {
  const { database, pieces } = reading;
  const all = inputs.map(({ relation }) => selectFrom(relation, 'id')).join(' UNION ALL ');
  const repeated = await findRepeatedHashes(all, database);
  const seen = createIdIndex();
  const duplicates = createIdIndex();
  if (repeated.size === 0) return duplicates;
  const sql = `SELECT hash(id), ${idColumns(pieces)} FROM (${all}) WHERE id <> ''`;
  for await (const chunk of database.stream(sql, HASH_BYTES + idBytes(pieces))) {
    const hashes = readHashes(chunk);
    const ids = readIds(chunk, pieces, 1);
    forEachId(ids, (start, end, row) => {
      if (!repeated.has(hashes[2 * row], hashes[2 * row + 1])) return;
      // Two ids may have the same hash, however unlikely that is.
      if (!seen.add(ids, start, end)) duplicates.add(ids, start, end);
    });
  }
  return duplicates;
}

async function findRepeatedHashes(ids: string, database: Database): Promise<HashSet> {
  const hashes = createRepeatedHashes(join(database.directory, 'hashes'));
  try {
    for await (const chunk of database.stream(`SELECT hash(id) FROM (${ids}) WHERE id <> ''`, HASH_BYTES)) {
      await hashes.add(readHashes(chunk));
    }
    const repeated = await hashes.find(MAX_DUPLICATES + 1);
    if (repeated.size <= MAX_DUPLICATES) return repeated;
  } finally {
    await hashes.close();
  }
  throw new CategorizerError(
    'TOO_MANY_DUPLICATES',
    `more than ${MAX_DUPLICATES} product ids stand more than once: is --id-column right?`,
  );
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
