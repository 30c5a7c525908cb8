import { mkdir } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { waitingChunks, waitingProducts } from '../support/bulk-chunks.ts';
import { readRejectLines, toErpCsv, toJsonLines, writeParquet } from '../support/bulk-input.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';

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

const enqueue = (args: readonly string[], input?: string) => runCli(['enqueue', ...args], { env: queues.env, input });
const products = makeProducts(5);

describe('enqueue reads', () => {
  const accented = products.map((product, i) => ({ ...product, productId: `Peça nº ${i}; "à vista"` }));
  const erp = toErpCsv(accented.map((product) => ({ ...product, productId: product.productId.replaceAll('"', '""') })));
  const compressed = gzipSync(Buffer.from(erp, 'latin1'));

  it.each([
    ['as it tells them itself', []],
    ['as it is told', ['--format', 'csv', '--delimiter', ';', '--decimal', ',', '--encoding', 'latin-1']],
  ])('semicolons, decimal commas and latin-1, gzipped, %s', async (_how, args) => {
    const file = await workspace.write('erp.csv.gz', compressed);
    const { code, stdout, stderr } = await enqueue([file, '--id-column', 'codigo', ...args]);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^read +5\nrejected +0\nsent now +5$/m);
    expect(code).toBe(0);
    expect(await waitingProducts(queues)).toEqual(accented);
  });

  it.each([',', ';', 'tab'])('a CSV whose header has quoted names, with %s between them', async (delimiter) => {
    const sign = delimiter === 'tab' ? '\t' : delimiter;
    const [header, ...rows] = toCsv(products).replaceAll(',', sign).split('\n');
    const quotedHeader = header.replaceAll(/\w+/g, '"$&"');
    const file = await workspace.write('c.csv', [quotedHeader, ...rows].join('\n'));
    const { code, stderr } = await enqueue([file, '--run', 'R']);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(await waitingProducts(queues)).toEqual(products);
  });

  it('Parquet with another id column and features by the prefix of their names', async () => {
    // In the order of their numbers, however the file has them: v_10 comes after v_9.
    const features = Array.from({ length: 16 }, (_, i) => `list_extract(features, ${16 - i}) AS v_${15 - i}`);
    const file = await writeParquet(
      workspace.path('c.parquet'),
      products,
      [...features, 'productId AS sku'].join(', '),
    );
    const { code, stderr } = await enqueue([file, '--id-column', 'sku', '--feature-columns', 'v_*']);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(await waitingProducts(queues)).toEqual(products);
  });

  it('one column that holds arrays', async () => {
    const file = await writeParquet(workspace.path('c.parquet'), products, 'productId, features AS embedding');
    expect((await enqueue([file, '--feature-columns', 'embedding'])).code).toBe(0);
    expect(await waitingProducts(queues)).toEqual(products);
  });

  it('several files and globs of them, of every format, as one import', async () => {
    const all = makeProducts(9);
    await mkdir(workspace.path('parts'));
    await workspace.write('parts/part-1.csv', toCsv(all.slice(0, 2)));
    await workspace.write('parts/part-2.csv.gz', gzipSync(toErpCsv(all.slice(2, 4)).replace('codigo', 'product_id')));
    await workspace.write('more.jsonl', toJsonLines(all.slice(4, 6)));
    const parquet = await writeParquet(workspace.path('c.parquet'), all.slice(6), 'productId, features');
    const files = [workspace.path('parts/part-*'), workspace.path('more.jsonl'), parquet];
    const { code, stdout } = await enqueue([...files, '--run', 'R', '--chunk-size', '4']);
    expect(stdout).toMatch(/^read +9\nrejected +0\nsent now +9$/m);
    expect(code).toBe(0);
    // Chunks are cut across the files.
    expect((await waitingChunks(queues)).map((chunk) => chunk.products)).toEqual([
      all.slice(0, 4),
      all.slice(4, 8),
      all.slice(8),
    ]);
  });

  it('JSON lines from standard input', async () => {
    const { code } = await enqueue(['-', '--run', 'R', '--rejects', workspace.path('r')], toJsonLines(products));
    expect(code).toBe(0);
    expect(await waitingProducts(queues)).toEqual(products);
  });
});

