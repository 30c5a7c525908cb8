import { randomUUID } from 'node:crypto';

/** Width of the shipped model. */
export const WIDTH = 16;

/** The one line on standard error that every answer of the shipped model comes with. */
export const SYNTHETIC_NOTE = /^the model product-category \w+ was trained on synthetic data: [^\n]+\n$/;

export interface TestProduct {
  readonly productId: string;
  readonly features: number[];
}

/** A repeatable source of numbers from 0 to 1 (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Products around the three centres that the shipped model was trained on. */
export function makeProducts(count: number, seed = 1): TestProduct[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, i) => {
    const centre = [0, 3, -3][i % 3];
    const features = Array.from({ length: WIDTH }, () => Math.fround(centre + (random() - 0.5) * 2));
    return { productId: `P-${seed}-${i}`, features };
  });
}

export function toCsv(products: readonly TestProduct[]): string {
  const header = ['product_id', ...Array.from({ length: WIDTH }, (_, i) => `f${i}`)].join(',');
  return `${[header, ...products.map(({ productId, features }) => [productId, ...features].join(','))].join('\n')}\n`;
}

/** A Redis prefix that no other test uses. */
export function uniquePrefix(): string {
  return `{test-${randomUUID()}}`;
}
