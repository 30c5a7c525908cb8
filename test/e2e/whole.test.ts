import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { REJECT_CODES, type RejectCode } from '../../src/domain/errors.ts';
import { addPackedChunks } from '../support/bulk-chunks.ts';
import {
  collectRun,
  createProducer,
  type OutputRow,
  type Producer,
  predictedCategories,
  untilDone,
} from '../support/load.ts';
import { startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, type TestProduct, uniquePrefix, WIDTH } from '../support/products.ts';

const good = Array.from({ length: WIDTH }, () => 0.5);
const withFeature = (value: unknown) => ({ features: [...good.slice(1), value] });

/** Every way in which a product can be bad, and the code that it must get. */
const BAD_PRODUCTS: readonly { readonly code: RejectCode; readonly product: object }[] = [
  { code: 'WRONG_WIDTH', product: { features: good.slice(1) } },
  { code: 'WRONG_WIDTH', product: { features: [...good, 1] } },
  { code: 'WRONG_WIDTH', product: { features: [] } },
  { code: 'WRONG_WIDTH', product: { features: 'none' } },
  { code: 'WRONG_WIDTH', product: { features: undefined } },
  { code: 'NON_FINITE_FEATURE', product: withFeature(1e39) },
  { code: 'NON_FINITE_FEATURE', product: withFeature(-1e39) },
  // JSON has no NaN: it travels as null.
  { code: 'NON_FINITE_FEATURE', product: withFeature(Number.NaN) },
  { code: 'NON_FINITE_FEATURE', product: withFeature('1.5') },
  { code: 'NON_FINITE_FEATURE', product: withFeature([1]) },
  { code: 'INVALID_PRODUCT_ID', product: { productId: '', features: good } },
  { code: 'INVALID_PRODUCT_ID', product: { productId: 'x'.repeat(201), features: good } },
  { code: 'INVALID_PRODUCT_ID', product: { productId: 'line\nbreak', features: good } },
  { code: 'INVALID_PRODUCT_ID', product: { productId: 7, features: good } },
  { code: 'INVALID_PRODUCT_ID', product: { productId: null, features: good } },
  // Finite, but too large for the sums of the model.
  { code: 'PREDICTION_FAILED', product: { features: good.map(() => 3e38) } },
];

/** Those of them that flat arrays can carry. */
const BAD_PACKED_PRODUCTS: readonly { readonly code: RejectCode; readonly product: Partial<TestProduct> }[] = [
  { code: 'NON_FINITE_FEATURE', product: { features: [...good.slice(1), Number.NaN] } },
  { code: 'NON_FINITE_FEATURE', product: { features: [Number.POSITIVE_INFINITY, ...good.slice(1)] } },
  { code: 'INVALID_PRODUCT_ID', product: { productId: '' } },
  { code: 'INVALID_PRODUCT_ID', product: { productId: 'x'.repeat(201) } },
  { code: 'INVALID_PRODUCT_ID', product: { productId: 'a\u0007bell' } },
  { code: 'PREDICTION_FAILED', product: { features: good.map(() => 3e38) } },
];

/** Every hundredth product is bad, in each of the ways in turn. */
function withBad<P extends object>(
  products: readonly TestProduct[],
  label: string,
  ways: readonly { readonly code: RejectCode; readonly product: P }[],
) {
  const accepted: TestProduct[] = [];
  const bad: { productId: string; code: RejectCode; place: number }[] = [];
  const mixed = products.map((product, i) => {
    if (i % 100 !== 50) {
      accepted.push(product);
      return product;
    }
    const { code, product: change } = ways[Math.floor(i / 100) % ways.length];
    bad.push({ productId: `${label}-bad-${i}`, code, place: i });
    return { productId: `${label}-bad-${i}`, features: good, ...change };
  });
  return { mixed, accepted, bad };
}

