import { mkdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { waitingChunks, waitingProducts } from '../support/bulk-chunks.ts';
import { toJsonLines, writeParquet } from '../support/bulk-input.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';

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

const products = makeProducts(7);
const CHUNKS_OF_3 = [
  { id: 'R-0', runId: 'R', products: products.slice(0, 3) },
  { id: 'R-1', runId: 'R', products: products.slice(3, 6) },
  { id: 'R-2', runId: 'R', products: products.slice(6) },
];

describe.each(['csv', 'jsonl'] as const)('enqueue of %s', (format) => {
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
      jobs: 3,
      sentNow: { jobs: 3, products: 7 },
      sentBefore: { jobs: 0, products: 0 },
      rejected: 0,
      skipped: 0,
      rejectedByCode: {},
      rejectFiles: [],
      totals: {
        runId: 'R',
        ...{ read: 7, skipped: 0, rejected: 0, rejectedByCode: {}, sent: 7, sentNow: 7, sentBefore: 0 },
        ...{ categorized: 0, answered: 0, waiting: 7, failed: 0, failedByCode: {}, missing: 0, missingJobs: 0 },
        models: [],
      },
    });
    expect(code).toBe(0);
    expect(await waitingChunks(queues)).toEqual(CHUNKS_OF_3);
  });
});

