import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as contract from '../../src/contract/index.ts';
import {
  chunkJobId,
  failedReasonOf,
  JOB_OPTIONS,
  MAX_CHUNK_PRODUCTS,
  MAX_PAYLOAD_BYTES,
  maxChunkProducts,
  packIds,
  packProducts,
  parseFailedReason,
  payloadKey,
  payloadKeyStart,
  resultIdOf,
} from '../../src/contract/index.ts';
import { ERROR_CODES, REJECT_CODES } from '../../src/domain/errors.ts';
import { validRunId } from '../support/fake-wire-data.ts';

const ROOT = new URL('../../', import.meta.url);

function readJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(new URL(path, ROOT), 'utf8'));
}

describe('the id of a result', () => {
  it('is made of the id of its input job', () => {
    expect(resultIdOf('night-7', 1_700_000_000_000)).toBe('r-night-7');
  });

  it('carries the timestamp too where BullMQ numbered the job, as numbers start again when a queue is wiped', () => {
    expect(resultIdOf('12', 1_700_000_000_000)).toBe('r-12-1700000000000');
    expect(resultIdOf('12', 1_700_000_000_001)).not.toBe(resultIdOf('12', 1_700_000_000_000));
  });

  it('is the same for the same job, and another for another', () => {
    const jobId = fc.oneof(fc.string({ minLength: 1 }), fc.nat().map(String));
    const timestamp = fc.integer({ min: 1_600_000_000_000, max: 1_900_000_000_000 });
    fc.assert(
      fc.property(jobId, jobId, timestamp, (a, b, at) => {
        expect(resultIdOf(a, at) === resultIdOf(b, at)).toBe(a === b);
      }),
    );
  });

  it('is one that BullMQ takes, whoever named the job: no integer, no colon', () => {
    const jobId = fc.oneof(fc.string({ minLength: 1 }), fc.nat().map(String), fc.constant('repeat:shop:nightly:17'));
    fc.assert(
      fc.property(jobId, (id) => {
        expect(resultIdOf(id, 1)).not.toMatch(/^-?\d+$|:/);
      }),
    );
  });
});

describe('the id of a chunk', () => {
  it('differs for every chunk of every run', () => {
    fc.assert(
      fc.property(validRunId, fc.nat(), validRunId, fc.nat(), (run, number, otherRun, otherNumber) => {
        const same = run === otherRun && number === otherNumber;
        expect(chunkJobId(run, number) === chunkJobId(otherRun, otherNumber)).toBe(same);
      }),
    );
  });

  it('is one that BullMQ takes: no integer, no colon', () => {
    fc.assert(
      fc.property(fc.oneof(validRunId, fc.nat().map(String)), fc.nat(), (run, number) => {
        expect(chunkJobId(run, number)).not.toMatch(/^-?\d+$|:/);
      }),
    );
  });
});

describe('the key of a payload', () => {
  it('names its owner, and its content in 8 hex digits', () => {
    expect(payloadKey('{categorizer}', 'night-7', 0xab)).toBe('{categorizer}:payload:night-7:000000ab');
    expect(payloadKey('{categorizer}', 'r-night-7', 0xffffffff)).toBe('{categorizer}:payload:r-night-7:ffffffff');
  });

  it('lies below the start that bounds what a worker touches, and differs for every owner and every content', () => {
    const owner = fc.stringMatching(/^[A-Za-z0-9._-]{1,100}-\d{1,9}$/);
    const crc32 = fc.nat(0xffffffff);
    fc.assert(
      fc.property(fc.constantFrom('{categorizer}', 'p'), owner, crc32, owner, crc32, (prefix, a, crcA, b, crcB) => {
        const key = payloadKey(prefix, a, crcA);
        expect(key.startsWith(payloadKeyStart(prefix))).toBe(true);
        expect(key === payloadKey(prefix, b, crcB)).toBe(a === b && crcA === crcB);
        expect(payloadKey(prefix, a, crcA)).not.toBe(payloadKey(prefix, a, crcA ^ 1));
      }),
    );
  });

  it('is none of the keys that BullMQ makes for its queues', () => {
    for (const queue of [contract.PRODUCT_QUEUE, contract.RESULT_QUEUE]) {
      expect(`{categorizer}:${queue}:1`.startsWith(payloadKeyStart('{categorizer}'))).toBe(false);
    }
  });
});

