import { mkdir } from 'node:fs/promises';
import type { Job } from 'bullmq';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import {
  type ProductJobData,
  type ProductsJobData,
  productJobSchema,
  productsJobSchema,
} from '../../src/contract/index.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts, type TestProduct, toCsv } from '../support/products.ts';

const toJsonLines = (products: readonly TestProduct[]) =>
  products.map((product) => `${JSON.stringify(product)}\n`).join('');
const FORMATS = { csv: toCsv, jsonl: toJsonLines };

let workspace: Workspace;
let queues: Queues;

beforeEach(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
});
afterEach(async () => {
  await queues.close();
  await workspace.remove();
});

async function enqueue(args: readonly string[], options: { env?: Record<string, string>; input?: string } = {}) {
  const { env, input } = options;
  return runCli(['enqueue', ...args], { env: { ...queues.env, ...env }, input });
}

/** The jobs that wait, the oldest first, in the form that the contract promises. */
async function waitingJobs(): Promise<{ id: string; name: string; data: ProductJobData | ProductsJobData }[]> {
  const jobs: Job[] = await queues.products.getWaiting(0, -1);
  return jobs
    .map(({ id = '', name, data }) => ({
      id,
      name,
      data: (name === 'product' ? productJobSchema : productsJobSchema).strict().parse(data),
    }))
    .sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }));
}

describe.each(['csv', 'jsonl'] as const)('enqueue of %s', (format) => {
  const products = makeProducts(7);

  it.each(['a file', 'standard input'])('from %s sends chunks in the order of the input', async (from) => {
    const text = FORMATS[format](products);
    const args = from === 'a file' ? [await workspace.write('catalogue', text)] : ['-'];
    const { code, stdout, stderr } = await enqueue(
      [...args, '--run', 'R', '--chunk-size', '3', '--rejects', workspace.path('r'), '--json'],
      { input: args[0] === '-' ? text : undefined },
    );
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      runId: 'R',
      products: 7,
      enqueued: 7,
      jobs: 3,
      rejected: 0,
      rejectedByCode: {},
      rejectFiles: [],
    });
    expect(code).toBe(0);
    expect((await waitingJobs()).map(({ name, data }) => ({ name, data }))).toEqual([
      { name: 'products', data: { products: products.slice(0, 3), runId: 'R' } },
      { name: 'products', data: { products: products.slice(3, 6), runId: 'R' } },
      { name: 'product', data: { ...products[6], runId: 'R' } },
    ]);
  });

  it('with a chunk size of 1 sends each product as a job of its own', async () => {
    const file = await workspace.write('catalogue', FORMATS[format](products));
    const { code, stdout } = await enqueue([file, '--run', 'R', '--chunk-size', '1']);
    expect(stdout).toMatch(/^run +R\nproducts +7\nenqueued +7 in 7 jobs\nrejected +0\n$/);
    expect(code).toBe(0);
    expect(await waitingJobs()).toMatchObject(products.map((product) => ({ name: 'product', data: product })));
  });
});

