/** Numbers of rows, one bit for each row of an input: they may be all of them. */
export interface RowSet {
  readonly size: number;
  add(row: number): void;
  has(row: number): boolean;
  /** In their order. */
  values(): Iterable<number>;
}

/** @param rows how many the input has */
export function createRowSet(rows: number): RowSet {
  let bits: Uint8Array | undefined;
  let size = 0;

  function has(row: number): boolean {
    return bits !== undefined && (bits[row >> 3] & (1 << (row & 7))) !== 0;
  }

  return {
    get size() {
      return size;
    },
    add(row) {
      bits ??= new Uint8Array(Math.ceil(rows / 8));
      if (has(row)) return;
      bits[row >> 3] |= 1 << (row & 7);
      size++;
    },
    has,
    *values() {
      for (let row = 0; bits && row < rows; row++) {
        if (bits[row >> 3] === 0) row |= 7;
        else if (has(row)) yield row;
      }
    },
  };
}