describe('enqueue', () => {
  const two = makeProducts(2);

  it('of Parquet sends chunks in the order of the input', async () => {
    const file = await writeParquet(workspace.path('c.parquet'), products, 'productId AS product_id, features');
    const { code, stdout } = await enqueue([file, '--run', 'R', '--chunk-size', '3']);
    expect(stdout).toMatch(
      /^run +R\nread +7\nrejected +0\nsent now +7\nsent before +0\ncategorized +0\non the queue +7\nfailed +0\nmissing +0\n$/,
    );
    expect(code).toBe(0);
    expect(await waitingChunks(queues)).toEqual(CHUNKS_OF_3);
  });

  it('with a chunk size of 1 sends each product as a chunk of its own', async () => {
    const file = await workspace.write('c.csv', toCsv(products));
    expect((await enqueue([file, '--run', 'R', '--chunk-size', '1'])).code).toBe(0);
    expect((await waitingChunks(queues)).map((chunk) => chunk.products)).toEqual(products.map((one) => [one]));
  });

  it('makes the run id of the content where none is said, and says which', async () => {
    const runIdOf = async (name: string, content: string, ...args: string[]) => {
      const { stdout } = await enqueue([await workspace.write(name, content), '--dry-run', ...args]);
      return /^run +(\S+)$/m.exec(stdout)?.[1];
    };
    const runId = await runIdOf('a.csv', toCsv(two));
    expect(runId).toMatch(/^import-[0-9a-f]{16}$/);
    expect(await runIdOf('b.csv', toCsv(two))).toBe(runId);
    expect(await runIdOf('b.csv', toCsv([...two].reverse()))).not.toBe(runId);
    expect(await runIdOf('b.csv', toCsv(two), '--on-duplicate', 'first')).not.toBe(runId);
    await enqueue([workspace.path('a.csv')]);
    expect((await waitingChunks(queues)).map((chunk) => chunk.runId)).toEqual([runId]);
  });

  it('reads the format that is said, whatever the name of the file', async () => {
    const file = await workspace.write('catalogue.csv', toJsonLines(two));
    expect((await enqueue([file, '--format', 'jsonl'])).code).toBe(0);
    expect(await waitingProducts(queues)).toEqual(two);
  });

  it('--dry-run checks everything, needs no Redis, sends and writes nothing', async () => {
    const header = toCsv([]);
    const file = await workspace.write('catalogue.csv', `${toCsv(two)}P3,1,2\n`);
    await workspace.write('catalogue.csv.rejects.csv', header);
    const { code, stdout, stderr } = await enqueue([file, '--dry-run', '--run', 'R', '--json'], {
      env: { REDIS_URL: 'redis://127.0.0.1:1' },
    });
    expect(stderr).toBe(`${file}:4: INVALID_ROW: expected 17 columns, got 3\n`);
    expect(JSON.parse(stdout)).toMatchObject({ products: 2, rejected: 1, rejectFiles: [] });
    expect(code).toBe(3);
    expect(await workspace.names()).toEqual(['catalogue.csv', 'catalogue.csv.rejects.csv']);
    expect(await workspace.read('catalogue.csv.rejects.csv')).toBe(header);
    expect(await waitingChunks(queues)).toEqual([]);
  });

  it('--width goes before the manifest, which is not needed then', async () => {
    const file = await workspace.write('narrow.csv', 'product_id,f0,f1\nP1,1,2\nP2,3,4\n');
    const { code } = await enqueue([file, '--width', '2'], { env: { MODEL_PATH: workspace.path('none.onnx') } });
    expect(code).toBe(0);
    expect(await waitingProducts(queues)).toMatchObject([{ features: [1, 2] }, { features: [3, 4] }]);
  });

  it('takes columns by their names and leaves out what it does not know', async () => {
    const file = await workspace.write('mixed.csv', 'f1,brand,product_id,f0\n2,"ACME, Inc",P1,1\n4,,P2,3\n');
    const { code } = await enqueue([file, '--width', '2']);
    expect(code).toBe(0);
    expect(await waitingProducts(queues)).toEqual([
      { productId: 'P1', features: [1, 2] },
      { productId: 'P2', features: [3, 4] },
    ]);
  });

  it('of a header and nothing else is done, with no product', async () => {
    const { code, stdout, stderr } = await enqueue([await workspace.write('empty.csv', toCsv([])), '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ products: 0, jobs: 0, rejected: 0 });
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(await waitingChunks(queues)).toEqual([]);
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
      /no column pro/,
    ],
    ['a header without the --id-column', `${header}\n`, ['--id-column', 'sku'], 'INPUT_NOT_READABLE', /no column sku/],
    ['a header without f3', `${header.replace('f3', 'x')}\n`, [], 'INPUT_NOT_READABLE', /no column f3/],
    ['a header with too few features', 'product_id,f0,f1\nP1,1,2\n', [], 'WRONG_WIDTH', /expects 16 .*got 2/],
    ['a header that --width does not fit', toCsv(two), ['--width', '15'], 'WRONG_WIDTH', /expects 15 .*got 16/],
    [
      'JSON lines that are said to be CSV',
      toJsonLines(two),
      ['--format', 'csv'],
      'INPUT_NOT_READABLE',
      /no column pro/,
    ],
    ['a CSV that is said to be JSON lines', toCsv(two), ['--format', 'jsonl'], 'INPUT_NOT_READABLE', /not JSON lines/],
    ['a CSV that is said to be Parquet', toCsv(two), ['--format', 'parquet'], 'INPUT_NOT_READABLE', /no Parquet file/],
  ])('of %s ends with 1, names the file and sends nothing', async (_case, content, args, error, message) => {
    const file = workspace.path('input');
    if (content !== undefined) await workspace.write('input', content);
    const { code, stdout, stderr } = await enqueue([file, ...args]);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr.startsWith(`${error}: cannot read ${file}: `)).toBe(true);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(code).toBe(1);
    expect(await waitingChunks(queues)).toEqual([]);
    expect(await workspace.names()).toEqual(content === undefined ? [] : ['input']);
  });

  it.each([[[]], [['--format', 'csv']], [['--format', 'jsonl']]])('of a directory (%s) ends with 1', async (args) => {
    await mkdir(workspace.path('directory'));
    const { code, stdout, stderr } = await enqueue([workspace.path('directory'), ...args]);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^INPUT_NOT_READABLE: cannot read .*directory: it is a directory\n$/);
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