describe('enqueue', () => {
  const two = makeProducts(2);

  it('makes up a run id where none is said, and says which', async () => {
    const file = await workspace.write('catalogue.csv', toCsv(two));
    const { stdout } = await enqueue([file]);
    const runId = /^run +(\S+)$/m.exec(stdout)?.[1];
    expect(runId).toMatch(/^\d{8}T\d{6}Z-[0-9a-f]{6}$/);
    expect((await waitingJobs()).map(({ data }) => data.runId)).toEqual([runId]);
  });

  it('reads the format that is said and not the one it looks like', async () => {
    const file = await workspace.write('catalogue.csv', toCsv(two));
    const { code, stdout } = await enqueue([file, '--format', 'jsonl']);
    expect(stdout).toMatch(/^rejected +3 \(INVALID_ROW 3\)$/m);
    expect(code).toBe(3);
  });

  it('of the same file twice under one run adds nothing twice', async () => {
    const file = await workspace.write('catalogue.csv', toCsv(makeProducts(7)));
    const command = [file, '--run', 'R', '--chunk-size', '3'];
    const first = await enqueue(command);
    const jobs = await waitingJobs();
    expect(await enqueue(command)).toEqual(first);
    expect(await waitingJobs()).toEqual(jobs);
  });

  it('of another file under the same run drops none of its products silently', async () => {
    const mended = makeProducts(3, 2);
    await enqueue([await workspace.write('first.csv', toCsv(makeProducts(3, 1))), '--run', 'R']);
    const { code } = await enqueue([await workspace.write('mended.csv', toCsv(mended)), '--run', 'R']);
    const sent = (await waitingJobs()).flatMap(({ data }) => ('products' in data ? data.products : [data]));
    const ids = new Set(sent.map(({ productId }) => productId));
    // To refuse the second file would do as well.
    const lost = code === 1 ? [] : mended.filter(({ productId }) => !ids.has(productId));
    expect(lost).toEqual([]);
  });

  it('--dry-run checks everything, needs no Redis, sends and writes nothing', async () => {
    const header = toCsv([]);
    const file = await workspace.write('catalogue.csv', `${toCsv(two)}P3,1,2\n`);
    await workspace.write('catalogue.csv.rejects.csv', header);
    const { code, stdout, stderr } = await enqueue([file, '--dry-run', '--run', 'R', '--json'], {
      env: { REDIS_URL: 'redis://127.0.0.1:1' },
    });
    expect(stderr).toBe('line 4: INVALID_ROW: expected 17 columns, got 3\n');
    expect(JSON.parse(stdout)).toMatchObject({ products: 3, enqueued: 2, rejected: 1, rejectFiles: [] });
    expect(code).toBe(3);
    expect(await workspace.names()).toEqual(['catalogue.csv', 'catalogue.csv.rejects.csv']);
    expect(await workspace.read('catalogue.csv.rejects.csv')).toBe(header);
    expect(await waitingJobs()).toEqual([]);
  });

  it('--width goes before the manifest, which is not needed then', async () => {
    const file = await workspace.write('narrow.csv', 'product_id,f0,f1\nP1,1,2\nP2,3,4\n');
    const { code } = await enqueue([file, '--width', '2'], { env: { MODEL_PATH: workspace.path('none.onnx') } });
    expect(code).toBe(0);
    expect(await waitingJobs()).toMatchObject([{ data: { products: [{ features: [1, 2] }, { features: [3, 4] }] } }]);
  });

  it('takes columns by their names and leaves out what it does not know', async () => {
    const file = await workspace.write('mixed.csv', 'f1,brand,product_id,f0\n2,"ACME, Inc",P1,1\n4,,P2,3\n');
    const { code } = await enqueue([file, '--width', '2']);
    expect(code).toBe(0);
    expect(await waitingJobs()).toMatchObject([
      {
        data: {
          products: [
            { productId: 'P1', features: [1, 2] },
            { productId: 'P2', features: [3, 4] },
          ],
        },
      },
    ]);
  });

  it('of a header and nothing else is done, with no product', async () => {
    const { code, stdout, stderr } = await enqueue([await workspace.write('empty.csv', toCsv([])), '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ products: 0, enqueued: 0, jobs: 0 });
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(await waitingJobs()).toEqual([]);
  });

  const header = toCsv([]).trimEnd();
  it.each([
    ['a file that is not there', undefined, [], 'INPUT_NOT_READABLE', /ENOENT/],
    ['an empty file', '', [], 'INPUT_NOT_READABLE', /it is empty/],
    [
      'a header without product_id',
      `${header.replace('product_id', 'id')}\n`,
      [],
      'INPUT_NOT_READABLE',
      /no column product_id/,
    ],
    ['a header without f3', `${header.replace('f3', 'x')}\n`, [], 'INPUT_NOT_READABLE', /column f3 is missing/],
    [
      'a header with too few features',
      'product_id,f0,f1\nP1,1,2\n',
      [],
      'WRONG_WIDTH',
      /expects 16 feature columns.*got 2/,
    ],
    [
      'a header that --width does not fit',
      toCsv(two),
      ['--width', '15'],
      'WRONG_WIDTH',
      /expects 15 feature columns.*got 16/,
    ],
    ['JSON lines that are said to be CSV', toJsonLines(two), ['--format', 'csv'], 'INPUT_NOT_READABLE', /cannot read/],
  ])('of %s ends with 1, names the file and sends nothing', async (_case, content, args, error, message) => {
    const file = workspace.path('input');
    if (content !== undefined) await workspace.write('input', content);
    const { code, stdout, stderr } = await enqueue([file, ...args]);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr.startsWith(`${error}: cannot read ${file}: `)).toBe(true);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(code).toBe(1);
    expect(await waitingJobs()).toEqual([]);
    expect(await workspace.names()).toEqual(content === undefined ? [] : ['input']);
  });

  it.each([[[]], [['--format', 'csv']], [['--format', 'jsonl']]])('of a directory (%s) ends with 1', async (args) => {
    await mkdir(workspace.path('directory'));
    const { code, stdout, stderr } = await enqueue([workspace.path('directory'), ...args]);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^INPUT_NOT_READABLE: cannot read .*directory: EISDIR.*\n$/);
    expect(code).toBe(1);
    expect(await workspace.names()).toEqual(['directory']);
  });

  it('of an empty standard input names it', async () => {
    const { code, stdout, stderr } = await enqueue(['-', '--rejects', workspace.path('r')], { input: '' });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^INPUT_NOT_READABLE: cannot read standard input: it is empty/);
    expect(code).toBe(1);
  });
});
