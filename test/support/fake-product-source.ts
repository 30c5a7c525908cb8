import type { ProductSource, RejectedRow, RejectSink } from '../../src/application/ports.ts';
import { packIds } from '../../src/contract/index.ts';
import type { RejectCode } from '../../src/domain/errors.ts';
import type { ProductTable } from '../../src/domain/product.ts';
import { type CrashPlan, crashAt } from './fake-crash.ts';

/** Products `P<from>` to before `P<to>`; the features of each are its number and the negative of that. */
export function numberedProducts(from: number, to: number): ProductTable {
  const numbers = Array.from({ length: to - from }, (_, i) => from + i);
  return {
    ids: packIds(numbers.map((number) => `P${number}`)),
    features: { rows: numbers.length, width: 2, values: Float32Array.from(numbers.flatMap((n) => [n, -n])) },
  };
}

/** A row that was rejected for these codes, the first of which counts. */
export function rejectedRow(line: number, ...codes: RejectCode[]): RejectedRow {
  return {
    input: 0,
    line,
    raw: `line ${line}`,
    productId: null,
    errors: codes.map((code) => ({ code, message: `what is wrong: ${code}` })),
  };
}

export interface FakeSourceContent {
  /** How many; they are numbered from 0. */
  readonly products?: number;
  /** Products in a table. */
  readonly tableSize?: number;
  readonly rejects?: readonly RejectedRow[];
  readonly skipped?: number;
  readonly fingerprint?: string;
  /** Called before each table is given, with the number of its first product. */
  readonly onTable?: (first: number) => void;
}

export interface FakeProductSource extends ProductSource {
  /** Products that were taken so far. */
  readonly taken: () => number;
  /** Whether anything of it was read. */
  readonly opened: () => boolean;
}

/** An input in memory. It is as strict as a file: read once, and the rejects only after the last table. */
export function createFakeProductSource(content: FakeSourceContent = {}): FakeProductSource {
  const { products = 0, tableSize = 5, rejects = [], skipped = 0, fingerprint = 'a1b2c3', onTable } = content;
  let taken = 0;
  let opened = false;
  let complete = false;
  return {
    fingerprint,
    taken: () => taken,
    opened: () => opened,
    async *products() {
      if (opened) throw new Error('the source was read before');
      opened = true;
      for (let first = 0; first < products; first += tableSize) {
        onTable?.(first);
        const table = numberedProducts(first, Math.min(products, first + tableSize));
        taken += table.features.rows;
        yield table;
      }
      complete = true;
    },
    counts: () => (complete ? { rejected: rejects.length, skipped } : { rejected: 0, skipped: 0 }),
    async *rejects() {
      if (!complete) throw new Error('rejects are known after the last table');
      yield* rejects;
    },
    progress: () => ({ read: taken, total: products }),
    close: async () => undefined,
  };
}

export interface FakeRejectSink extends RejectSink {
  readonly rows: readonly RejectedRow[];
  /** Whether the rows were kept or thrown away. */
  readonly end: () => 'committed' | 'aborted' | undefined;
}

/** Keeps what was rejected in memory. As with the real files, what was committed stays. */
export function createFakeRejectSink(crash: CrashPlan = crashAt()): FakeRejectSink {
  const rows: RejectedRow[] = [];
  let end: 'committed' | 'aborted' | undefined;
  return {
    rows,
    end: () => end,
    async write(row) {
      await crash.point('reject');
      rows.push(row);
    },
    async commit() {
      await crash.point('commit rejects');
      end = 'committed';
      return rows.length > 0 ? ['input.rejects.csv', 'input.rejects.jsonl'] : [];
    },
    async abort() {
      end ??= 'aborted';
    },
  };
}
