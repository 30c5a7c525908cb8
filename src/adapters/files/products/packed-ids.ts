import type { PackedIds } from '../../../domain/product.ts';

export const LINE_FEED = 0x0a;

/** Where each id starts and ends. */
export function forEachId(ids: PackedIds, found: (start: number, end: number, row: number) => void): void {
  let start = 0;
  for (let row = 0; start <= ids.length; row++) {
    const lineFeed = ids.indexOf(LINE_FEED, start);
    const end = lineFeed < 0 ? ids.length : lineFeed;
    found(start, end, row);
    start = end + 1;
  }
}
