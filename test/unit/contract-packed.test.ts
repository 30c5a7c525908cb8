import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Packed,
  packIds,
  packOutcomes,
  packProducts,
  unpackOutcomes,
  unpackProducts,
} from '../../src/contract/index.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import type { ProductTable } from '../../src/domain/product.ts';

const WIDTH = 3;

/** Of 1, 2, 3 and 4 bytes in UTF-8, a byte order mark among them. */
const character = fc.constantFrom('a', ' ', '"', 'ç', '€', '\ufeff', '\u2028', '🔩');
const someIds = fc.array(fc.string({ unit: character, minLength: 1, maxLength: 9 }), { minLength: 1, maxLength: 9 });

const someProducts = someIds.chain((ids) =>
  fc
    .float32Array({ minLength: ids.length * WIDTH, maxLength: ids.length * WIDTH })
    .map((values) => ({ ids, values, table: tableOf(ids, values) })),
);

const someOutcomes = someIds.chain((ids) =>
  fc.record({
    ids: fc.constant(ids),
    categoryIndexes: fc.uint16Array({ minLength: ids.length, maxLength: ids.length }),
    confidences: fc.float32Array({ minLength: ids.length, maxLength: ids.length }),
  }),
);

function tableOf(ids: readonly string[], values: Float32Array, width = WIDTH): ProductTable {
  return { ids: packIds(ids), features: { rows: ids.length, width, values } };
}

/** The same bytes, beginning so many after a place where any typed array may begin. */
function movedBy(offset: number, payload: Uint8Array): Uint8Array {
  const moved = new Uint8Array(new ArrayBuffer(payload.length + offset), offset);
  moved.set(payload);
  return moved;
}

/** What a job would say of these bytes, had they been its payload. */
function announcing(payload: Uint8Array, count: number) {
  return { count, bytes: payload.length, crc32: crc32(payload), width: WIDTH };
}

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('it did not throw');
}

describe('the payload of a packed job', () => {
  it('is little-endian numbers, row by row, then the ids with line feeds between', () => {
    const { payload } = packProducts(tableOf(['a', 'ç'], Float32Array.of(1, -2, 0.5, 0, 1.5, -0), 3));
    const numbers = '0000803f' + '000000c0' + '0000003f' + '00000000' + '0000c03f' + '00000080';
    expect(payload.toString('hex')).toBe(`${numbers}610ac3a7`);
  });

  it('is announced with its count, its length and the CRC-32 of zlib', () => {
    const { payload, ...announced } = packProducts(tableOf(['a'], Float32Array.of(1, 2, 3)));
    expect(announced).toEqual({ count: 1, bytes: 13, crc32: crc32(payload) });
    expect(crc32('123456789')).toBe(0xcbf43926);
  });

  it('gives the same products again, wherever in memory it begins', () => {
    fc.assert(
      fc.property(someProducts, fc.nat(7), ({ ids, values, table }, offset) => {
        const packed = packProducts(table);
        const found = unpackProducts(movedBy(offset, packed.payload), { ...packed, width: WIDTH });
        expect(found.features).toEqual({ rows: ids.length, width: WIDTH, values });
        expect(unpackIds(found.ids, ids.length)).toEqual(ids);
        expect(Buffer.from(found.ids).equals(Buffer.from(ids.join('\n')))).toBe(true);
      }),
    );
  });

  it('can be made of rows in the midst of a larger array', () => {
    const values = Float32Array.of(9, 9, 1, 2, 3, 9);
    const packed = packProducts(tableOf(['a'], values.subarray(2, 5)));
    expect(packed).toEqual(packProducts(tableOf(['a'], Float32Array.of(1, 2, 3))));
  });

  it('is looked into without a copy where its numbers are aligned', () => {
    const packed = packProducts(tableOf(['a'], Float32Array.of(1, 2, 3)));
    const payload = movedBy(0, packed.payload);
    const { ids, features } = unpackProducts(payload, { ...packed, width: WIDTH });
    expect(features.values.buffer).toBe(payload.buffer);
    expect(ids.buffer).toBe(payload.buffer);
  });
});

