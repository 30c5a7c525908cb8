import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkProductId, productIdsOf, readProducts } from '../../src/domain/product.ts';

const WIDTH = 2;
const GOOD = [0.5, -0.5];

describe('a product id', () => {
  it.each([
    { title: 'of one character', id: 'a' },
    { title: 'of 200 characters', id: 'a'.repeat(200) },
    { title: 'of 200 emoji, each of which is two UTF-16 units', id: '🔩'.repeat(200) },
    { title: 'with spaces, quotes, slashes and separators', id: ' a "b" \'c\' ,;|/\\:{}[]<>%_' },
    { title: 'with accents and other scripts', id: 'peça-№5-部品-قطعة' },
    { title: 'with an emoji of several code points', id: '👩‍🔧' },
    { title: 'that starts and ends just outside the control characters', id: '\u0020~\u00a0' },
    { title: 'with the last characters before and after the surrogates', id: '\ud7ff\ue000\u{10ffff}' },
    { title: 'with a line separator, which is not a control character', id: 'a\u2028b\u2029c' },
    { title: 'that names a property of every object', id: '__proto__' },
  ])('$title is accepted', ({ id }) => {
    expect(checkProductId(id)).toBeUndefined();
  });

  it.each([
    { title: 'that is empty', id: '' },
    { title: 'of 201 characters', id: 'a'.repeat(201) },
    { title: 'of 201 emoji', id: '🔩'.repeat(201) },
    { title: 'with a line break', id: 'a\nb' },
    { title: 'that ends with a line break', id: 'a\n' },
    { title: 'with a NUL', id: 'a\0' },
    { title: 'with a tab', id: '\t' },
    { title: 'with a delete character', id: 'a\u007f' },
    { title: 'with a C1 control character', id: 'a\u0085b' },
    { title: 'with the last C1 control character', id: '\u009f' },
    { title: 'with the first half of a surrogate pair alone', id: 'a\ud83d' },
    { title: 'with the second half of a surrogate pair alone', id: '\udd29a' },
    { title: 'with the halves of a surrogate pair the wrong way round', id: '\udd29\ud83d' },
    { title: 'that is missing', id: undefined },
    { title: 'that is null', id: null },
    { title: 'that is a number', id: 42 },
    { title: 'that is an array of one string', id: ['a'] },
    { title: 'that is an object', id: { toString: () => 'a' } },
  ])('$title is refused', ({ id }) => {
    expect(checkProductId(id)?.code).toBe('INVALID_PRODUCT_ID');
  });

  it('is accepted exactly when it has 1 to 200 code points, none a control character and no half of a pair', () => {
    const unit = fc.oneof(
      { weight: 50, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }) },
      { weight: 1, arbitrary: fc.constantFrom('\ud83d', '\udd29', '\n', '\u0000', '\u007f', '\u0085') },
    );
    const id = fc.oneof(
      fc.string({ unit, maxLength: 5 }),
      fc.string({ unit: fc.constantFrom('a', '🔩'), minLength: 198, maxLength: 203 }),
    );
    fc.assert(
      fc.property(id, (text) => {
        const characters = [...text];
        const expected = characters.length >= 1 && characters.length <= 200 && !/[\p{Cc}\p{Cs}]/u.test(text);
        expect(checkProductId(text) === undefined).toBe(expected);
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    { title: 'a line break', character: '\n' },
    { title: 'an escape, which starts a command to a terminal', character: '\u001b' },
    { title: 'the one-character form of that escape', character: '\u009b' },
    { title: 'a delete character', character: '\u007f' },
  ])('with $title is shown without it', ({ character }) => {
    expect(checkProductId(`a${character}b`)?.message).not.toMatch(/\p{Cc}/u);
  });

  it('that is too long is shown in short, with no character cut in half', () => {
    fc.assert(
      fc.property(fc.nat(5), (spaces) => {
        const message = checkProductId(`${' '.repeat(spaces)}${'🔩'.repeat(201)}`)?.message ?? '';
        expect(message.length).toBeLessThan(160);
        expect(message).not.toMatch(/\p{Cs}/u);
      }),
    );
  });
});

describe('products of unknown origin', () => {
  it('are read into one matrix, in their order', () => {
    const table = readProducts(
      [
        { productId: 'a', features: [1, 2] },
        { productId: 'b', features: [3, 4] },
      ],
      WIDTH,
    );
    expect(table).toEqual({
      count: 2,
      features: { rows: 2, width: WIDTH, values: Float32Array.of(1, 2, 3, 4) },
      acceptedRows: undefined,
      rejects: [],
    });
  });

  it('may be none', () => {
    expect(readProducts([], WIDTH)).toEqual({
      count: 0,
      features: { rows: 0, width: WIDTH, values: new Float32Array() },
      acceptedRows: undefined,
      rejects: [],
    });
  });

  it('may have more properties than are needed, and the same id twice', () => {
    const product = { productId: 'a', features: GOOD, brand: 'x' };
    const { features, rejects } = readProducts([product, product], WIDTH);
    expect(features.rows).toBe(2);
    expect(rejects).toEqual([]);
  });

  it.each([
    { title: 'null', product: null, productId: null, code: 'INVALID_PRODUCT_ID' },
    { title: 'nothing', product: undefined, productId: null, code: 'INVALID_PRODUCT_ID' },
    { title: 'a string', product: 'a', productId: null, code: 'INVALID_PRODUCT_ID' },
    { title: 'a number', product: 1, productId: null, code: 'INVALID_PRODUCT_ID' },
    { title: 'an array', product: ['a', GOOD], productId: null, code: 'INVALID_PRODUCT_ID' },
    { title: 'an empty object', product: {}, productId: null, code: 'INVALID_PRODUCT_ID' },
    { title: 'without an id', product: { features: GOOD }, productId: null, code: 'INVALID_PRODUCT_ID' },
    {
      title: 'with a number as id',
      product: { productId: 7, features: GOOD },
      productId: null,
      code: 'INVALID_PRODUCT_ID',
    },
    {
      title: 'with a bad id',
      product: { productId: 'a\nb', features: GOOD },
      productId: 'a\nb',
      code: 'INVALID_PRODUCT_ID',
    },
    { title: 'without features', product: { productId: 'a' }, productId: 'a', code: 'WRONG_WIDTH' },
    { title: 'with one feature', product: { productId: 'a', features: [1] }, productId: 'a', code: 'WRONG_WIDTH' },
    {
      title: 'with an infinite feature',
      product: { productId: 'a', features: [1, Number.POSITIVE_INFINITY] },
      productId: 'a',
      code: 'NON_FINITE_FEATURE',
    },
    {
      title: 'with a bad id and bad features, which is named for its id',
      product: { productId: '', features: [] },
      productId: '',
      code: 'INVALID_PRODUCT_ID',
    },
  ])('reject one that is $title, alone and in its place', ({ product, productId, code }) => {
    const products = [{ productId: 'before', features: [1, 2] }, product, { productId: 'after', features: [3, 4] }];
    expect(productIdsOf(products)).toEqual(['before', productId, 'after']);
    const checked = readProducts(products, WIDTH);
    expect(checked.count).toBe(3);
    expect(checked.acceptedRows).toEqual([0, 2]);
    expect([...checked.features.values]).toEqual([1, 2, 3, 4]);
    expect(checked.rejects).toMatchObject([{ row: 1, code }]);
    expect(checked.rejects[0].message).not.toBe('');
  });

  it('are each either accepted with their own numbers or rejected once, in any mixture', () => {
    const good = fc.record({
      productId: fc.string({ minLength: 1, maxLength: 5 }),
      features: fc.tuple(fc.float({ noNaN: true, noDefaultInfinity: true }), fc.constant(1)),
    });
    const bad = fc.oneof(
      fc.constant({ productId: 'a', features: [1, Number.NaN] }),
      fc.constant({ productId: 'a', features: [1] }),
      fc.constant({ productId: '', features: GOOD }),
      fc.anything(),
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(good, bad)), (products) => {
        const { count, features, acceptedRows: someRows, rejects } = readProducts(products, WIDTH);
        expect(count).toBe(products.length);
        expect(someRows === undefined).toBe(rejects.length === 0);
        const acceptedRows = someRows ?? products.map((_, row) => row);
        expect(features.rows).toBe(acceptedRows.length);
        expect(features.values).toHaveLength(features.rows * WIDTH);
        const rows = [...acceptedRows, ...rejects.map(({ row }) => row)];
        expect(rows.toSorted((a, b) => a - b)).toEqual(products.map((_, row) => row));
        expect(rejects.map(({ row }) => row)).toEqual(rejects.map(({ row }) => row).toSorted((a, b) => a - b));
        acceptedRows.forEach((row, i) => {
          const product = products[row] as { features: number[] };
          expect([...features.values.subarray(i * WIDTH, (i + 1) * WIDTH)]).toEqual(product.features.map(Math.fround));
        });
      }),
    );
  });
});
