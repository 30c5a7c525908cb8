import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { waitingProducts } from '../support/bulk-chunks.ts';
import { readRejectLines, writeParquet } from '../support/bulk-input.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts } from '../support/products.ts';

const HEADER = 'product_id,f0,f1';
const LONG_ID = 'x'.repeat(201);

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

const enqueue = (name: string, ...args: string[]) =>
  runCli(['enqueue', workspace.path(name), '--width', '2', ...args], { env: queues.env });

/** The sidecar as `line code` for each thing that is wrong. */
async function reasons(name: string): Promise<string[]> {
  const lines = await readRejectLines(workspace.path(name));
  for (const { message } of lines) expect(message).not.toBe('');
  return lines.map(({ line, code }) => `${line} ${code}`);
}

describe('the rejects of a CSV file', () => {
  it('are the rows as they came, and beside them where they stood and what is wrong', async () => {
    const bad = [
      'P2,1',
      'P3,1,2,3',
      ',1,2',
      'P5,1,',
      'P6,1,NaN',
      'P7,0x10,2',
      'P8,1e39,2',
      `${LONG_ID},1,2`,
      'P10,"1,5",2',
    ];
    await workspace.write('c.csv', [HEADER, 'P1,1,2', ...bad, 'P11,1,2', ''].join('\n'));
    const { code, stdout, stderr } = await enqueue('c.csv', '--json');
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({
      products: 2,
      rejected: 9,
      rejectedByCode: { INVALID_ROW: 2, INVALID_PRODUCT_ID: 2, NON_FINITE_FEATURE: 5 },
      rejectFiles: [workspace.path('c.csv.rejects.csv'), workspace.path('c.csv.rejects.jsonl')],
    });
    expect(code).toBe(3);
    expect(await workspace.read('c.csv.rejects.csv')).toBe([HEADER, ...bad, ''].join('\n'));
    expect(await reasons('c.csv.rejects.jsonl')).toEqual([
      '3 INVALID_ROW',
      '4 INVALID_ROW',
      '5 INVALID_PRODUCT_ID',
      '6 NON_FINITE_FEATURE',
      '7 NON_FINITE_FEATURE',
      '8 NON_FINITE_FEATURE',
      '9 NON_FINITE_FEATURE',
      '10 INVALID_PRODUCT_ID',
      '11 NON_FINITE_FEATURE',
    ]);
    expect(await workspace.names()).toEqual(['c.csv', 'c.csv.rejects.csv', 'c.csv.rejects.jsonl']);
  });

  it.each([
    ['blank lines', `${HEADER}\n\nP1,1,2\n\n\nP2,x,2\n\nP3,1,2\nP4,y,2\n\n`, ['6 P2,x,2', '9 P4,y,2']],
    ['lines of blanks', `${HEADER}\n  \nP1,1,2\n \t\n\nP2,x,2\n   \nP3,y,2\n`, ['6 P2,x,2', '8 P3,y,2']],
    ['a byte order mark', `\uFEFF${HEADER}\nP1,x,2\nP2,1,2\n`, ['2 P1,x,2']],
    ['CRLF', `\uFEFF${HEADER}\r\nP1,1,2\r\n\r\nP2,x,2\r\nP3,y,2\r\n`, ['4 P2,x,2', '5 P3,y,2']],
    [
      'a quoted id with a line break',
      `${HEADER}\n"P\n1",1,2\nP2,x,2\n"P,3",1,2\n"P4",y,2`,
      ['2 "P\n1",1,2', '4 P2,x,2', '6 "P4",y,2'],
    ],
    [
      'other columns with line breaks',
      `note,${HEADER}\n"a\r\nb\nc",P1,1,2\n"d\n",P2,x,2\n,P3,z,2\n`,
      ['5 "d\n",P2,x,2', '7 ,P3,z,2'],
    ],
    ['a header over two lines', `"a\nnote",${HEADER}\n,P1,1,2\n,P2,x,2\n`, ['4 ,P2,x,2']],
  ])('have the right lines in a file with %s', async (_case, content, expected) => {
    await workspace.write('c.csv', content);
    expect((await enqueue('c.csv')).code).toBe(3);
    const lines = (await reasons('c.csv.rejects.jsonl')).map((reason) => reason.split(' ')[0]);
    expect(lines).toEqual(expected.map((reject) => reject.split(' ')[0]));
    const rows = expected.map((reject) => `${reject.slice(reject.indexOf(' ') + 1)}\n`);
    expect((await workspace.read('c.csv.rejects.csv')).slice(-rows.join('').length)).toBe(rows.join(''));
  });

  it('are a file that can be sent when it is mended', async () => {
    await workspace.write('c.csv', `\uFEFFnote,${HEADER}\r\n"19"" screen\nnew",P1,x,2\r\n"b, c",P2,1,2\r\n`);
    expect((await enqueue('c.csv')).code).toBe(3);
    const mended = (await workspace.read('c.csv.rejects.csv')).replace(',x,', ',7,');
    await workspace.write('mended.csv', mended);
    const { code, stdout } = await enqueue('mended.csv', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ products: 1, rejected: 0 });
    expect(code).toBe(0);
  });

  it('are told with everything that is wrong with them, each with its column', async () => {
    const file = await workspace.write('c.csv', `${HEADER}\nP1,1,2\n,x,1e400\n`);
    const { stdout } = await enqueue('c.csv', '--json');
    // A row counts once, by the first thing that is wrong with it.
    expect(JSON.parse(stdout)).toMatchObject({ rejected: 1, rejectedByCode: { INVALID_PRODUCT_ID: 1 } });
    const place = { file, line: 3, productId: '' };
    expect(await readRejectLines(workspace.path('c.csv.rejects.jsonl'))).toEqual([
      { ...place, column: 'product_id', code: 'INVALID_PRODUCT_ID', message: expect.stringContaining('1 to 200') },
      { ...place, column: 'f0', code: 'NON_FINITE_FEATURE', message: expect.stringContaining('"x"') },
      { ...place, column: 'f1', code: 'NON_FINITE_FEATURE', message: expect.stringContaining('Infinity') },
    ]);
  });

  it('keep the encoding of the input', async () => {
    await workspace.write('c.csv', Buffer.from('product_id;f0;f1\r\nMaçã;x;2\r\nPêra;1,5;2\r\n', 'latin1'));
    expect((await enqueue('c.csv')).code).toBe(3);
    const rejects = await readFile(workspace.path('c.csv.rejects.csv'), 'latin1');
    expect(rejects).toBe('product_id;f0;f1\nMaçã;x;2\n');
    expect(await readRejectLines(workspace.path('c.csv.rejects.jsonl'))).toMatchObject([
      { line: 2, productId: 'Maçã' },
    ]);
  });

  it('do not stop the import where a quote stands inside a cell', async () => {
    await workspace.write('c.csv', `note,${HEADER}\nscreen,P1,1,2\n19" screen,P2,1,2\nscreen,P3,1,2\n`);
    const { code, stdout } = await enqueue('c.csv', '--json');
    const { products, rejected } = JSON.parse(stdout);
    expect(products).toBeGreaterThanOrEqual(2);
    expect(products + rejected).toBe(3);
    expect(code).toBe(rejected > 0 ? 3 : 0);
  });
});