describe('enqueue refuses', () => {
  it('a glob that matches nothing', async () => {
    const { code, stderr } = await enqueue([workspace.path('part-*.csv')]);
    expect(stderr).toMatch(/^INPUT_NOT_READABLE: cannot read .*part-\*\.csv: no file matches it\n$/);
    expect(code).toBe(1);
  });

  it('numbers of which some have a decimal comma and some a point, until it is said which', async () => {
    const file = await workspace.write('c.csv', 'product_id;f0\nP1;1,5\nP2;2.5\n');
    const { code, stderr } = await enqueue([file, '--width', '1']);
    expect(stderr).toMatch(/^INPUT_NOT_READABLE: .*--decimal\n$/);
    expect(code).toBe(1);
    expect((await enqueue([file, '--width', '1', '--decimal', ','])).code).toBe(3);
    expect(await waitingProducts(queues)).toEqual([{ productId: 'P1', features: [1.5] }]);
  });
});

describe('a product id that stands more than once', () => {
  const CSV = 'product_id,f0\nP1,1\nP2,2\nP1,3\nP3,x\nP3,4\n';

  it.each([
    ['first', ['P1 1', 'P2 2', 'P3 4'], 1, { NON_FINITE_FEATURE: 1 }],
    ['last', ['P2 2', 'P1 3', 'P3 4'], 1, { NON_FINITE_FEATURE: 1 }],
    ['reject', ['P2 2'], 0, { DUPLICATE_PRODUCT_ID: 3, NON_FINITE_FEATURE: 1 }],
  ] as const)('with --on-duplicate %s', async (policy, expected, skipped, rejectedByCode) => {
    const file = await workspace.write('c.csv', CSV);
    const { code, stdout } = await enqueue([file, '--width', '1', '--on-duplicate', policy, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ products: expected.length, skipped, rejectedByCode });
    expect(code).toBe(3);
    const sent = await waitingProducts(queues);
    expect(sent.map(({ productId, features }) => `${productId} ${features[0]}`)).toEqual(expected);
  });

  it('is found across files, and said in the summary', async () => {
    const files = await Promise.all(
      ['a.csv', 'b.csv'].map((name, i) => workspace.write(name, `product_id,f0\nP1,${i}\nonly-${name},1\n`)),
    );
    const { stdout } = await enqueue([...files, '--width', '1', '--on-duplicate', 'last']);
    expect(stdout).toMatch(/^skipped +1 rows whose product id occurs more than once$/m);
    const sent = await waitingProducts(queues);
    expect(sent.map(({ productId, features }) => `${productId} ${features[0]}`)).toEqual([
      'only-a.csv 1',
      'P1 1',
      'only-b.csv 1',
    ]);
  });
});

describe('--max-rejects', () => {
  const CSV = 'product_id,f0\nP1,1\nP2,x\nP3,1,1\n,1\n';

  it('stops the import where more rows are rejected', async () => {
    const file = await workspace.write('c.csv', CSV);
    const { code, stdout, stderr } = await enqueue([file, '--width', '1', '--max-rejects', '2']);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^TOO_MANY_REJECTS: .*--max-rejects allows \(2\); .*--dry-run.*\n$/);
    expect(code).toBe(1);
    expect(await workspace.names()).toEqual(['c.csv']);
  });

  it('lets as many pass', async () => {
    const file = await workspace.write('c.csv', CSV);
    expect((await enqueue([file, '--width', '1', '--max-rejects', '3'])).code).toBe(3);
    expect(await waitingProducts(queues)).toEqual([{ productId: 'P1', features: [1] }]);
  });
});

