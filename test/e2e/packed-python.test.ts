import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import {
  PACKED_CATEGORIES_RESULT,
  packIds,
  packOutcomes,
  payloadKey,
  payloadKeyStart,
  RESULT_QUEUE,
} from '../../src/contract/index.ts';
import { createProducer, type Producer, predictedCategories, untilDone } from '../support/load.ts';
import { startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, type TestProduct, uniquePrefix, WIDTH } from '../support/products.ts';

const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url));
const REQUIREMENTS = join(EXAMPLES, 'requirements.txt');
/** In a folder that git ignores. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache', import.meta.url));
const INSTALL_MS = 180_000;

const run = promisify(execFile);

/** The first Python that is new enough and can make environments with pip in them. */
async function findPython(): Promise<string | undefined> {
  const probe = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))';
  for (const name of ['python3', 'python3.13', 'python3.12', 'python3.11']) {
    const found = await run(name, ['-c', probe]).then(
      () => true,
      () => false,
    );
    if (found) return name;
  }
  return undefined;
}

/**
 * A Python with the packages of the examples. It is made once for each content of requirements.txt: whole, and moved into
 * place then, so that an interrupted installation is made again and two at once do not meet.
 *
 * @returns its path, or why there is none here
 */
async function preparePython(): Promise<{ readonly python: string } | { readonly reason: string }> {
  const hash = createHash('sha256')
    .update(await readFile(REQUIREMENTS))
    .digest('hex');
  const environment = join(CACHE, `packed-python-${hash.slice(0, 16)}`);
  const pythonIn = (directory: string) => join(directory, 'bin', 'python');
  const works = (python: string) =>
    run(python, ['-c', 'import bullmq, redis']).then(
      () => true,
      () => false,
    );
  if (await works(pythonIn(environment))) return { python: pythonIn(environment) };
  const base = await findPython();
  if (base === undefined) return { reason: 'there is no Python 3.11 or newer with its venv module' };
  const draft = `${environment}.${process.pid}`;
  try {
    await run(base, ['-m', 'venv', draft]);
    const quiet = ['--quiet', '--disable-pip-version-check', '--retries', '1', '--timeout', '10'];
    const install = ['-m', 'pip', 'install', ...quiet, '--requirement', REQUIREMENTS];
    await run(pythonIn(draft), install, { timeout: INSTALL_MS - 30_000 });
    // Where another test run was first, its environment stays. One that does not work was made from a Python that is gone.
    if (!(await works(pythonIn(environment)))) {
      await rm(environment, { recursive: true, force: true });
      await rename(draft, environment);
    }
    return { python: pythonIn(environment) };
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim().split('\n').at(-1) : '';
    return { reason: `the packages of examples/requirements.txt cannot be installed: ${said || error}` };
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Ids with characters of every length in UTF-8; enough products for two chunks. */
function makeCatalogue(): TestProduct[] {
  const marks = ['', '-ção', '-№€', '-🔩 "x", y'];
  return makeProducts(9000).map(({ productId, features }, i) => ({
    productId: `${productId}${marks[i % marks.length]}`,
    features,
  }));
}

const BAD_LINES = [
  { line: `BAD-NOT-A-NUMBER,x${',1'.repeat(WIDTH - 1)}`, id: 'BAD-NOT-A-NUMBER', code: 'NON_FINITE_FEATURE' },
  { line: `BAD-INFINITE,inf${',1'.repeat(WIDTH - 1)}`, id: 'BAD-INFINITE', code: 'NON_FINITE_FEATURE' },
  { line: `BAD-TOO-LARGE,1e39${',1'.repeat(WIDTH - 1)}`, id: 'BAD-TOO-LARGE', code: 'NON_FINITE_FEATURE' },
  { line: 'BAD-TOO-FEW,1,2', id: 'BAD-TOO-FEW', code: 'NON_FINITE_FEATURE' },
  { line: `,1${',1'.repeat(WIDTH - 1)}`, id: '', code: 'INVALID_PRODUCT_ID' },
  { line: `${'é'.repeat(201)}${',1'.repeat(WIDTH)}`, id: 'é'.repeat(201), code: 'INVALID_PRODUCT_ID' },
];

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

describe('the Python examples of the packed format', () => {
  const prefix = uniquePrefix();
  const env = { REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: prefix };
  let prepared: Awaited<ReturnType<typeof preparePython>>;
  let directory: string;
  let worker: WorkerProcess;
  let products: Producer;
  let results: Queue;
  let redis: Redis;

  beforeAll(async () => {
    prepared = await preparePython();
    directory = await mkdtemp(join(tmpdir(), 'categorizer-packed-'));
    redis = new Redis(env.REDIS_URL, { maxRetriesPerRequest: null });
    products = createProducer(env.REDIS_URL, prefix);
    results = new Queue(RESULT_QUEUE, { connection: redis, prefix });
    worker = await startWorker(env);
  }, INSTALL_MS + 60_000);

  afterAll(async () => {
    worker?.kill('SIGTERM');
    await worker?.ended;
    await products?.close();
    await results?.close();
    redis?.disconnect();
    if (directory) await rm(directory, { recursive: true });
  });

  /** Runs an example. @returns what it printed; skips the test where Python cannot run here */
  async function runExample(
    { skip }: { skip(reason: string): never },
    file: string,
    args: readonly string[],
  ): Promise<{ readonly stdout: string; readonly stderr: string }> {
    if ('reason' in prepared) return skip(prepared.reason);
    return run(prepared.python, [join(EXAMPLES, file), ...args], {
      env: { PATH: process.env.PATH, PYTHONUTF8: '1', ...env },
      maxBuffer: 64 * 1024 * 1024,
    });
  }

  const payloadsLeft = () => redis.keys(`${payloadKeyStart(prefix)}*`);

  it('send a file and print the categories that `predict` gives, with what is rejected in its place', async (context) => {
    const catalogue = makeCatalogue();
    const input = join(directory, 'catalogue.csv');
    const header = ['product_id', ...Array.from({ length: WIDTH }, (_, i) => `f${i}`)].join(',');
    const lines = catalogue.map(({ productId, features }) => [quoted(productId), ...features].join(','));
    lines.splice(4000, 0, ...BAD_LINES.map(({ line }) => line));
    await writeFile(input, `${[header, ...lines].join('\n')}\n`);

    await runExample(context, 'packed_producer.py', [input, 'py-1']);
    await untilDone(products.queue);
    expect(await products.queue.getJobCounts('completed', 'failed')).toEqual({ completed: 2, failed: 0 });

    const { stdout, stderr } = await runExample(context, 'packed_consumer.py', ['py-1']);
    expect(stderr).toBe('');
    const printed = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t'));
    const predicted = await predictedCategories(catalogue, directory);
    const expected = catalogue.map(({ productId }) => [productId, predicted.get(productId)]);
    expected.splice(4000, 0, ...BAD_LINES.map(({ id, code }) => [id, code]));
    expect(printed.map(([id, code]) => [id, code])).toEqual(expected);
    expect(new Set(predicted.values()).size).toBeGreaterThan(1);

    const rejected = new Set(BAD_LINES.map(({ id }) => id));
    for (const [id, , confidence] of printed) {
      if (rejected.has(id)) expect(confidence, id).toBe('nan');
      else expect(Number(confidence), id).toBeGreaterThan(1 / 3);
    }

    // Nothing is left of them: neither results nor payloads, the worker's included.
    expect(await results.getWaitingCount()).toBe(0);
    await vi.waitFor(async () => expect(await payloadsLeft()).toEqual([]));
  });

  it('add a chunk once, though it is sent twice', async (context) => {
    const input = join(directory, 'twice.csv');
    const [{ productId, features }] = makeProducts(1);
    await writeFile(input, `product_id${',f'.repeat(WIDTH)}\n${[productId, ...features].join(',')}\n`);
    const before = await products.queue.getCompletedCount();
    for (let i = 0; i < 2; i++) {
      await runExample(context, 'packed_producer.py', [input, 'py-twice']);
      await untilDone(products.queue);
    }
    expect(await products.queue.getCompletedCount()).toBe(before + 1);
    expect((await runExample(context, 'packed_consumer.py', ['py-twice'])).stdout.split('\n')).toHaveLength(2);
  });

  /** Puts a result on the queue, as a worker does. */
  async function publish(runId: string, productId: string, options: { readonly payload?: Buffer } = {}) {
    const { payload, ...announced } = packOutcomes({
      ids: packIds([productId]),
      categoryIndexes: Uint16Array.of(0),
      confidences: Float32Array.of(0.5),
    });
    const jobId = `r-${runId}-0`;
    const key = payloadKey(prefix, jobId, announced.crc32);
    await redis.set(key, options.payload ?? payload, 'EX', 600);
    const model = { version: '1', sha256: '0'.repeat(64) };
    const data = { ...announced, payload: key, categories: ['A'], rejects: [], model, runId, jobId: `${runId}-0` };
    await results.add(PACKED_CATEGORIES_RESULT, data, { jobId });
    return key;
  }

  it('print a result once, though it comes a second time after it was collected, and remove both', async (context) => {
    for (const expected of ['P1\tA\t0.500000\n', '']) {
      const key = await publish('py-again', 'P1');
      expect((await runExample(context, 'packed_consumer.py', ['py-again'])).stdout).toBe(expected);
      expect(await results.getJob('r-py-again-0')).toBeUndefined();
      expect(await redis.exists(key)).toBe(0);
    }
  });

  it('leave the results of other runs, and those whose payload is damaged', async (context) => {
    await publish('py-other', 'P1');
    await publish('py-damaged', 'P1', { payload: Buffer.from('not what was said') });
    const { stdout, stderr } = await runExample(context, 'packed_consumer.py', ['py-damaged']);
    expect(stdout).toBe('');
    expect(stderr).toContain('r-py-damaged-0: its payload is gone or damaged');
    const left = await results.getWaiting();
    expect(left.map(({ id }) => id).toSorted()).toEqual(['r-py-damaged-0', 'r-py-other-0']);
  });
});
