import { execFileSync, spawn } from 'node:child_process';
import { appendFile, mkdir, readdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openProductSource, type SourceOptions } from '../../src/adapters/files/products/product-source.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { gather, never, readSource, runSql, summarize } from '../support/files-tables.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => {
  vi.unstubAllEnvs();
  return workspace.remove();
});

const INTERRUPTED = new CategorizerError('INTERRUPTED', 'stopped by a signal');
const CSV = 'product_id,f0\nP1,1\n';
const JSON_LINES = '{"productId":"P1","features":[1]}\n';

/** One feature for each id: its place in the text. */
const csvOf = (...ids: string[]) => ['product_id,f0', ...ids.map((id, i) => `${id},${i}`), ''].join('\n');

async function read(options: Partial<SourceOptions> & { paths: readonly string[] }) {
  const { products, rejects, source } = await readSource(options);
  return { ids: products.map(({ id }) => id), products, rejects, counts: source.counts(), source };
}

async function open(options: Partial<SourceOptions> & { paths: readonly string[] }) {
  return openProductSource({ width: 1, onDuplicate: 'reject', stop: never, ...options });
}

describe('a product source', () => {
  it.each([
    ['CSV', CSV, 'csv'],
    ['CSV after a byte order mark', `\uFEFF${CSV}`, 'csv'],
    ['CSV after blank lines', `\n\n${CSV}`, 'csv'],
    ['JSON lines', JSON_LINES, 'jsonl'],
    ['JSON lines after a byte order mark', `\uFEFF${JSON_LINES}`, 'jsonl'],
    ['JSON lines after blank lines', `\n \r\n${JSON_LINES}`, 'jsonl'],
  ])('tells %s from its first character', async (_case, content, format) => {
    const { ids, source } = await read({ paths: [await workspace.write('in', content)] });
    expect(source.inputs).toMatchObject([{ path: workspace.path('in'), format, encoding: 'utf-8' }]);
    expect(ids).toEqual(['P1']);
  });

  it.each([
    ['jsonl', CSV, 'not JSON lines'],
    ['parquet', CSV, 'no Parquet file'],
    ['csv', JSON_LINES, 'no column product_id'],
    ['csv', 'PAR1xxxx', 'a Parquet file, and not csv'],
  ] as const)('that is said to be %s and is not says so', async (format, content, message) => {
    const path = await workspace.write('in', content);
    await expect(open({ paths: [path], format })).rejects.toMatchObject({
      code: 'INPUT_NOT_READABLE',
      message: expect.stringMatching(new RegExp(`^cannot read ${path}: .*${message}`)),
    });
  });

  it('of several files reads them in the order that is given, with their own formats', async () => {
    const paths = [await workspace.write('z', CSV), await workspace.write('a', JSON_LINES.replace('P1', 'P2'))];
    const { ids, source } = await read({ paths });
    expect(ids).toEqual(['P1', 'P2']);
    expect(source.inputs.map(({ format }) => format)).toEqual(['csv', 'jsonl']);
  });

  it('of a glob reads the files that match, sorted; a file of that very name is meant itself', async () => {
    for (const [name, id] of [
      ['b-2.csv', 'B2'],
      ['b-1.csv', 'B1'],
      ['c-1.csv', 'C1'],
      ['c-*.csv', 'STAR'],
    ]) {
      await workspace.write(name, csvOf(id));
    }
    expect((await read({ paths: [workspace.path('b-*.csv')] })).ids).toEqual(['B1', 'B2']);
    expect((await read({ paths: [workspace.path('c-*.csv')] })).ids).toEqual(['STAR']);
  });

  it.each([
    ['that does not exist', 'nothing.csv', 'ENOENT'],
    ['that no file matches', 'nothing-*.csv', 'no file matches it'],
    ['of a directory', 'directory', 'it is a directory'],
  ])('%s says so', async (_case, name, message) => {
    await mkdir(workspace.path('directory'));
    await expect(open({ paths: [workspace.path(name)] })).rejects.toMatchObject({
      code: 'INPUT_NOT_READABLE',
      message: expect.stringContaining(`cannot read ${workspace.path(name)}: ${message}`),
    });
  });

  it('below a directory that is named like a partition has its own columns only', async () => {
    await mkdir(workspace.path('f1=7'));
    const path = await workspace.write('f1=7/in.parquet', '');
    await runSql(`COPY (SELECT 'P1' AS product_id, 3 AS f0) TO '${path}' (FORMAT parquet)`);
    expect((await read({ paths: [path] })).products).toEqual([{ id: 'P1', features: [3] }]);
  });

  it('says how far it is, and ends at the size of all files', async () => {
    const ids = Array.from({ length: 10_000 }, (_, i) => `P${i}`);
    const source = await open({ paths: [await workspace.write('in', csvOf(...ids))] });
    const total = Buffer.byteLength(csvOf(...ids));
    const seen = [source.progress().read];
    for await (const _table of source.products()) seen.push(source.progress().read);
    expect(seen.length).toBeGreaterThan(3);
    expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b));
    expect(source.progress()).toEqual({ read: total, total });
    await source.close();
  });

  it('gives tables that stay as they are when the next one is read', async () => {
    const ids = Array.from({ length: 5000 }, (_, i) => `P${i}`);
    const source = await open({ paths: [await workspace.write('in', csvOf(...ids))] });
    const tables = await gather(source.products());
    expect(tables.map(({ ids: packed }) => Buffer.from(packed).toString()).join('\n')).toBe(ids.join('\n'));
    expect(tables.flatMap(({ features }) => [...features.values])).toEqual(ids.map((_, i) => i));
    await source.close();
  });

  it('has the same fingerprint for the same content and options, and another for any other', async () => {
    const path = await workspace.write('in', 'product_id;f0\nP1;1\n');
    const fingerprint = async (options: Partial<SourceOptions> = {}) => {
      const source = await open({ paths: [path], ...options });
      await source.close();
      return source.fingerprint;
    };
    const first = await fingerprint();
    expect(await fingerprint({ paths: [await workspace.write('copy', 'product_id;f0\nP1;1\n')] })).toBe(first);
    const others = [
      await fingerprint({ decimal: '.' }),
      await fingerprint({ onDuplicate: 'first' }),
      await fingerprint({ encoding: 'latin-1' }),
      await fingerprint({ idColumn: 'f0', featureColumns: 'product_id' }),
      await fingerprint({ paths: [path, path] }),
      await fingerprint({ paths: [await workspace.write('other', 'product_id;f0\nP2;1\n')] }),
    ];
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(new Set([first, ...others]).size).toBe(others.length + 1);
  });

  it('of a file that is changed meanwhile fails', async () => {
    const path = await workspace.write('in', CSV);
    const source = await open({ paths: [path] });
    await appendFile(path, 'P2,2\n');
    await expect(gather(source.products())).rejects.toMatchObject({
      code: 'INPUT_NOT_READABLE',
      message: `cannot read ${path}: it was changed while it was read`,
    });
    await source.close();
  });

  it('ends with TOO_MANY_REJECTS at one more than are allowed', async () => {
    const path = await workspace.write('in', 'product_id,f0\nP1,1\nP2,x\nP3,y\n');
    expect((await read({ paths: [path], maxRejects: 2 })).counts).toEqual({ rejected: 2, skipped: 0 });
    await expect(read({ paths: [path], maxRejects: 1 })).rejects.toMatchObject({ code: 'TOO_MANY_REJECTS' });
  });

  it('leaves no temporary files, whether it is read, closed twice or cannot be opened', async () => {
    const temporary = workspace.path('tmp');
    await mkdir(temporary);
    vi.stubEnv('TMPDIR', temporary);
    const source = await open({ paths: [await workspace.write('in', 'product_id,f0\nP1,1\r\nP2,"')] });
    expect(await readdir(temporary)).toHaveLength(1);
    await gather(source.products());
    await source.close();
    await source.close();
    await expect(open({ paths: [await workspace.write('bad', 'x\n')] })).rejects.toThrow();
    expect(await readdir(temporary)).toEqual([]);
  });
});