describe('rejected rows of several files', () => {
  const BAD = {
    'a.csv': 'product_id;f0\nP1;1,5\nP2;1.5\n',
    'b.jsonl': '{"productId":"P3","features":[1]}\n{"productId":"P4"}\n',
  };

  it('stand beside each of them, can be mended, and are sent as a new import', async () => {
    const files = await Promise.all(Object.entries(BAD).map(([name, content]) => workspace.write(name, content)));
    const first = await enqueue([...files, '--width', '1', '--decimal', ',', '--json']);
    expect(JSON.parse(first.stdout)).toMatchObject({ products: 2, rejected: 2 });
    expect(first.code).toBe(3);
    const names = ['a.csv.rejects.csv', 'b.jsonl.rejects.rows.jsonl'];
    expect(await workspace.names()).toEqual(
      ['a.csv', 'a.csv.rejects.jsonl', 'b.jsonl', 'b.jsonl.rejects.jsonl', ...names].sort(),
    );
    expect(await readRejectLines(workspace.path('b.jsonl.rejects.jsonl'))).toMatchObject([
      { file: files[1], line: 2, productId: 'P4', code: 'WRONG_WIDTH' },
    ]);
    const [csv, lines] = await Promise.all(names.map((name) => workspace.read(name)));
    await workspace.write(names[0], csv.replace('1.5', '2,5'));
    await workspace.write(names[1], lines.replace('}', ',"features":[4]}'));

    const second = await enqueue([...names.map(workspace.path), '--width', '1', '--json']);
    const summary = JSON.parse(second.stdout);
    expect(summary).toMatchObject({ products: 2, rejected: 0, sentBefore: { jobs: 0 } });
    expect(summary.runId).not.toBe(JSON.parse(first.stdout).runId);
    expect(second.code).toBe(0);
    const sent = await waitingProducts(queues);
    expect(sent.map(({ productId, features }) => `${productId} ${features[0]}`).sort()).toEqual([
      'P1 1.5',
      'P2 2.5',
      'P3 1',
      'P4 4',
    ]);
  });

  it('go to a directory where --rejects names one', async () => {
    const files = await Promise.all(Object.entries(BAD).map(([name, content]) => workspace.write(name, content)));
    await mkdir(workspace.path('rejects'));
    const args = [...files, '--width', '1', '--decimal', ',', '--rejects', workspace.path('rejects'), '--json'];
    const { stdout } = await enqueue(args);
    expect(JSON.parse(stdout).rejectFiles).toEqual(
      ['a.csv.rejects.csv', 'a.csv.rejects.jsonl', 'b.jsonl.rejects.rows.jsonl', 'b.jsonl.rejects.jsonl'].map((name) =>
        workspace.path(`rejects/${name}`),
      ),
    );
    expect(await workspace.names()).toEqual(['a.csv', 'b.jsonl', 'rejects']);
  });
});

describe('enqueue --dry-run', () => {
  it('says of every row of every file what is wrong, and neither sends nor writes', async () => {
    const [a, b] = await Promise.all([
      workspace.write('a.csv', 'product_id,f0\nP1,1\nP2,x\n'),
      workspace.write('b.csv', 'product_id,f0\nP1,1\n'),
    ]);
    const { code, stdout, stderr } = await enqueue([a, b, '--width', '1', '--dry-run']);
    expect(stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/\/a\.csv:2: DUPLICATE_PRODUCT_ID: /),
      expect.stringMatching(/\/a\.csv:3: f0: NON_FINITE_FEATURE: .*"x"/),
      expect.stringMatching(/\/b\.csv:2: DUPLICATE_PRODUCT_ID: /),
    ]);
    expect(stdout).toMatch(/^rejected +3 \(DUPLICATE_PRODUCT_ID 2, NON_FINITE_FEATURE 1\)$/m);
    expect(code).toBe(3);
    expect(await workspace.names()).toEqual(['a.csv', 'b.csv']);
    expect(await waitingChunks(queues)).toEqual([]);
    const keys = await queues.redis.keys(`${queues.prefix}:*`);
    expect(keys.filter((key) => /:(run|chunks|payload):/.test(key))).toEqual([]);
  });
});
