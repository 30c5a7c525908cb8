import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_FLOAT32, readFeatures } from '../../src/domain/features.ts';

const WIDTH = 3;

function read(values: unknown, target = new Float32Array(WIDTH), offset = 0) {
  return readFeatures(values, WIDTH, target, offset);
}

describe('a feature vector that is accepted', () => {
  it('is written as float32 at its offset, and nowhere else', () => {
    const target = new Float32Array(WIDTH + 2).fill(7);
    expect(read([0.1, -2, 3e-50], target, 1)).toBeUndefined();
    expect([...target]).toEqual([7, Math.fround(0.1), -2, 0, 7]);
  });

  it.each([MAX_FLOAT32, -MAX_FLOAT32, 0, -0, Number.MIN_VALUE, 5e-324, 2 ** -149, 1])(
    'may hold %s, which is finite in float32',
    (value) => {
      const target = new Float32Array(WIDTH);
      expect(read([value, value, value], target)).toBeUndefined();
      expect(target[0]).toBe(Math.fround(value));
    },
  );

  it('never leaves a number in the matrix that is not finite, whatever numbers came', () => {
    fc.assert(
      fc.property(fc.array(fc.double(), { minLength: WIDTH, maxLength: WIDTH }), (values) => {
        const target = new Float32Array(WIDTH);
        const accepted = read(values, target) === undefined;
        expect(accepted).toBe(values.every((value) => Math.abs(value) <= MAX_FLOAT32));
        if (accepted) expect([...target]).toEqual(values.map(Math.fround));
        expect(target.every(Number.isFinite)).toBe(true);
      }),
    );
  });
});

describe('a feature vector of the wrong width', () => {
  it.each([
    { values: [], got: '0' },
    { values: [1, 2], got: '2' },
    { values: [1, 2, 3, 4], got: '4' },
    { values: undefined, got: 'nothing' },
    { values: null, got: 'null' },
    { values: {}, got: 'an object' },
    { values: new Float32Array(WIDTH), got: 'an object' },
    { values: { length: WIDTH, 0: 1, 1: 1, 2: 1 }, got: 'an object' },
    { values: 'abc', got: '"abc"' },
    { values: 5, got: '5' },
  ])('is refused with what was expected and what came: $got', ({ values, got }) => {
    expect(read(values)).toEqual({ code: 'WRONG_WIDTH', message: `expected 3 features, got ${got}` });
  });

  it('is refused for its width before any of its numbers is looked at', () => {
    expect(read([Number.NaN, 'x'])?.code).toBe('WRONG_WIDTH');
  });
});

describe('a feature that is not a finite float32 number', () => {
  it.each([
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    1e39,
    -1e39,
    MAX_FLOAT32 * (1 + Number.EPSILON),
    Number.MAX_VALUE,
    '1',
    '',
    null,
    undefined,
    true,
    [1],
    {},
    1n,
  ])('is refused: %s', (value) => {
    expect(read([1, value, 3])?.code).toBe('NON_FINITE_FEATURE');
  });

  it('is refused where the array has a hole', () => {
    const sparse = [1, 2, 3];
    delete sparse[1];
    expect(read(sparse)?.code).toBe('NON_FINITE_FEATURE');
  });

  it('is named by its place and shown', () => {
    expect(read([1, 2, 1e39])?.message).toBe('feature 2 is not a finite float32 number: 1e+39');
    expect(read([1, 'abc', 1e39])?.message).toBe('feature 1 is not a finite float32 number: "abc"');
    expect(read([[1], 2, 3])?.message).toBe('feature 0 is not a finite float32 number: an array');
  });

  it('makes a short message however long it is', () => {
    expect(read([1, 'x'.repeat(1_000_000), 3])?.message.length).toBeLessThan(120);
  });
});