describe('the rejects of JSON lines', () => {
  const bad = [
    '{"productId":"P2","features":[1,2]',
    '["P3",[1,2]]',
    'null',
    '{"features":[1,2]}',
    '{"productId":5.5,"features":[1,2]}',
    '{"productId":"P6"}',
    '{"productId":"P7","features":[1]}',
    '{"productId":"P8","features":[1,null]}',
    '{"productId":"P9","features":[1,1e400]}',
    '{"productId":"a\\nb","features":[1,2]}',
  ];
  const codes = [
    ...['INVALID_ROW', 'INVALID_ROW', 'INVALID_ROW', 'INVALID_PRODUCT_ID', 'INVALID_PRODUCT_ID', 'WRONG_WIDTH'],
    ...['WRONG_WIDTH', 'NON_FINITE_FEATURE', 'NON_FINITE_FEATURE', 'INVALID_PRODUCT_ID'],
  ];
  const good = ['{"productId":"P1","features":[1,2],"brand":"ACME"}', '{"productId":12,"features":[1,2]}'];

  it.each([
    ['plain', '', '\n', 2],
    ['with a byte order mark and CRLF', '\uFEFF', '\r\n', 2],
    ['with blank lines', '\n', '\n\n \n', 5],
  ])('(%s) are the lines as they came, and a sidecar', async (_case, start, end, first) => {
    await workspace.write('c.jsonl', start + [good[0], ...bad, good[1]].map((line) => line + end).join(''));
    const { code, stdout } = await enqueue('c.jsonl', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      products: 2,
      rejected: 10,
      rejectFiles: [workspace.path('c.jsonl.rejects.rows.jsonl'), workspace.path('c.jsonl.rejects.jsonl')],
    });
    expect(code).toBe(3);
    expect(await workspace.read('c.jsonl.rejects.rows.jsonl')).toBe(bad.map((line) => `${line}\n`).join(''));
    const step = end.split('\n').length - 1;
    expect(await reasons('c.jsonl.rejects.jsonl')).toEqual(codes.map((reject, i) => `${first + i * step} ${reject}`));
  });
});