describe('30,000 products over all three forms, one in a hundred bad', () => {
  const CHUNK = 250;
  const prefix = uniquePrefix();
  const ones = withBad(makeProducts(10_000, 1), 'one', BAD_PRODUCTS);
  const chunks = withBad(makeProducts(10_000, 2), 'chunk', BAD_PRODUCTS);
  const packed = withBad(makeProducts(10_000, 3), 'packed', BAD_PACKED_PRODUCTS);
  let directory: string;
  let producer: Producer;
  let worker: WorkerProcess;
  let oneRows: OutputRow[];
  let chunkRows: OutputRow[];
  let packedRows: OutputRow[];

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'categorizer-whole-'));
    const env = { REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: prefix };
    producer = createProducer(env.REDIS_URL, prefix);
    worker = await startWorker(env);
    await Promise.all([
      producer.addOneByOne(ones.mixed, 'ones'),
      producer.addChunks(chunks.mixed, CHUNK, 'chunks'),
      addPackedChunks(producer, env.REDIS_URL, packed.mixed, CHUNK, 'packed'),
    ]);
    await untilDone(producer.queue);
    oneRows = await collectRun('ones', directory, env);
    chunkRows = await collectRun('chunks', directory, env);
    packedRows = await collectRun('packed', directory, env);
  }, 120_000);

  afterAll(async () => {
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    await producer.close();
    await rm(directory, { recursive: true });
  });

  it('each accepted product has exactly one result, and it is what predict says', async () => {
    const accepted = [...ones.accepted, ...chunks.accepted, ...packed.accepted];
    const expected = await predictedCategories(accepted, directory);
    const categorized = [...oneRows, ...chunkRows, ...packedRows].filter(
      ({ categoryCode }) => categoryCode !== undefined,
    );
    expect(categorized).toHaveLength(accepted.length);
    expect(new Map(categorized.map(({ productId, categoryCode }) => [productId, categoryCode]))).toEqual(expected);
  });

  it.each(['chunks', 'packed'] as const)('each bad product of %s is rejected in its place, with its code', (form) => {
    const { rows, bad, resultId } = {
      chunks: { rows: chunkRows, bad: chunks.bad, resultId: (chunk: number) => `r-chunks-chunk-${chunk}` },
      packed: { rows: packedRows, bad: packed.bad, resultId: (chunk: number) => `r-packed-${chunk}` },
    }[form];
    expect(rows.filter(({ reject }) => reject !== undefined)).toHaveLength(bad.length);
    const inPlace = bad.map(({ place }) => {
      const ofChunk = rows.filter((row) => row.resultId === resultId(Math.floor(place / CHUNK)));
      return ofChunk[place % CHUNK].reject?.code;
    });
    expect(inPlace).toEqual(bad.map(({ code }) => code));
  });

  it('each bad product with a job of its own fails that job once, with its code', async () => {
    const failed = await producer.queue.getFailed(0, -1);
    const codeOfJob = new Map(failed.map((job) => [job.id, job.failedReason?.split(':')[0]]));
    expect(codeOfJob).toEqual(new Map(ones.bad.map(({ place, code }) => [`ones-one-${place}`, code])));
    expect(failed.every((job) => job.attemptsMade === 1)).toBe(true);
  });

  it('meets every code that a product can get', () => {
    const met = new Set([...ones.bad, ...chunks.bad].map(({ code }) => code));
    const ofWholeJobsOrFiles = ['INVALID_JOB', 'INVALID_ROW', 'DUPLICATE_PRODUCT_ID'];
    expect([...met, ...ofWholeJobsOrFiles].sort()).toEqual(Object.keys(REJECT_CODES).sort());
  });
});

describe('a job that is none of the contract', () => {
  const product = { productId: 'P1', features: good };
  const packedOf = (payload: string) => ({ count: 1, payload, bytes: 66, crc32: 0, width: WIDTH });
  let producer: Producer;
  let worker: WorkerProcess;

  // One worker for all of them: what one job does to it, the next would meet.
  beforeAll(async () => {
    const env = { REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: uniquePrefix() };
    producer = createProducer(env.REDIS_URL, env.QUEUE_PREFIX);
    worker = await startWorker(env);
  });
  afterAll(async () => {
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    await producer.close();
  });

  it.each([
    ['an unknown name', 'produto', { ...product }],
    ['no data', 'product', null],
    ['products that are no list', 'products', { products: 'P1' }],
    ['an empty chunk', 'products', { products: [] }],
    ['a chunk of 10,001', 'products', { products: Array.from({ length: 10_001 }, () => 0) }],
    ['a payload below another prefix', 'products.packed', packedOf('{other}:payload:x:00000000')],
    ['a payload of no bytes', 'products.packed', { ...packedOf('x'), bytes: 0 }],
    ['a run id with a colon', 'product', { ...product, runId: 'a:b' }],
  ])('with %s fails at once with INVALID_JOB', async (_case, name, data) => {
    const { id } = await producer.queue.add(name, data);
    await untilDone(producer.queue);
    const job = await producer.queue.getJob(id ?? '');
    expect(job?.failedReason).toMatch(/^INVALID_JOB: ./);
    expect(job?.attemptsMade).toBe(1);
  });
});
