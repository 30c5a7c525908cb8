import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createInputHash } from '../../src/adapters/crypto/input-hash.ts';
import { INPUT_HASH_BYTES } from '../../src/application/recategorization/ports.ts';
import type { ModelInfo } from '../../src/domain/category.ts';
import { FAKE_MODEL } from '../support/fake-predictor.ts';

/** In hex, one for each row. */
function hashes(model: ModelInfo, values: Float32Array): string[] {
  const rows = values.length / model.width;
  const bytes = Buffer.from(createInputHash(model)({ rows, width: model.width, values }));
  expect(bytes).toHaveLength(rows * INPUT_HASH_BYTES);
  return Array.from({ length: rows }, (_, row) =>
    bytes.toString('hex', row * INPUT_HASH_BYTES, (row + 1) * INPUT_HASH_BYTES),
  );
}

function hash(model: Partial<ModelInfo> = {}, ...features: number[]): string {
  return hashes({ ...FAKE_MODEL, ...model }, Float32Array.from(features.length > 0 ? features : [1, 2]))[0];
}

const vectors = fc
  .array(fc.tuple(fc.float(), fc.float()), { minLength: 1, maxLength: 6 })
  .map((rows) => Float32Array.from(rows.flat()));

describe('the hash of an input', () => {
  it('is another where one bit of the vector is another, and for that product alone', () => {
    fc.assert(
      fc.property(vectors, fc.nat(), (values, place) => {
        const flipped = values.slice();
        const bit = place % (32 * values.length);
        // Within the bytes, not the numbers: a NaN must not lose its bits on the way.
        new Uint8Array(flipped.buffer)[bit >> 3] ^= 1 << (bit & 7);
        const row = Math.floor(bit / 64);
        const [before, after] = [hashes(FAKE_MODEL, values), hashes(FAKE_MODEL, flipped)];
        expect(after.map((each, i) => each === before[i])).toEqual(before.map((_, i) => i !== row));
      }),
    );
  });

  it('does not depend on the rows around it, nor on where in memory the vectors are', () => {
    fc.assert(
      fc.property(vectors, fc.nat(5), (values, offset) => {
        const within = new Float32Array(values.length + offset + 3).fill(7);
        within.set(values, offset);
        const alone = Array.from({ length: values.length / 2 }, (_, row) =>
          hashes(FAKE_MODEL, values.slice(2 * row, 2 * row + 2)),
        ).flat();
        expect(hashes(FAKE_MODEL, within.subarray(offset, offset + values.length))).toEqual(alone);
      }),
    );
  });

  it('is another for another model file', () => {
    expect(hash({ sha256: `${'0'.repeat(63)}1` })).not.toBe(hash());
  });

  it.each([
    { title: 'in another order', codes: ['B', 'A', 'C'] },
    { title: 'with one more', codes: ['A', 'B', 'C', 'D'] },
    { title: 'with one less', codes: ['A', 'B'] },
    { title: 'with another code', codes: ['A', 'B', 'c'] },
    { title: 'whose codes read the same when they are joined', codes: ['A', 'B","C'] },
  ])('is another for the categories $title', ({ codes }) => {
    expect(hash({ categories: codes.map((code) => ({ code, name: code })) })).not.toBe(hash());
  });

  it('is the same for the same file under another name and version, with its categories called otherwise', () => {
    const categories = FAKE_MODEL.categories.map(({ code }) => ({ code, name: `${code}, renamed` }));
    expect(hash({ name: 'other', version: '2', categories, trainingShares: { A: 1 } })).toBe(hash());
  });

  it('is the same tomorrow: what is in the database is compared with it', () => {
    expect(hash()).toBe('752cbdb7db99c26f523f9ab091ad2e2b');
  });

  it('of no products is empty', () => {
    expect(hashes(FAKE_MODEL, new Float32Array(0))).toEqual([]);
  });
});
