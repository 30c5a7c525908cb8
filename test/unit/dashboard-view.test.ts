import { describe, expect, it } from 'vitest';
import { summarize } from '../../src/adapters/bullmq/dashboard-view.ts';

const products = Array.from({ length: 30 }, (_, i) => ({ productId: `P${i}`, features: [i, 0.5] }));

describe('the summary of a job', () => {
  it('of a chunk has the number of products, the first five and all that is not a product', () => {
    expect(summarize('products', { runId: 'night', products })).toEqual({
      runId: 'night',
      count: 30,
      firstProducts: [0, 1, 2, 3, 4].map((i) => `productId P${i}, features [${i},0.5]`),
    });
  });

  it('of a result has the number of results and of rejects, and the first five', () => {
    const results = products.map(({ productId }) => ({ productId, categoryCode: 'A', confidence: 1 }));
    expect(summarize('categories', { results, jobId: 'j' })).toEqual({
      jobId: 'j',
      count: 30,
      firstResults: [0, 1, 2, 3, 4].map((i) => `productId P${i}, categoryCode A, confidence 1`),
    });
    const rejects = results.map((_, row) => ({ row, code: 'WRONG_WIDTH', message: 'm' }));
    expect(summarize('categories.packed', { count: 40, rejects })).toEqual({
      count: 40,
      rejected: 30,
      firstRejects: [0, 1, 2, 3, 4].map((row) => `row ${row}, code WRONG_WIDTH, message m`),
    });
  });

  it('of a chunk has a line for what is no product as well', () => {
    expect(summarize('products', { products: [null, 7, 'text', ['a'], { productId: null }] })).toEqual({
      count: 5,
      firstProducts: ['null', '7', 'text', '["a"]', 'productId null'],
    });
  });

  it('is short whatever the data is: long lists, long texts, many fields, deep trees', () => {
    const deep = JSON.parse(`${'['.repeat(500)}${']'.repeat(500)}`);
    const wide = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`field ${i}`, i]));
    const text = 'x'.repeat(100_000);
    for (const data of [deep, wide, text, [text], { text, [text]: 1 }, Array(100_000).fill(1)]) {
      expect(JSON.stringify(summarize('other', data)).length).toBeLessThan(2000);
    }
    const features = Array(4096).fill(0.5);
    const chunk = summarize('products', { products: Array(100).fill({ productId: 'P', features }) });
    expect(JSON.stringify(chunk).length).toBeLessThan(2000);
  });

  it.each([null, undefined, 7, 'text', [1, 2], {}])('of %j is that', (data) => {
    expect(summarize('products', data)).toEqual(data);
    expect(summarize('categories.packed', data)).toEqual(data);
  });
});
