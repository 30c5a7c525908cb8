import { readdirSync, readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  jsonSchemaFiles,
  MAX_CHUNK_PRODUCTS,
  MAX_PAYLOAD_BYTES,
  PACKED_PRODUCTS_JOB,
  PRODUCT_JOB,
  PRODUCTS_JOB,
  parseJob,
  SCHEMAS,
} from '../../src/contract/index.ts';
import { REJECT_CODES, type RejectCode } from '../../src/domain/errors.ts';
import { readProducts } from '../../src/domain/product.ts';
import {
  type Json,
  nearlyValid,
  throughJson,
  validCategoriesResult,
  validCategoryResult,
  validProductJob,
  validProductsJob,
  validRunId,
} from '../support/fake-wire-data.ts';

const DIRECTORY = new URL('../../contract/', import.meta.url);

type Name = keyof typeof SCHEMAS;

const announcedPayload = {
  count: fc.integer({ min: 1, max: MAX_CHUNK_PRODUCTS }),
  payload: fc.string({ minLength: 1 }),
  bytes: fc.integer({ min: 1, max: MAX_PAYLOAD_BYTES }),
  crc32: fc.nat(0xffffffff),
};
const someRun = fc.option(validRunId, { nil: undefined });

const validPackedJob = fc
  .record({ ...announcedPayload, width: fc.integer({ min: 1, max: MAX_PAYLOAD_BYTES / 4 }), runId: someRun })
  .map(throughJson);

const validPackedResult = fc
  .record({
    ...announcedPayload,
    categories: fc.array(fc.string({ minLength: 1 })),
    rejects: fc.array(
      fc.record({
        row: fc.nat(MAX_CHUNK_PRODUCTS - 1),
        code: fc.constantFrom(...(Object.keys(REJECT_CODES) as RejectCode[])),
        message: fc.string(),
      }),
      { maxLength: 3 },
    ),
    model: fc.record({ version: fc.string({ minLength: 1 }), sha256: fc.stringMatching(/^[0-9a-f]{64}$/) }),
    runId: someRun,
    jobId: fc.string({ minLength: 1 }),
  })
  .map(throughJson);

const VALID: Record<Name, fc.Arbitrary<Json>> = {
  product: validProductJob,
  products: validProductsJob,
  'products.packed': validPackedJob,
  category: validCategoryResult,
  categories: validCategoriesResult,
  'categories.packed': validPackedResult,
};

const ajv = new Ajv2020({ allErrors: true });

function jsonSchemaOf(name: Name): (data: unknown) => boolean {
  const validate = ajv.compile(JSON.parse(jsonSchemaFiles().get(`${name}.schema.json`) ?? ''));
  return (data) => validate(data);
}

const BY_JSON_SCHEMA = Object.fromEntries(
  (Object.keys(SCHEMAS) as Name[]).map((name) => [name, jsonSchemaOf(name)]),
) as Record<Name, (data: unknown) => boolean>;

/** What a worker says: is it a job of this contract, and is each product that it holds itself right? */
function workerAccepts(name: Name, data: unknown): boolean {
  const parsed = parseJob(name, data);
  if (typeof parsed === 'string') return false;
  if (parsed.form === 'packed') return true;
  return parsed.products.every((product) => readProducts([product], widthOf(product)).rejects.length === 0);
}

/** The width is the model's, and no part of the schemas: here every product has the one that it shows. */
function widthOf(product: unknown): number {
  const features: unknown =
    typeof product === 'object' && product !== null && 'features' in product && product.features;
  return Array.isArray(features) ? Math.max(1, features.length) : 1;
}

describe('the JSON Schema files', () => {
  it('are those that the schemas give now: npm run contract writes them', () => {
    const written = readdirSync(DIRECTORY).filter((file) => file.endsWith('.schema.json'));
    expect(written.toSorted()).toEqual([...jsonSchemaFiles().keys()].toSorted());
    for (const [file, content] of jsonSchemaFiles()) {
      expect(readFileSync(new URL(file, DIRECTORY), 'utf8'), file).toBe(content);
    }
  });

  it('are of the 2020-12 dialect, with a title each', () => {
    for (const [file, content] of jsonSchemaFiles()) {
      expect(JSON.parse(content), file).toMatchObject({
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        title: expect.stringContaining(`'${file.replace('.schema.json', '')}'`),
      });
    }
  });
});

