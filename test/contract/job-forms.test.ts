import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_CHUNK_PRODUCTS, PRODUCT_JOB, PRODUCTS_JOB, parseJob } from '../../src/contract/index.ts';

const PRODUCT = { productId: 'P1', features: [1, 2] };

/** Every form of a job: how it carries products. */
const FORMS = [
  { name: PRODUCT_JOB, form: 'one', carry: ([product]: readonly object[], runId?: unknown) => ({ ...product, runId }) },
  { name: PRODUCTS_JOB, form: 'chunk', carry: (products: readonly object[], runId?: unknown) => ({ products, runId }) },
] as const;

describe.each(FORMS)('a $name job', ({ name, form, carry }) => {
  it('is read with its products, which are not judged yet', () => {
    const parsed = parseJob(name, carry([PRODUCT], 'run-1'));
    expect(parsed).toMatchObject({ form, products: [PRODUCT], runId: 'run-1' });
  });

  it('needs no run', () => {
    expect(parseJob(name, carry([PRODUCT]))).toMatchObject({ form, products: [PRODUCT] });
  });

  it.each([
    { title: 'without an id', product: { features: [1] } },
    { title: 'without features', product: { productId: 'P1' } },
    { title: 'with nothing that is expected', product: { brand: 'x' } },
    { title: 'with features that are no numbers', product: { productId: 'P1', features: ['x'] } },
  ])('that has a product $title is still a job: the product is rejected, not the job', ({ product }) => {
    expect(parseJob(name, carry([product]))).toMatchObject({ form, products: [product] });
  });

  it.each([null, undefined, 'text', 7, true])('whose data is %j is no job, and the reason is a sentence', (data) => {
    expect(parseJob(name, data)).toMatch(/^data: .+/);
  });

  it.each([7, '', 'a b', null, {}])('with the run id %j is no job, and the reason names it', (runId) => {
    expect(parseJob(name, carry([PRODUCT], runId))).toMatch(/^runId: .+/);
  });

  it('never makes the reader throw, whatever it holds', () => {
    fc.assert(
      fc.property(fc.anything(), (data) => {
        const parsed = parseJob(name, data);
        if (typeof parsed === 'string') expect(parsed).not.toBe('');
        else expect(parsed.products.length).toBeGreaterThan(0);
      }),
    );
  });
});

describe('a chunk', () => {
  it.each([
    { title: 'no list', products: { 0: PRODUCT } },
    { title: 'nothing', products: undefined },
    { title: 'an empty list', products: [] },
    { title: 'too many products', products: Array(MAX_CHUNK_PRODUCTS + 1).fill(PRODUCT) },
  ])('with $title as products is no job, and the reason names them', ({ products }) => {
    expect(parseJob(PRODUCTS_JOB, { products })).toMatch(/^products: .+/);
  });

  it('may hold anything as a product: each is looked at for itself', () => {
    const products = [PRODUCT, null, 7, 'text', [], {}];
    expect(parseJob(PRODUCTS_JOB, { products })).toMatchObject({ form: 'chunk', products });
  });
});

describe('a job of another name', () => {
  it.each(['', 'Product', 'product ', 'category', 'products.unknown', '__proto__', 'toString'])(
    'such as %j is no job, and the reason says which names there are',
    (name) => {
      const reason = parseJob(name, PRODUCT);
      expect(reason).toContain(JSON.stringify(name));
      expect(reason).toContain(`'${PRODUCT_JOB}'`);
      expect(reason).toContain(`'${PRODUCTS_JOB}'`);
    },
  );
});
