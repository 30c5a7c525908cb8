import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  MAX_CHUNK_PRODUCTS,
  MAX_PAYLOAD_BYTES,
  PACKED_PRODUCTS_JOB,
  PRODUCT_JOB,
  PRODUCTS_JOB,
  parseJob,
} from '../../src/contract/index.ts';

const PRODUCT = { productId: 'P1', features: [1, 2] };

const PACKED = { count: 1, width: 2, payload: '{categorizer}:payload:run-1-0:0000002a', bytes: 10, crc32: 42 };

/** Every form of a job that holds its products itself: how it carries them. */
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
        else expect('products' in parsed && parsed.products.length).toBeGreaterThan(0);
      }),
    );
  });
});

describe('a packed job', () => {
  it('is read with what it says of its payload, which is elsewhere', () => {
    const data = { ...PACKED, runId: 'run-1' };
    expect(parseJob(PACKED_PRODUCTS_JOB, data)).toEqual({ form: 'packed', packed: data, runId: 'run-1' });
  });

  it('needs no run', () => {
    expect(parseJob(PACKED_PRODUCTS_JOB, PACKED)).toMatchObject({ form: 'packed', packed: PACKED });
  });

  it.each([null, undefined, 'text', 7, true])('whose data is %j is no job, and the reason is a sentence', (data) => {
    expect(parseJob(PACKED_PRODUCTS_JOB, data)).toMatch(/^data: .+/);
  });

  it.each(Object.keys(PACKED))('without %s is no job, and the reason names it', (field) => {
    const data = Object.fromEntries(Object.entries(PACKED).filter(([name]) => name !== field));
    expect(parseJob(PACKED_PRODUCTS_JOB, data)).toMatch(new RegExp(`^${field}: .+`));
  });

  it.each([
    { field: 'count', value: 0 },
    { field: 'count', value: MAX_CHUNK_PRODUCTS + 1 },
    { field: 'count', value: 1.5 },
    { field: 'count', value: '1' },
    { field: 'width', value: 0 },
    { field: 'width', value: MAX_PAYLOAD_BYTES / 4 + 1 },
    { field: 'width', value: 2.5 },
    { field: 'payload', value: '' },
    { field: 'payload', value: null },
    { field: 'bytes', value: 0 },
    { field: 'bytes', value: MAX_PAYLOAD_BYTES + 1 },
    { field: 'crc32', value: -1 },
    { field: 'crc32', value: 2 ** 32 },
    { field: 'crc32', value: '0000002a' },
    { field: 'runId', value: 'a b' },
  ])('with $value as $field is no job, and the reason names it', ({ field, value }) => {
    expect(parseJob(PACKED_PRODUCTS_JOB, { ...PACKED, [field]: value })).toMatch(new RegExp(`^${field}: .+`));
  });

  it('may be as large as the limits', () => {
    const largest = { ...PACKED, count: MAX_CHUNK_PRODUCTS, bytes: MAX_PAYLOAD_BYTES, crc32: 0xffffffff };
    expect(parseJob(PACKED_PRODUCTS_JOB, largest)).toMatchObject({ form: 'packed', packed: largest });
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
      expect(reason).toContain(`'${PACKED_PRODUCTS_JOB}'`);
    },
  );
});
