import { sliceTable } from '../domain/packed-products.ts';
import type { ProductTable } from '../domain/product.ts';

/** Cuts a stream of tables of any size into chunks of one size. */
export interface Chunker {
  /** @returns the chunks that are full now */
  add(table: ProductTable): ProductTable[];
  /** @returns what is left: one chunk, or none */
  rest(): ProductTable[];
}

const LINE_FEED = 0x0a;

/** @param size products in a chunk */
export function createChunker(size: number): Chunker {
  let parts: ProductTable[] = [];
  let gathered = 0;

  function take(): ProductTable {
    const chunk = joinTables(parts, gathered);
    parts = [];
    gathered = 0;
    return chunk;
  }

  return {
    add(table) {
      const chunks: ProductTable[] = [];
      let rest = table;
      while (gathered + rest.features.rows >= size) {
        const missing = size - gathered;
        const [head, tail] = sliceTable(rest, missing);
        parts.push(head);
        gathered = size;
        chunks.push(take());
        rest = tail;
      }
      if (rest.features.rows > 0) {
        parts.push(rest);
        gathered += rest.features.rows;
      }
      return chunks;
    },
    rest: () => (gathered > 0 ? [take()] : []),
  };
}

function joinTables(tables: readonly ProductTable[], rows: number): ProductTable {
  if (tables.length === 1) return tables[0];
  const { width } = tables[0].features;
  const values = new Float32Array(rows * width);
  const ids = new Uint8Array(tables.reduce((sum, table) => sum + table.ids.length + 1, -1));
  let row = 0;
  let byte = 0;
  for (const table of tables) {
    values.set(table.features.values, row * width);
    if (row > 0) ids[byte++] = LINE_FEED;
    row += table.features.rows;
    ids.set(table.ids, byte);
    byte += table.ids.length;
  }
  return { ids, features: { rows, width, values } };
}
