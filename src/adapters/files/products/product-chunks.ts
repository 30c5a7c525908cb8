/** From the vectors of DuckDB to flat arrays of products, with no string and no object for a product. */
import type { DuckDBDataChunk } from '@duckdb/node-api';
import duckdb, { type Vector } from '@duckdb/node-bindings';
import type { PackedIds, ProductTable } from '../../../domain/product.ts';
import { forEachId, LINE_FEED } from './packed-ids.ts';

/** DuckDB keeps texts of at most so many bytes in the vector itself; longer ones behind a pointer. */
const INLINE_BYTES = 12;
const STRING_BYTES = 16;
export const HASH_BYTES = 8;
const CARRIAGE_RETURN = 0x0d;
const ALL_VALID = 0xff;
/** The largest id that could be valid has 200 characters of 4 bytes; longer ones are cut, and still too long. */
const MAX_ID_BYTES = 804;

const encoder = new TextEncoder();

/** How many pieces hold an id of so many bytes. */
export function piecesFor(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / INLINE_BYTES));
}

/**
 * The columns that `readIds` expects: the id where it is longer than all pieces together, and the id in pieces that are
 * short enough to stand in the vector itself.
 *
 * @param pieces a good guess will do: longer ids are read as well, but slowly
 */
export function idColumns(pieces: number): string {
  const slices = Array.from({ length: pieces }, (_, i) => {
    const start = i * INLINE_BYTES;
    return `array_slice(encode(id), ${start + 1}, ${start + INLINE_BYTES})`;
  });
  return [`CASE WHEN strlen(id) > ${pieces * INLINE_BYTES} THEN id END`, ...slices].join(', ');
}

/** How many bytes `idColumns` take in a row. */
export function idBytes(pieces: number): number {
  return (pieces + 1) * STRING_BYTES;
}

/** The hashes that stand in the first column, 64 bits each, the lower half first. Valid until the next chunk. */
export function readHashes(chunk: DuckDBDataChunk): Uint32Array {
  const data = duckdb.vector_get_data(duckdb.data_chunk_get_vector(chunk.chunk, 0), chunk.rowCount * HASH_BYTES);
  return new Uint32Array(data.buffer, data.byteOffset, 2 * chunk.rowCount);
}

/** The columns that `readTable` expects. */
export function tableColumns(pieces: number): string {
  return `features, ${idColumns(pieces)}`;
}

/** Copies a chunk: DuckDB takes the memory of its vectors back. A feature that is NULL becomes NaN. */
export function readTable(chunk: DuckDBDataChunk, pieces: number, width: number): ProductTable {
  const rows = chunk.rowCount;
  const values = readFeatures(duckdb.data_chunk_get_vector(chunk.chunk, 0), rows, width);
  return { ids: readIds(chunk, pieces, 1), features: { rows, width, values } };
}

/** Some rows of a table, in their order. */
export function keepRows({ ids, features }: ProductTable, rows: readonly number[]): ProductTable {
  const { width, values } = features;
  const keptIds = new Uint8Array(ids.length);
  const keptValues = new Float32Array(rows.length * width);
  let end = 0;
  let kept = 0;
  forEachId(ids, (idStart, idEnd, row) => {
    if (rows[kept] !== row) return;
    if (kept > 0) keptIds[end++] = LINE_FEED;
    keptIds.set(ids.subarray(idStart, idEnd), end);
    end += idEnd - idStart;
    keptValues.set(values.subarray(row * width, (row + 1) * width), kept * width);
    kept++;
  });
  return { ids: keptIds.slice(0, end), features: { rows: kept, width, values: keptValues } };
}

function readFeatures(vector: Vector, rows: number, width: number): Float32Array {
  const child = duckdb.array_vector_get_child(vector);
  const data = duckdb.vector_get_data(child, rows * width * Float32Array.BYTES_PER_ELEMENT);
  const values = new Float32Array(data.buffer, data.byteOffset, rows * width).slice();
  forEachNull(child, values.length, (i) => {
    values[i] = Number.NaN;
  });
  forEachNull(vector, rows, (row) => values.fill(Number.NaN, row * width, (row + 1) * width));
  return values;
}

/** What is NULL has any value in the data of a vector. */
function forEachNull(vector: Vector, count: number, found: (index: number) => void): void {
  const validity = validityOf(vector, count);
  if (!validity) return;
  for (let i = 0; i < count; i++) {
    if (validity[i >> 3] === ALL_VALID) i |= 7;
    else if ((validity[i >> 3] & (1 << (i & 7))) === 0) found(i);
  }
}

/** A bit for each item, set where it is not NULL. The binding says that there always is one; it is null where nothing is NULL. */
function validityOf(vector: Vector, count: number): Uint8Array | null {
  return duckdb.vector_get_validity(vector, Math.ceil(count / 64) * 8);
}

/** An id that is NULL becomes an empty one. @param column the first of `idColumns` */
export function readIds(chunk: DuckDBDataChunk, pieces: number, column: number): PackedIds {
  const rows = chunk.rowCount;
  const vectors = Array.from({ length: pieces }, (_, i) => duckdb.data_chunk_get_vector(chunk.chunk, column + 1 + i));
  const slices = vectors.map((vector) => duckdb.vector_get_data(vector, rows * STRING_BYTES));
  const missing = new Set<number>();
  forEachNull(vectors[0], rows, (row) => missing.add(row));
  const long = readLongIds(chunk, rows, column);

  const ids = new Uint8Array(rows * (pieces * INLINE_BYTES + 1) + long.bytes);
  let end = 0;
  for (let row = 0; row < rows; row++) {
    if (row > 0) ids[end++] = LINE_FEED;
    if (missing.has(row)) continue;
    const whole = long.ids.get(row);
    if (whole) end = append(ids, end, whole, 0, whole.length);
    else end = appendSlices(ids, end, slices, row * STRING_BYTES);
  }
  return ids.slice(0, end);
}

/** A text of DuckDB is its length and, where it is short, its bytes. */
function appendSlices(ids: Uint8Array, start: number, slices: readonly Uint8Array[], offset: number): number {
  let end = start;
  for (const slice of slices) {
    // The lowest byte of the length is enough.
    const length = slice[offset];
    end = append(ids, end, slice, offset + 4, length);
    if (length < INLINE_BYTES) break;
  }
  return end;
}

/** A line feed inside an id would make two of it; another control character makes it as invalid. */
function append(ids: Uint8Array, start: number, bytes: Uint8Array, from: number, length: number): number {
  for (let i = 0; i < length; i++) {
    const byte = bytes[from + i];
    ids[start + i] = byte === LINE_FEED ? CARRIAGE_RETURN : byte;
  }
  return start + length;
}

interface LongIds {
  readonly ids: ReadonlyMap<number, Uint8Array>;
  readonly bytes: number;
}

function readLongIds(chunk: DuckDBDataChunk, rows: number, column: number): LongIds {
  const ids = new Map<number, Uint8Array>();
  let bytes = 0;
  const validity = validityOf(duckdb.data_chunk_get_vector(chunk.chunk, column), rows);
  if (validity?.every((byte) => byte === 0)) return { ids, bytes };
  const vector = chunk.getColumnVector(column);
  for (let row = 0; row < rows; row++) {
    const id = vector.getItem(row);
    if (typeof id !== 'string') continue;
    const encoded = encoder.encode(id.slice(0, MAX_ID_BYTES));
    ids.set(row, encoded);
    bytes += encoded.length;
  }
  return { ids, bytes };
}
