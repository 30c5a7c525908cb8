import { type CataloguePage, INPUT_HASH_BYTES, type PlannedSlice } from './ports.ts';

const LINE_FEED = 0x0a;

/** Gathers products of catalogue pages into slices of one size. */
export interface SliceBuilder {
  readonly rows: number;
  /** @param inputHashes of all products of the page */
  add(page: CataloguePage, row: number, inputHashes: Uint8Array): void;
  /** What was gathered; the next begins empty. */
  take(number: number): PlannedSlice;
}

/** @param size products in a slice at most: after so many it must be taken */
export function createSliceBuilder(size: number, width: number): SliceBuilder {
  let values = new Float32Array(size * width);
  let inputHashes = new Uint8Array(size * INPUT_HASH_BYTES);
  let currentCategories: (string | null)[] = [];
  let ids = new Uint8Array(size * 16);
  let idsEnd = 0;
  let rows = 0;

  function addId(id: Uint8Array): void {
    if (idsEnd + id.length + 1 > ids.length) {
      const larger = new Uint8Array(2 * ids.length + id.length + 1);
      larger.set(ids);
      ids = larger;
    }
    if (rows > 0) ids[idsEnd++] = LINE_FEED;
    ids.set(id, idsEnd);
    idsEnd += id.length;
  }

  return {
    get rows() {
      return rows;
    },
    add({ products, idEnds, currentCategories: categories }, row, hashes) {
      addId(products.ids.subarray(row === 0 ? 0 : idEnds[row - 1] + 1, idEnds[row]));
      values.set(products.features.values.subarray(row * width, (row + 1) * width), rows * width);
      inputHashes.set(hashes.subarray(row * INPUT_HASH_BYTES, (row + 1) * INPUT_HASH_BYTES), rows * INPUT_HASH_BYTES);
      currentCategories.push(categories[row]);
      rows++;
    },
    take(number) {
      const slice: PlannedSlice = {
        number,
        products: {
          ids: ids.subarray(0, idsEnd),
          features: { rows, width, values: values.subarray(0, rows * width) },
        },
        currentCategories,
        inputHashes: inputHashes.subarray(0, rows * INPUT_HASH_BYTES),
      };
      values = new Float32Array(size * width);
      inputHashes = new Uint8Array(size * INPUT_HASH_BYTES);
      currentCategories = [];
      ids = new Uint8Array(ids.length);
      idsEnd = 0;
      rows = 0;
      return slice;
    },
  };
}