describe('the reason of a failed job', () => {
  const codes = [...Object.keys(ERROR_CODES), ...Object.keys(REJECT_CODES)];

  it('gives its code and its sentence again', () => {
    fc.assert(
      fc.property(fc.constantFrom(...codes), fc.string({ unit: 'binary' }), (code, message) => {
        expect(parseFailedReason(failedReasonOf(code, message))).toEqual({ code, message });
      }),
    );
  });

  it('keeps a sentence of several lines and with colons', () => {
    const message = 'first: line\nsecond: line\r\n';
    expect(parseFailedReason(`INVALID_JOB: ${message}`)).toEqual({ code: 'INVALID_JOB', message });
  });

  it.each([
    { reason: 'job stalled more than allowable limit', code: 'STALLED' },
    { reason: 'Cannot read properties of undefined', code: 'UNKNOWN' },
    { reason: 'TypeError: x is not a function', code: 'UNKNOWN' },
    { reason: '', code: 'UNKNOWN' },
  ])('that BullMQ or a defect gave is kept whole: $reason', ({ reason, code }) => {
    expect(parseFailedReason(reason)).toEqual({ code, message: reason });
  });
});

describe('the largest chunk for a width', () => {
  it.each([1, 2, 16, 64, 300, 1024, 5000])('of %i fits in a payload even with the longest ids', (width) => {
    const rows = maxChunkProducts(width);
    expect(rows).toBeGreaterThanOrEqual(1);
    expect(rows).toBeLessThanOrEqual(MAX_CHUNK_PRODUCTS);
    const ids = packIds(Array(rows).fill('🔩'.repeat(200)));
    const { bytes } = packProducts({ ids, features: { rows, width, values: new Float32Array(rows * width) } });
    expect(bytes).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
  });

  it.each([300, 1024, 5000])('of %i is no smaller than it must be', (width) => {
    const longestProduct = 4 * width + Buffer.byteLength(`${'🔩'.repeat(200)}\n`);
    const more = maxChunkProducts(width) + 1;
    expect(more > MAX_CHUNK_PRODUCTS || more * longestProduct > MAX_PAYLOAD_BYTES).toBe(true);
  });

  it('is never less than one product', () => {
    expect(maxChunkProducts(10_000_000)).toBe(1);
  });
});

describe('the options of a job', () => {
  it('try infrastructure errors 5 times with growing, scattered pauses, and keep what fails for good', () => {
    expect(JOB_OPTIONS).toMatchObject({
      attempts: 5,
      backoff: { type: 'exponential', jitter: expect.any(Number) },
      removeOnFail: false,
    });
  });
});

describe('the package', () => {
  const { exports, files } = readJson('package.json') as {
    exports: Record<string, string | { types: string; default: string }>;
    files: string[];
  };
  const { compilerOptions } = readJson('tsconfig.build.json') as { compilerOptions: Record<string, unknown> };

  it('exports the contract as files that the build makes and the package holds', () => {
    expect(compilerOptions).toMatchObject({ rootDir: 'src', outDir: 'dist', declaration: true });
    expect(files).toContain('dist');
    const target = exports['./contract'];
    expect(target).toEqual({ types: './dist/contract/index.d.ts', default: './dist/contract/index.js' });
    expect(existsSync(new URL('src/contract/index.ts', ROOT))).toBe(true);
  });

  it('holds the JSON Schema files', () => {
    expect(files).toContain('contract');
  });

  it('exports what producers and collectors need', () => {
    expect(Object.keys(contract)).toEqual(
      expect.arrayContaining([
        'CONTRACT_VERSION',
        'DEFAULT_PREFIX',
        'JOB_OPTIONS',
        'MAX_CHUNK_JSON_BYTES',
        'MAX_CHUNK_PRODUCTS',
        'MAX_PAYLOAD_BYTES',
        'MAX_PRODUCT_ID_CHARACTERS',
        'PAYLOAD_TTL_HOURS',
        'PRODUCT_QUEUE',
        'RESULT_QUEUE',
        'SCHEMAS',
        'categoriesResultSchema',
        'categoryResultSchema',
        'maxChunkProducts',
        'packIds',
        'packOutcomes',
        'packProducts',
        'packedCategoriesResultSchema',
        'packedProductsJobSchema',
        'payloadKey',
        'productJobSchema',
        'productsJobSchema',
        'parseFailedReason',
        'resultIdOf',
        'unpackOutcomes',
        'unpackProducts',
      ]),
    );
  });

  it('names the queues as version 1 of the contract does', () => {
    expect(contract).toMatchObject({
      CONTRACT_VERSION: 1,
      PRODUCT_QUEUE: 'product-categorization',
      RESULT_QUEUE: 'product-categories',
      DEFAULT_PREFIX: '{categorizer}',
    });
  });
});
