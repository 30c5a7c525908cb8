/** How often each key came. */
export type Counts = Record<string, number>;

/** Without a prototype: a key may be any text, also the name of one of its members. */
export function createCounts(): Counts {
  return Object.create(null);
}

export function increment(counts: Counts, key: string, by = 1): void {
  counts[key] = (counts[key] ?? 0) + by;
}
