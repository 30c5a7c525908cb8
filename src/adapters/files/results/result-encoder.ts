/** Rows of text are put together as bytes: no string is made of an id that came as bytes, nor of a number. */
import { isUtf8 } from 'node:buffer';
import type { CategorizedProducts, ResultFile } from '../../../application/ports.ts';
import { unpackIds } from '../../../domain/packed-products.ts';
import { MAX_NUMBER_BYTES, putConfidence } from './result-confidence.ts';
import type { RowFormat } from './result-format.ts';

export type WrittenResult = Parameters<ResultFile['write']>[0];

const BLOCK_BYTES = 1 << 18;
const LINE_FEED = 0x0a;

export interface RowEncoder {
  /** Gives full blocks. A block is valid until the next one is asked for. */
  encode(result: WrittenResult): Generator<Uint8Array, void>;
  /** What no block was full with. */
  rest(): Uint8Array;
}

export function createRowEncoder(format: RowFormat): RowEncoder {
  const special = Array.from({ length: 256 }, (_, byte) => format.isSpecial(byte));
  const open = Buffer.from(format.start);
  const openQuoted = Buffer.from(format.start + format.quote);
  const closing = Buffer.from(format.quote);
  const categoryPieces = new Map<string, Uint8Array>();
  let block = new Uint8Array(2 * BLOCK_BYTES);
  let used = 0;

  function categoryPiece(code: string): Uint8Array {
    const known = categoryPieces.get(code);
    if (known) return known;
    const piece = Buffer.from(format.category(code));
    categoryPieces.set(code, piece);
    return piece;
  }

  /** Makes room for a piece of a row. */
  function reserve(bytes: number): void {
    if (block.length - used >= bytes) return;
    const larger = new Uint8Array(Math.max(2 * block.length, used + bytes));
    larger.set(block.subarray(0, used));
    block = larger;
  }

  function put(piece: Uint8Array): void {
    const target = block;
    let at = used;
    for (let i = 0; i < piece.length; i++) target[at++] = piece[i];
    used = at;
  }

  /** @returns where the next id starts */
  function putPackedId(ids: Uint8Array, start: number): number {
    let end = start;
    let isPlain = true;
    for (; end < ids.length; end++) {
      const byte = ids[end];
      if (byte === LINE_FEED) break;
      if (special[byte]) isPlain = false;
    }
    if (!isPlain) {
      putId(Buffer.from(ids.buffer, ids.byteOffset + start, end - start).toString());
      return end + 1;
    }
    reserve(end - start + openQuoted.length + closing.length);
    put(openQuoted);
    const target = block;
    let at = used;
    for (let i = start; i < end; i++) target[at++] = ids[i];
    used = at;
    put(closing);
    return end + 1;
  }

  function putId(id: string | null): void {
    const text = Buffer.from(format.id(id));
    reserve(open.length + text.length);
    put(open);
    put(text);
  }

  return {
    *encode({ products, modelVersion, resultId }) {
      const { rows, categories, categoryIndexes, confidences, rejects } = products;
      const ids = readIds(products);
      const beforeConfidence = categories.map(categoryPiece);
      const endText = format.end(modelVersion, resultId);
      const end = Buffer.from(endText);
      const endCategorized = Buffer.from(format.afterConfidence + endText);
      let nextId = 0;
      let nextReject = 0;
      for (let row = 0; row < rows; row++) {
        if (ids instanceof Uint8Array) nextId = putPackedId(ids, nextId);
        else putId(ids[row]);
        const reject = rejects[nextReject]?.row === row ? rejects[nextReject++] : undefined;
        const category = reject ? undefined : beforeConfidence[categoryIndexes[row]];
        if (category) {
          reserve(category.length + MAX_NUMBER_BYTES + endCategorized.length);
          put(category);
          used = putConfidence(block, used, confidences[row]);
          put(endCategorized);
        } else {
          const text = Buffer.from(format.uncategorized(reject));
          reserve(text.length + end.length);
          put(text);
          put(end);
        }
        if (used >= BLOCK_BYTES) {
          yield block.subarray(0, used);
          used = 0;
        }
      }
    },
    rest() {
      const bytes = block.subarray(0, used);
      used = 0;
      return bytes;
    },
  };
}

/** @returns the ids as bytes only where they are UTF-8: they are not looked at again */
export function readIds({ ids, rows }: CategorizedProducts): Uint8Array | readonly (string | null)[] {
  return ids instanceof Uint8Array && !isUtf8(ids) ? unpackIds(ids, rows) : ids;
}
