// The same products for every rung: 16 numbers each, from a generator with a fixed seed.
import { packIds } from '../dist/contract/index.js';

export const WIDTH = 16;
const DISTINCT = 10_000;

/** Features of 10,000 distinct products, row-major; larger numbers of products repeat them under other ids. */
export const FEATURES = (() => {
  const values = new Float32Array(DISTINCT * WIDTH);
  let state = 42;
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = (state / 2 ** 32) * 10 - 5;
  }
  return values;
})();

/** @param {number} row */
export function productId(row) {
  return `SKU-${String(row).padStart(9, '0')}`;
}

/** @param {number} row */
export function product(row) {
  const start = (row % DISTINCT) * WIDTH;
  return { productId: productId(row), features: [...FEATURES.subarray(start, start + WIDTH)] };
}

/** @param {number} start @param {number} rows at most 10,000 */
export function productTable(start, rows) {
  const ids = packIds(Array.from({ length: rows }, (_, i) => productId(start + i)));
  return { ids, features: { rows, width: WIDTH, values: FEATURES.subarray(0, rows * WIDTH) } };
}