describe('the payload of a packed result', () => {
  it('is category indexes, zeros up to a multiple of 4, confidences, then the ids as they came', () => {
    const { payload } = packOutcomes({
      ids: packIds(['a', 'b', 'ç']),
      categoryIndexes: Uint16Array.of(1, NO_CATEGORY, 258),
      confidences: Float32Array.of(0.5, 2, 1),
    });
    expect(payload.toString('hex')).toBe(`0100ffff0201${'0000'}${'0000003f'}${'00000040'}${'0000803f'}610a620ac3a7`);
  });

  it.each([
    { count: 1, padding: 2 },
    { count: 2, padding: 0 },
    { count: 3, padding: 2 },
    { count: 4, padding: 0 },
    { count: 9999, padding: 2 },
    { count: 10_000, padding: 0 },
  ])('of $count products has $padding bytes of padding', ({ count, padding }) => {
    const { payload, bytes } = packOutcomes({
      ids: packIds(Array(count).fill('x')),
      categoryIndexes: new Uint16Array(count).fill(NO_CATEGORY),
      confidences: new Float32Array(count).fill(1),
    });
    expect(bytes).toBe(2 * count + padding + 4 * count + (2 * count - 1));
    expect([...payload.subarray(2 * count, 2 * count + padding)]).toEqual(Array(padding).fill(0));
    expect(payload.readFloatLE(2 * count + padding)).toBe(1);
  });

  it('gives the same outcomes again, wherever in memory it begins', () => {
    fc.assert(
      fc.property(someOutcomes, fc.nat(7), ({ ids, categoryIndexes, confidences }, offset) => {
        const packed = packOutcomes({ ids: packIds(ids), categoryIndexes, confidences });
        const found = unpackOutcomes(movedBy(offset, packed.payload), packed);
        expect(found.categoryIndexes).toEqual(categoryIndexes);
        expect(found.confidences).toEqual(confidences);
        expect(unpackIds(found.ids, ids.length)).toEqual(ids);
      }),
    );
  });

  it('can be made of rows in the midst of larger arrays', () => {
    const ids = packIds(['a', 'b']);
    const part = packOutcomes({
      ids,
      categoryIndexes: Uint16Array.of(9, 1, 2, 9).subarray(1, 3),
      confidences: Float32Array.of(9, 0.5, 1, 9).subarray(1, 3),
    });
    const whole = { ids, categoryIndexes: Uint16Array.of(1, 2), confidences: Float32Array.of(0.5, 1) };
    expect(part).toEqual(packOutcomes(whole));
  });
});

/** Both kinds: a payload of 2 products and how it is read. */
const KINDS = [
  {
    kind: 'job',
    packed: packProducts(tableOf(['a', 'b'], Float32Array.of(1, 2, 3, 4, 5, 6))),
    numberBytes: 2 * WIDTH * 4,
    unpack: (payload: Uint8Array, announced: Omit<Packed, 'payload'>) =>
      unpackProducts(payload, { ...announced, width: WIDTH }),
  },
  {
    kind: 'result',
    packed: packOutcomes({
      ids: packIds(['a', 'b']),
      categoryIndexes: Uint16Array.of(0, 1),
      confidences: Float32Array.of(0.5, 1),
    }),
    numberBytes: 2 * 2 + 2 * 4,
    unpack: unpackOutcomes,
  },
];

describe.each(KINDS)('a payload of a packed $kind that is not what its job says', ({ packed, numberBytes, unpack }) => {
  const { payload, count } = packed;

  function expectInvalid(run: () => unknown, reason: string): void {
    expect(thrownBy(run)).toMatchObject({
      code: 'PAYLOAD_INVALID',
      retryable: false,
      message: expect.stringContaining(`the payload is not whole: ${reason}`),
    });
  }

  it.each([-1, 1])('is refused where %i bytes are too many', (more) => {
    const other = Buffer.alloc(payload.length + more);
    payload.copy(other);
    expectInvalid(() => unpack(other, packed), `it has ${payload.length + more} bytes, its job says ${payload.length}`);
  });

  it('is refused where any one bit is another', () => {
    fc.assert(
      fc.property(fc.nat(8 * payload.length - 1), (bit) => {
        const other = Buffer.from(payload);
        other[bit >> 3] ^= 1 << (bit & 7);
        const reason = `its CRC-32 is ${crc32(other)}, its job says ${crc32(payload)}`;
        expectInvalid(() => unpack(other, packed), reason);
      }),
    );
  });

  it('is refused where it is too short for so many products', () => {
    const short = payload.subarray(0, numberBytes - 1);
    const reason = `${numberBytes - 1} bytes are too few for 2 products`;
    expectInvalid(() => unpack(short, announcing(short, count)), reason);
  });

  it.each([
    { ids: 'a', found: 1 },
    { ids: '', found: 1 },
    { ids: 'a\nb\n', found: 3 },
    { ids: 'a\nb\nc', found: 3 },
  ])('is refused where it has $found ids for 2 products: %j', ({ ids, found }) => {
    const other = Buffer.concat([payload.subarray(0, numberBytes), Buffer.from(ids)]);
    expectInvalid(() => unpack(other, announcing(other, count)), `it has ${found} ids for 2 products`);
  });

  it.each([
    { title: 'half a character', bytes: [0x61, 0x0a, 0xc3] },
    { title: 'a byte of no character', bytes: [0xff, 0x0a, 0x62] },
    { title: 'a surrogate', bytes: [0xed, 0xa0, 0x80, 0x0a, 0x62] },
    { title: 'a longer form than needed', bytes: [0xc0, 0x8a, 0x0a, 0x62] },
  ])('is refused where its ids are not UTF-8: $title', ({ bytes }) => {
    const other = Buffer.concat([payload.subarray(0, numberBytes), Buffer.from(bytes)]);
    expectInvalid(() => unpack(other, announcing(other, count)), 'its ids are not UTF-8');
  });

  it('is read where nothing is wrong', () => {
    expect(unpackIds(unpack(payload, packed).ids, count)).toEqual(['a', 'b']);
  });
});
