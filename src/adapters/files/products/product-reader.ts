/** Reads the products of all inputs, and remembers which rows are none. */
import { CategorizerError } from '../../../domain/errors.ts';
import { checkPackedProducts } from '../../../domain/packed-products.ts';
import type { ProductTable } from '../../../domain/product.ts';
import type { Database } from '../duckdb.ts';
import { createDuplicateFilter, type DuplicateFilter, type DuplicatePolicy } from './duplicates.ts';
import { forEachId } from './packed-ids.ts';
import { keepRows } from './product-chunks.ts';
import { createRowSet, type RowSet } from './row-set.ts';
import type { TableInput } from './table-input.ts';
import { guessPieces, readTables } from './table-reader.ts';

export interface ReaderOptions {
  readonly width: number;
  readonly onDuplicate: DuplicatePolicy;
  /** More, and reading ends with `TOO_MANY_REJECTS`. */
  readonly maxRejects?: number;
  readonly stop: AbortSignal;
}

export interface ProductReader {
  products(): AsyncGenerator<ProductTable>;
  counts(): { readonly rejected: number; readonly skipped: number };
  /** Bytes of the files, as far as their rows were read. */
  progress(): { readonly read: number; readonly total: number };
  /** The rows of an input that were rejected, by their places from 0. */
  rejectedRows(input: TableInput): RowSet;
  /** Whether rows with this id are rejected for standing more than once. */
  isDuplicate(productId: string): boolean;
}

export function createProductReader(
  inputs: readonly TableInput[],
  options: ReaderOptions,
  database: Database,
): ProductReader {
  const { width, onDuplicate, maxRejects = Number.POSITIVE_INFINITY, stop } = options;
  const rejected = new Map(inputs.map((input) => [input, createRowSet(input.rows)]));
  const counts = { rejected: 0, skipped: 0 };
  const total = inputs.reduce((sum, { file }) => sum + file.size, 0);
  let read = 0;
  let duplicates: DuplicateFilter | undefined;

  function rejectedRows(input: TableInput): RowSet {
    return rejected.get(input) ?? createRowSet(0);
  }

  /** @returns the rows that are products; undefined where all are. */
  function sortOut(table: ProductTable, rejects: RowSet, firstRow: number): number[] | undefined {
    const checked = checkPackedProducts(table, width);
    for (const { row } of checked.rejects) rejects.add(firstRow + row);
    counts.rejected += checked.rejects.length;
    return duplicates && duplicates.size > 0
      ? sortOutDuplicates(table, rejects, firstRow, duplicates)
      : checked.acceptedRows?.slice();
  }

  function sortOutDuplicates(
    { ids }: ProductTable,
    rejects: RowSet,
    firstRow: number,
    filter: DuplicateFilter,
  ): number[] {
    const accepted: number[] = [];
    forEachId(ids, (start, end, row) => {
      if (rejects.has(firstRow + row)) return;
      const verdict = filter.judge(ids, start, end);
      if (verdict === 'take') accepted.push(row);
      else if (verdict === 'skip') counts.skipped++;
      else {
        rejects.add(firstRow + row);
        counts.rejected++;
      }
    });
    return accepted;
  }

  return {
    async *products() {
      const pieces = await guessPieces(inputs, { database, width, stop });
      const reading = { database, width, stop, pieces };
      duplicates = await createDuplicateFilter(inputs, onDuplicate, reading);
      for (const input of inputs) {
        const readBefore = read;
        const rejects = rejectedRows(input);
        let rows = 0;
        for await (const table of readTables(input, reading)) {
          const accepted = sortOut(table, rejects, rows);
          if (counts.rejected > maxRejects) {
            throw new CategorizerError(
              'TOO_MANY_REJECTS',
              `more rows are rejected than --max-rejects allows (${maxRejects}); enqueue --dry-run without it lists what is wrong with them`,
            );
          }
          rows += table.features.rows;
          read = readBefore + Math.floor((input.file.size * rows) / input.rows);
          if (!accepted) yield table;
          else if (accepted.length > 0) yield keepRows(table, accepted);
        }
        read = readBefore + input.file.size;
      }
    },
    counts: () => ({ ...counts }),
    progress: () => ({ read, total }),
    rejectedRows,
    isDuplicate: (productId) => duplicates?.isRejected(new TextEncoder().encode(productId)) ?? false,
  };
}