describe.each(Object.keys(SCHEMAS) as Name[])('the schema of %s', (name) => {
  const schema = SCHEMAS[name];

  it('accepts what the contract describes, and changes nothing in it', () => {
    fc.assert(
      fc.property(VALID[name], (data) => {
        expect(schema.parse(data)).toEqual(data);
        expect(BY_JSON_SCHEMA[name](data)).toBe(true);
      }),
    );
  });

  it('and its JSON Schema agree on any data, the nearly right too', () => {
    fc.assert(
      fc.property(nearlyValid(VALID[name]), (data) => {
        expect(BY_JSON_SCHEMA[name](data)).toBe(schema.safeParse(data).success);
      }),
      { numRuns: 1500 },
    );
  });

  it('lets through what it does not know, so that newer producers reach older readers', () => {
    fc.assert(
      fc.property(VALID[name], (data) => {
        const newer = { ...(data as object), addedInVersion2: { any: ['thing'] } };
        expect(schema.safeParse(newer).success).toBe(true);
        expect(BY_JSON_SCHEMA[name](newer)).toBe(true);
      }),
    );
  });
});

const JOBS = [PRODUCT_JOB, PRODUCTS_JOB, PACKED_PRODUCTS_JOB] as const;

describe.each(JOBS)('a worker and the schemas of a %s job', (name) => {
  it('agree on which jobs are wholly right', () => {
    fc.assert(
      fc.property(nearlyValid(VALID[name]), (data) => {
        const accepted = workerAccepts(name, data);
        expect(SCHEMAS[name].safeParse(data).success).toBe(accepted);
        expect(BY_JSON_SCHEMA[name](data)).toBe(accepted);
      }),
      { numRuns: 1500 },
    );
  });
});

describe.each([PRODUCT_JOB, PRODUCTS_JOB] as const)('a worker and the schemas of a %s job', (name) => {
  // Texts, as these numbers exist in JSON but not in every number type.
  it.each([
    { number: '3.4028234663852886e38', right: true },
    { number: '-3.4028234663852886e38', right: true },
    { number: '3.402823466385289e38', right: false },
    { number: '1e39', right: false },
    { number: '-1e400', right: false },
    { number: '1e-400', right: true },
    { number: '-0.0', right: true },
    { number: '123456789012345678901234567890', right: true },
    { number: '"1"', right: false },
    { number: 'null', right: false },
    { number: 'true', right: false },
  ])('agree on the feature $number', ({ number, right }) => {
    const product = `{"productId": "a", "features": [1, ${number}]}`;
    const data: unknown = JSON.parse(name === PRODUCT_JOB ? product : `{"products": [${product}]}`);
    expect(workerAccepts(name, data)).toBe(right);
    expect(SCHEMAS[name].safeParse(data).success).toBe(right);
    expect(BY_JSON_SCHEMA[name](data)).toBe(right);
  });
});

describe('a chunk', () => {
  it.each([
    { products: 0, right: false },
    { products: 1, right: true },
    { products: MAX_CHUNK_PRODUCTS, right: true },
    { products: MAX_CHUNK_PRODUCTS + 1, right: false },
  ])('of $products products: accepted is $right', ({ products, right }) => {
    const data = { products: Array.from({ length: products }, (_, i) => ({ productId: `P${i}`, features: [i] })) };
    expect(workerAccepts(PRODUCTS_JOB, data)).toBe(right);
    expect(SCHEMAS.products.safeParse(data).success).toBe(right);
    expect(BY_JSON_SCHEMA.products(data)).toBe(right);
  });
});

describe('a run id', () => {
  const withRun = (runId: unknown) => ({ productId: 'a', features: [1], runId });

  it('may be any of the few characters that are safe in job ids and file names', () => {
    fc.assert(
      fc.property(validRunId, (runId) => {
        expect(workerAccepts(PRODUCT_JOB, withRun(runId))).toBe(true);
      }),
    );
  });

  it.each(['', 'a b', 'a/b', 'a:b', 'ação', 'a\n', 'r'.repeat(101), 7, null])('may not be %j', (runId) => {
    expect(workerAccepts(PRODUCT_JOB, withRun(runId))).toBe(false);
    expect(SCHEMAS.product.safeParse(withRun(runId)).success).toBe(false);
    expect(BY_JSON_SCHEMA.product(withRun(runId))).toBe(false);
  });
});
