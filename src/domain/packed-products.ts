/** Products in flat arrays are checked in one pass over the bytes: no string and no object is made of a good one. */
import { describe, type FeatureMatrix } from './features.ts';
import type { Reject } from './product.ts';
import {
  type CheckedProducts,
  checkProductId,
  MAX_PRODUCT_ID_CHARACTERS,
  type PackedIds,
  type ProductTable,
} from './product.ts';

const LINE_FEED = 0x0a;
const DELETE = 0x7f;
const FIRST_OF_C1_CONTROLS = 0xc2;

// A byte order mark within an id is part of it.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** How many ids there are. */
export function countIds(ids: PackedIds): number {
  let count = 1;
  for (let i = 0; i < ids.length; i++) if (ids[i] === LINE_FEED) count++;
  return count;
}

/** @param count how many there are: of no bytes there is one, which is empty, or none */
export function unpackIds(ids: PackedIds, count: number): string[] {
  return count === 0 ? [] : decoder.decode(ids).split('\n');
}

/**
 * Checks every product; a bad one is rejected alone.
 *
 * @param products valid UTF-8 as ids, as many as there are rows
 * @param width how many numbers the model expects; where the table has another width, every product is rejected
 */
export function checkPackedProducts({ ids, features }: ProductTable, width: number): CheckedProducts {
  const { rows } = features;
  const badIds = findBadIds(ids);
  const badFeatures = features.width === width ? findNonFinite(features) : undefined;
  if (badIds.size === 0 && badFeatures?.size === 0) {
    return { count: rows, features, acceptedRows: undefined, rejects: [] };
  }
  const acceptedRows: number[] = [];
  const rejects: Reject[] = [];
  const values = new Float32Array(features.width === width ? rows * width : 0);
  for (let row = 0; row < rows; row++) {
    const reason =
      badIds.get(row) ??
      (badFeatures === undefined
        ? { code: 'WRONG_WIDTH' as const, message: `expected ${width} features, got ${features.width}` }
        : badFeatures.get(row));
    if (reason) {
      rejects.push({ row, code: reason.code, message: reason.message });
    } else {
      values.set(features.values.subarray(row * width, (row + 1) * width), acceptedRows.length * width);
      acceptedRows.push(row);
    }
  }
  const accepted = acceptedRows.length;
  return {
    count: rows,
    features: { rows: accepted, width, values: values.subarray(0, accepted * width) },
    acceptedRows,
    rejects,
  };
}

type BadRows = ReadonlyMap<number, Omit<Reject, 'row'>>;

/** One pass over the bytes; only an id that looks bad is decoded, and judged as any other id is. */
function findBadIds(ids: PackedIds): BadRows {
  const bad = new Map<number, Omit<Reject, 'row'>>();
  let row = 0;
  let start = 0;
  let suspect = false;
  for (let i = 0; i <= ids.length; i++) {
    const byte = i < ids.length ? ids[i] : LINE_FEED;
    if (byte === LINE_FEED) {
      // So many bytes that it may have too many characters.
      if (suspect || i === start || i - start > MAX_PRODUCT_ID_CHARACTERS) {
        const reason = checkProductId(decoder.decode(ids.subarray(start, i)));
        if (reason) bad.set(row, reason);
      }
      row++;
      start = i + 1;
      suspect = false;
    } else if (byte < 0x20 || byte === DELETE || byte === FIRST_OF_C1_CONTROLS) {
      suspect = true;
    }
  }
  return bad;
}

/** One pass over the numbers; only where one is not finite the rows are looked at one by one. */
function findNonFinite({ rows, width, values }: FeatureMatrix): BadRows {
  const bad = new Map<number, Omit<Reject, 'row'>>();
  if (areFinite(values)) return bad;
  for (let row = 0; row < rows; row++) {
    const feature = values.subarray(row * width, (row + 1) * width).findIndex((value) => !Number.isFinite(value));
    if (feature < 0) continue;
    const message = `feature ${feature} is not a finite float32 number: ${describe(values[row * width + feature])}`;
    bad.set(row, { code: 'NON_FINITE_FEATURE', message });
  }
  return bad;
}

/** x × 0 is 0 for finite numbers, and NaN for all others. Four sums, so that none waits for the one before. */
function areFinite(values: Float32Array): boolean {
  let [a, b, c, d] = [0, 0, 0, 0];
  const fours = values.length - (values.length % 4);
  for (let i = 0; i < fours; i += 4) {
    a += values[i] * 0;
    b += values[i + 1] * 0;
    c += values[i + 2] * 0;
    d += values[i + 3] * 0;
  }
  for (let i = fours; i < values.length; i++) a += values[i] * 0;
  return a + b + c + d === 0;
}

/** Cuts a table in two after `rows` rows, at least one. Both parts share its memory. */
export function sliceTable(table: ProductTable, rows: number): [ProductTable, ProductTable] {
  const { ids, features } = table;
  const { rows: all, width, values } = features;
  let end = -1;
  for (let row = 0; row < rows && (end >= 0 || row === 0); row++) end = ids.indexOf(LINE_FEED, end + 1);
  if (end < 0) end = ids.length;
  const at = rows * width;
  return [
    { ids: ids.subarray(0, end), features: { rows, width, values: values.subarray(0, at) } },
    { ids: ids.subarray(end + 1), features: { rows: all - rows, width, values: values.subarray(at) } },
  ];
}