describe('the rejects of Parquet', () => {
  it('are rows of CSV that can be sent when they are mended', async () => {
    const columns = `productId AS product_id, list_extract(features, 1) AS f0,
      CASE productId WHEN 'P-1-1' THEN 'nan'::FLOAT ELSE list_extract(features, 2) END AS f1`;
    const products = makeProducts(3);
    await writeParquet(workspace.path('c.parquet'), products, columns);
    const { code, stdout } = await enqueue('c.parquet', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ products: 2, rejectedByCode: { NON_FINITE_FEATURE: 1 } });
    expect(code).toBe(3);
    expect(await readRejectLines(workspace.path('c.parquet.rejects.jsonl'))).toMatchObject([
      { line: 2, column: 'f1', productId: 'P-1-1', code: 'NON_FINITE_FEATURE' },
    ]);
    const rejects = await workspace.read('c.parquet.rejects.csv');
    expect(rejects).toMatch(/^product_id,f0,f1\nP-1-1,[-\d.]+,nan\n$/i);
    await workspace.write('mended.csv', rejects.replace(/nan/i, '7'));
    expect((await enqueue('mended.csv')).code).toBe(0);
    const sent = await waitingProducts(queues);
    expect(sent.map(({ productId }) => productId).sort()).toEqual(products.map(({ productId }) => productId));
    expect(sent.find(({ productId }) => productId === 'P-1-1')?.features).toEqual([products[1].features[0], 7]);
  });
});

describe('the reject files', () => {
  it('of an earlier run are removed when nothing is rejected any more', async () => {
    await workspace.write('c.csv', `${HEADER}\nP1,x,2\n`);
    await enqueue('c.csv', '--rejects', workspace.path('bad'));
    expect(await workspace.names()).toEqual(['bad.csv', 'bad.jsonl', 'c.csv']);
    await workspace.write('c.csv', `${HEADER}\nP1,1,2\n`);
    expect((await enqueue('c.csv', '--rejects', workspace.path('bad'))).code).toBe(0);
    expect(await workspace.names()).toEqual(['c.csv']);
  });

  it('are named in the summary', async () => {
    await workspace.write('c.csv', `${HEADER}\nP1,x,2\nP2,1\nP3,y,2\n`);
    const { stdout } = await enqueue('c.csv', '--rejects', workspace.path('bad'));
    expect(stdout).toMatch(/^rejected +3 \(NON_FINITE_FEATURE 2, INVALID_ROW 1\)$/m);
    expect(stdout).toContain(`${workspace.path('bad.csv')}, ${workspace.path('bad.jsonl')}`);
  });

  it('that cannot be written end the command with 1 and the reason', async () => {
    await workspace.write('c.csv', `${HEADER}\nP1,x,2\n`);
    const { code, stdout, stderr } = await enqueue('c.csv', '--rejects', workspace.path('nowhere/bad'));
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^OUTPUT_NOT_WRITABLE: cannot write .*nowhere\/bad\.csv: ENOENT.*\n$/);
    expect(code).toBe(1);
  });

  it.each([
    ['CSV with nothing to reject', 'catalogue.csv', `${HEADER}\nP1,1,2\n`],
    ['CSV with a reject', 'catalogue.csv', `${HEADER}\nP1,x,2\nP2,1,2\n`],
    ['JSON lines with nothing to reject', 'catalogue.jsonl', '{"productId":"P1","features":[1,2]}\n'],
    ['JSON lines with a reject', 'catalogue.jsonl', '{"productId":"P1","features":[1]}\n'],
  ])('never take the place of the input: %s', async (_case, name, content) => {
    await workspace.write(name, content);
    const { code } = await enqueue(name, '--rejects', workspace.path('catalogue'));
    expect(await workspace.names()).toContain(name);
    expect(await workspace.read(name)).toBe(content);
    expect(code).not.toBe(0);
  });
});