describe('ids that stand more than once', () => {
  const write = async () => [
    await workspace.write('1.csv', 'product_id,f0\nA,x\nB,1\n A ,2\n'),
    await workspace.write('2.csv', 'product_id,f0\nA,3\nC,4\n,5\n,6\nB,y\n'),
  ];

  it('are all rejected, in all files', async () => {
    const { products, rejects, counts } = await read({ paths: await write() });
    expect(products).toEqual([{ id: 'C', features: [4] }]);
    expect(counts).toEqual({ rejected: 7, skipped: 0 });
    expect(rejects.map(({ input }) => input)).toEqual([0, 0, 0, 1, 1, 1, 1]);
    expect(summarize(rejects)).toEqual([
      '2: f0 NON_FINITE_FEATURE, DUPLICATE_PRODUCT_ID',
      '3: DUPLICATE_PRODUCT_ID',
      '4: DUPLICATE_PRODUCT_ID',
      '2: DUPLICATE_PRODUCT_ID',
      '4: product_id INVALID_PRODUCT_ID',
      '5: product_id INVALID_PRODUCT_ID',
      '6: f0 NON_FINITE_FEATURE, DUPLICATE_PRODUCT_ID',
    ]);
  });

  it.each([
    ['first', { B: 1, A: 2, C: 4 }],
    ['last', { B: 1, A: 3, C: 4 }],
  ] as const)('give the %s one that is valid; the others are passed over', async (onDuplicate, expected) => {
    const { products, rejects, counts } = await read({ paths: await write(), onDuplicate });
    expect(Object.fromEntries(products.map(({ id, features }) => [id, features[0]]))).toEqual(expected);
    expect(counts).toEqual({ rejected: 4, skipped: 1 });
    expect(rejects).toHaveLength(4);
  });

  it('are found among many, also long ones', async () => {
    const ids = Array.from({ length: 30_000 }, (_, i) => `P${i}`);
    const long = 'long'.repeat(40);
    const path = await workspace.write('in', csvOf(...ids, 'P17', long, 'P29999', long));
    const { rejects } = await read({ paths: [path] });
    expect(rejects.map(({ productId }) => productId)).toEqual(['P17', 'P29999', 'P17', long, 'P29999', long]);
  });
});

