/** A set of 64 bit hashes, in halves, with 8 bytes for each place. */
export interface HashSet {
  readonly size: number;
  /** @returns whether it was new */
  add(low: number, high: number): boolean;
  has(low: number, high: number): boolean;
  /** Empties it, and keeps its memory. */
  clear(): void;
}

/** Open addressing: the hashes are random enough to be their own places. @param expected how many there may be */
export function createHashSet(expected = 0): HashSet {
  let slots = 1 << 10;
  while (slots < 2 * expected) slots *= 2;
  let halves = new Uint32Array(2 * slots);
  let size = 0;
  /** Two zeros are a free place, so that the hash of two zeros has one of its own. */
  let hasZero = false;

  /** @returns where the hash stands, or the free place where it belongs */
  function placeOf(low: number, high: number): number {
    let place = 2 * (low & (slots - 1));
    while ((halves[place] !== 0 || halves[place + 1] !== 0) && (halves[place] !== low || halves[place + 1] !== high)) {
      place = (place + 2) & (2 * slots - 1);
    }
    return place;
  }

  function grow(): void {
    const old = halves;
    slots *= 2;
    halves = new Uint32Array(2 * slots);
    for (let i = 0; i < old.length; i += 2) {
      if (old[i] !== 0 || old[i + 1] !== 0) halves.set([old[i], old[i + 1]], placeOf(old[i], old[i + 1]));
    }
  }

  function has(low: number, high: number): boolean {
    if (low === 0 && high === 0) return hasZero;
    const place = placeOf(low, high);
    return halves[place] === low && halves[place + 1] === high;
  }

  return {
    get size() {
      return size;
    },
    add(low, high) {
      if (has(low, high)) return false;
      size++;
      if (low === 0 && high === 0) {
        hasZero = true;
        return true;
      }
      if (2 * size > slots) grow();
      const place = placeOf(low, high);
      halves[place] = low;
      halves[place + 1] = high;
      return true;
    },
    has,
    clear() {
      halves.fill(0);
      size = 0;
      hasZero = false;
    },
  };
}
