import type { ProductSource, RejectSink, SourceRow } from '../../src/application/ports.ts';
import type { RejectReason } from '../../src/domain/errors.ts';

export interface FakeProductSource extends ProductSource {
  /** Rows that were taken so far. */
  readonly taken: () => number;
}

/** Rows from memory. @param onRow called before each row is given, with its place from 0 */
export function createFakeProductSource(
  rows: readonly SourceRow[],
  onRow: (place: number) => void = () => undefined,
): FakeProductSource {
  let taken = 0;
  return {
    taken: () => taken,
    async *rows() {
      for (const [place, row] of rows.entries()) {
        onRow(place);
        taken++;
        yield row;
      }
    },
    progress: () => ({ read: taken, total: rows.length }),
  };
}

/** A row of a file that has a product in it, good or bad. */
export function rowWith(productId: unknown, features: unknown, line = 1): SourceRow {
  return { line, raw: `line ${line}`, product: { productId, features } };
}

export interface FakeRejectSink extends RejectSink {
  readonly rejects: { readonly row: SourceRow; readonly reason: RejectReason }[];
}

/** Keeps what was rejected in memory. */
export function createFakeRejectSink(): FakeRejectSink {
  const rejects: FakeRejectSink['rejects'] = [];
  return {
    rejects,
    async write(row, reason) {
      rejects.push({ row, reason });
    },
    commit: async () => [],
    abort: async () => undefined,
  };
}
