/** Numbers product ids from 0, without a string for each: there may be a million of them. */

export interface IdIndex {
  readonly size: number;
  /** Adds the id that stands in these bytes. @returns whether it was new */
  add(bytes: Uint8Array, start: number, end: number): boolean;
  /** The number of the id that stands in these bytes, or -1. */
  find(bytes: Uint8Array, start: number, end: number): number;
}

const FIRST_SLOTS = 1 << 12;

/** A hash table with open addressing over the bytes of all ids, one after the other. */
export function createIdIndex(): IdIndex {
  let bytes = new Uint8Array(1 << 16);
  /** Where each id starts; the last one is where the next will. */
  let starts = new Uint32Array(FIRST_SLOTS);
  let size = 0;
  /** Number + 1, or 0. */
  let slots = new Uint32Array(FIRST_SLOTS);

  /** @returns the slot of the id, or the free one where it belongs */
  function slotOf(source: Uint8Array, start: number, end: number): number {
    let slot = hash(source, start, end) & (slots.length - 1);
    while (slots[slot] !== 0 && !isSame(slots[slot] - 1, source, start, end)) slot = (slot + 1) & (slots.length - 1);
    return slot;
  }

  function isSame(number: number, source: Uint8Array, start: number, end: number): boolean {
    const at = starts[number];
    if (starts[number + 1] - at !== end - start) return false;
    for (let i = 0; i < end - start; i++) if (bytes[at + i] !== source[start + i]) return false;
    return true;
  }

  function add(source: Uint8Array, start: number, end: number): boolean {
    const slot = slotOf(source, start, end);
    if (slots[slot] !== 0) return false;
    const at = starts[size];
    while (at + end - start > bytes.length) bytes = grown(bytes, new Uint8Array(2 * bytes.length));
    bytes.set(source.subarray(start, end), at);
    size++;
    starts[size] = at + end - start;
    slots[slot] = size;
    if (2 * size >= slots.length) grow();
    return true;
  }

  function grow(): void {
    starts = grown(starts, new Uint32Array(2 * starts.length));
    slots = new Uint32Array(2 * slots.length);
    for (let number = 0; number < size; number++) {
      slots[slotOf(bytes, starts[number], starts[number + 1])] = number + 1;
    }
  }

  return {
    get size() {
      return size;
    },
    add,
    find: (source, start, end) => slots[slotOf(source, start, end)] - 1,
  };
}

function grown<T extends Uint8Array | Uint32Array>(old: T, larger: T): T {
  larger.set(old);
  return larger;
}

/** FNV-1a. */
function hash(bytes: Uint8Array, start: number, end: number): number {
  let value = 0x811c9dc5;
  for (let i = start; i < end; i++) value = Math.imul(value ^ bytes[i], 0x01000193);
  return (value ^ (value >>> 15)) >>> 0;
}
