/**
 * Reads PostgreSQL's binary COPY format row by row, as its bytes arrive.
 *
 * Source: "Binary Format" of COPY in PostgreSQL's documentation; arrays as `array_send` writes them.
 */
import type { Readable } from 'node:stream';

/** The signature and two empty header fields. */
const HEADER_BYTES = 19;
const END_OF_ROWS = -1;

/** A row within `bytes`: column i is at `starts[i]` and has `lengths[i]` bytes, -1 where it is null. Valid until the next. */
export interface CopyRow {
  bytes: Buffer;
  readonly starts: Int32Array;
  readonly lengths: Int32Array;
}

/** @param columns how many the query has */
export async function* readCopy(stream: Readable, columns: number): AsyncGenerator<() => CopyRow | undefined> {
  const row: CopyRow = { bytes: Buffer.alloc(0), starts: new Int32Array(columns), lengths: new Int32Array(columns) };
  let at = 0;
  let headerRead = false;

  /** Finds the next row that is there as a whole. */
  function next(): CopyRow | undefined {
    const { bytes, starts, lengths } = row;
    let position = at + 2;
    if (position > bytes.length || bytes.readInt16BE(at) === END_OF_ROWS) return undefined;
    for (let column = 0; column < columns; column++) {
      if (position + 4 > bytes.length) return undefined;
      const length = bytes.readInt32BE(position);
      starts[column] = position + 4;
      lengths[column] = length;
      position += 4 + Math.max(0, length);
    }
    if (position > bytes.length) return undefined;
    at = position;
    return row;
  }

  for await (const chunk of stream) {
    const rest = row.bytes.subarray(at);
    row.bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    at = 0;
    if (!headerRead) {
      if (row.bytes.length < HEADER_BYTES) continue;
      headerRead = true;
      at = HEADER_BYTES;
    }
    yield next;
  }
}

/** UTF-8 text; null where the column is null. */
export function textOf({ bytes, starts, lengths }: CopyRow, column: number): string | null {
  if (lengths[column] < 0) return null;
  return bytes.toString('utf8', starts[column], starts[column] + lengths[column]);
}

const FLOAT4_OID = 700;
const FLOAT8_OID = 701;
/** Dimensions, whether there are nulls, and the type; then size and lower bound of the one dimension. */
const ARRAY_HEADER_BYTES = 20;

/**
 * Writes an array of one dimension, float4 or float8, to `target`.
 *
 * @returns how many numbers it has where it was not written, because they are not `width`; undefined where it was.
 *   A null within it becomes NaN.
 */
export function readFloats(
  { bytes, starts, lengths }: CopyRow,
  column: number,
  target: Float32Array,
  offset: number,
  width: number,
): number | undefined {
  if (lengths[column] < ARRAY_HEADER_BYTES) return 0;
  const start = starts[column];
  const type = bytes.readUInt32BE(start + 8);
  const numbers = bytes.readInt32BE(start) === 1 ? bytes.readInt32BE(start + 12) : -1;
  if (numbers !== width) return numbers;
  let position = start + ARRAY_HEADER_BYTES;
  for (let i = 0; i < width; i++) {
    const length = bytes.readInt32BE(position);
    if (length < 0) target[offset + i] = Number.NaN;
    else if (type === FLOAT4_OID) target[offset + i] = bytes.readFloatBE(position + 4);
    else if (type === FLOAT8_OID) target[offset + i] = bytes.readDoubleBE(position + 4);
    position += 4 + Math.max(0, length);
  }
  return undefined;
}