describe('a pipe', () => {
  it('is read to its end', async () => {
    const path = workspace.path('pipe');
    execFileSync('mkfifo', [path]);
    const writer = spawn('sh', ['-c', `printf 'product_id,f0\\nP1,1\\nP2,x\\n' > "${path}"`]);
    const { ids, rejects } = await read({ paths: [path] });
    expect(ids).toEqual(['P1']);
    expect(summarize(rejects)).toEqual(['3: f0 NON_FINITE_FEATURE']);
    writer.kill();
  });

  it('that gives nothing ends at once when it is stopped', async () => {
    const path = workspace.path('pipe');
    execFileSync('mkfifo', [path]);
    const writer = spawn('sh', ['-c', `exec 3> "${path}"; echo open; read wait`]);
    const stop = new AbortController();
    const opening = open({ paths: [path], stop: stop.signal });
    // The shell gets past opening the pipe when the source has opened it as well.
    writer.stdout.once('data', () => stop.abort(INTERRUPTED));
    await expect(opening).rejects.toBe(INTERRUPTED);
    writer.kill();
  });
});

describe('a source that is stopped', () => {
  it('before it is opened is not opened', async () => {
    const paths = [await workspace.write('in', CSV)];
    await expect(open({ paths, stop: AbortSignal.abort(INTERRUPTED) })).rejects.toBe(INTERRUPTED);
  });

  it.each(['csv', 'jsonl'] as const)('between two tables ends with the reason (%s)', async (format) => {
    const ids = Array.from({ length: 20_000 }, (_, i) => `P${i}`);
    const lines = ids.map((id) => JSON_LINES.replace('P1', id)).join('');
    const stop = new AbortController();
    const path = await workspace.write('in', format === 'csv' ? csvOf(...ids) : lines);
    const source = await open({ paths: [path], stop: stop.signal });
    const tables: unknown[] = [];
    const reading = async () => {
      for await (const table of source.products()) {
        tables.push(table);
        stop.abort(INTERRUPTED);
      }
    };
    await expect(reading()).rejects.toBe(INTERRUPTED);
    expect(tables).toHaveLength(1);
    await source.close();
  });
});
