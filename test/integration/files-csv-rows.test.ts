import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { gzipped, readSource, runSql, summarize } from '../support/files-tables.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

async function read(content: string | Uint8Array, options: object = {}) {
  const path = await workspace.write('in.csv', content);
  const { products, rejects, source } = await readSource({ paths: [path], width: 2, ...options });
  return { products, rejects, input: source.inputs[0], ids: products.map(({ id }) => id) };
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const A1 = { id: 'A1', features: [1.5, 2] };
const B2 = { id: 'B2', features: [-3, 0.25] };

describe('a CSV file', () => {
  it.each([
    ['commas', 'product_id,f0,f1\nA1,1.5,2\nB2,-3,.25\n'],
    ['semicolons and decimal commas', 'product_id;f0;f1\nA1;1,5;2\nB2;-3;0,25\n'],
    ['semicolons and decimal points', 'product_id;f0;f1\nA1;1.5;2\nB2;-3;0.25\n'],
    ['tabs and decimal commas', 'product_id\tf0\tf1\nA1\t1,5\t2\nB2\t-3\t0,25\n'],
    ['bars', 'product_id|f0|f1\nA1|1.5|2\nB2|-3|0.25\n'],
    ['a byte order mark', '\uFEFFproduct_id,f0,f1\nA1,1.5,2\nB2,-3,0.25\n'],
    ['CRLF', 'product_id,f0,f1\r\nA1,1.5,2\r\nB2,-3,0.25\r\n'],
    ['CR', 'product_id,f0,f1\rA1,1.5,2\rB2,-3,0.25\r'],
    ['all kinds of line ends', 'product_id,f0,f1\r\nA1,1.5,2\nB2,-3,0.25\r'],
    ['no line end at the end', 'product_id,f0,f1\nA1,1.5,2\nB2,-3,0.25'],
    ['blank lines anywhere', '\n\nproduct_id,f0,f1\n\nA1,1.5,2\n   \n\nB2,-3,0.25\n\n'],
    ['quotes around everything', '"product_id","f0","f1"\n"A1","1.5","2"\n"B2","-3","0.25"\n'],
    ['white space around cells', 'product_id , f0, f1\n A1 , 1.5 , 2\n "B2" , -3,0.25\n'],
    ['exponents and signs', 'product_id,f0,f1\nA1,15e-1,+2\nB2,-3E0,2.5e-1\n'],
    ['other columns among them', 'note,f1,product_id,more,f0\nx,2,A1,"y,z",1.5\n,0.25,B2,,-3\n'],
    ['an empty column too many', 'product_id,f0,f1\nA1,1.5,2,\nB2,-3,0.25\n'],
    ['the other name of the id', 'productId,f0,f1\nA1,1.5,2\nB2,-3,0.25\n'],
  ])('with %s is read', async (_case, content) => {
    const { products, rejects } = await read(content);
    expect(rejects).toEqual([]);
    expect(products).toEqual([A1, B2]);
  });

  it('that is compressed is read', async () => {
    expect((await read(gzipped('product_id,f0,f1\nA1,1.5,2\n'))).products).toEqual([A1]);
  });

  it('that is not UTF-8 is latin-1, which the source says', async () => {
    const { ids, input } = await read(latin1('product_id,f0,f1\nÇã1,1,2\n'));
    expect(ids).toEqual(['Çã1']);
    expect(input.encoding).toBe('latin-1');
  });

  it('that is said to be UTF-8 and is not has rejects where it is not', async () => {
    const { ids, rejects } = await read(latin1('product_id,f0,f1\nP1,1,2\nÇã1,1,2\nP3,1,2\n'), { encoding: 'utf-8' });
    expect(ids).toEqual(['P1', 'P3']);
    expect(summarize(rejects)).toEqual(['3: INVALID_ROW']);
  });

  it('with nothing but a header has no products', async () => {
    const { products, rejects, input } = await read('product_id,f0,f1\n');
    expect(products).toEqual([]);
    expect(rejects).toEqual([]);
    expect(input).toMatchObject({ format: 'csv', header: 'product_id,f0,f1' });
  });

  it.each([
    ['that is empty', '', 'it is empty'],
    ['of blank lines', '\n\r\n', 'it is empty'],
    ['without the id', 'sku,f0,f1\n1,2,3\n', 'no column product_id or productId among: sku, f0, f1'],
    ['without a feature', 'product_id,f0,f2\nP,1,2\n', 'no column f1 among: product_id, f0, f2'],
    ['without features', 'product_id,x\nP,1\n', 'no column f0 to f1, or features with arrays among: product_id, x'],
    ['with a column twice', 'product_id,f0,f1,f1\nP,1,2,3\n', 'two columns f1'],
    ['with both decimal signs', 'product_id;f0;f1\nP;1,5;2\nQ;1.5;2\n', '--decimal'],
    ['of UTF-16', Buffer.from('\uFEFFproduct_id,f0,f1\n', 'utf16le'), 'UTF-16'],
  ])('%s is refused', async (_case, content, message) => {
    await expect(read(content)).rejects.toMatchObject({
      code: 'INPUT_NOT_READABLE',
      message: expect.stringContaining(message),
    });
  });

  it.each([1, 3])('with 2 feature columns is refused where the model expects %i', async (width) => {
    await expect(read('product_id,f0,f1\nP,1,2\n', { width })).rejects.toMatchObject({ code: 'WRONG_WIDTH' });
  });

  it.each([
    ['a range', 'x1..x2'],
    ['a list', 'x1,x2'],
    ['a prefix', 'x*'],
  ])('has the columns that are named by %s', async (_case, featureColumns) => {
    const { products } = await read('x2;"the ""id""";x1\n2;A1;1,5\n', { idColumn: 'the "id"', featureColumns });
    expect(products).toEqual([A1]);
  });
});

describe('a bad row of CSV', () => {
  const rowsAround = (row: string, end: string) => `product_id,f0,f1${end}P1,1,2${end}${row}${end}P3,1,2${end}`;

  it.each([
    ['an empty id', ',1,2', 'product_id INVALID_PRODUCT_ID'],
    ['an id over two lines', '"a\nb",1,2', 'product_id INVALID_PRODUCT_ID'],
    ['an id of 201 characters', `${'x'.repeat(201)},1,2`, 'product_id INVALID_PRODUCT_ID'],
    ['an id of 2000 characters', `${'é'.repeat(2000)},1,2`, 'product_id INVALID_PRODUCT_ID'],
    ['text for a number', 'P2,abc,2', 'f0 NON_FINITE_FEATURE'],
    ['an empty cell', 'P2,1,', 'f1 NON_FINITE_FEATURE'],
    ['NaN', 'P2,NaN,2', 'f0 NON_FINITE_FEATURE'],
    ['infinity', 'P2,1,-inf', 'f1 NON_FINITE_FEATURE'],
    ['1e400', 'P2,1e400,2', 'f0 NON_FINITE_FEATURE'],
    ['1e39, which no float32 can be', 'P2,1,1e39', 'f1 NON_FINITE_FEATURE'],
    ['a hexadecimal number', 'P2,0x10,2', 'f0 NON_FINITE_FEATURE'],
    ['everything wrong', ',x,NaN', 'product_id INVALID_PRODUCT_ID, f0 NON_FINITE_FEATURE, f1 NON_FINITE_FEATURE'],
    ['a column too few', 'P2,1', 'INVALID_ROW'],
    ['a column too many', 'P2,1,2,3', 'INVALID_ROW'],
    ['text after a quote', '"P2"x,1,2', 'INVALID_ROW'],
    ['a quote that is not closed', 'P2,"1,2', 'INVALID_ROW'],
  ])('with %s is rejected alone, at its line and as it came', async (_case, row, errors) => {
    for (const end of ['\n', '\r\n']) {
      const { ids, rejects } = await read(rowsAround(row, end));
      expect(ids).toEqual(['P1', 'P3']);
      expect(summarize(rejects)).toEqual([`3: ${errors}`]);
      expect(rejects[0].raw).toBe(row);
    }
  });

  it('that is cut off at the end of the file is rejected', async () => {
    const { ids, rejects } = await read('product_id,f0,f1\nP1,1,2\nP2,1');
    expect(ids).toEqual(['P1']);
    expect(rejects).toMatchObject([{ line: 3, raw: 'P2,1', productId: null }]);
  });

  it('says what it holds, and that a number may have the other decimal sign', async () => {
    const { rejects } = await read('product_id;f0;f1\nP1;1,5;2\nP2;1.234;1,5\n', { decimal: ',' });
    expect(rejects).toMatchObject([
      {
        line: 3,
        productId: 'P2',
        errors: [{ message: expect.stringMatching(/^feature 0 is not .*"1.234".*--decimal/) }],
      },
    ]);
  });

  it('is found by its line behind blank lines and line breaks in quotes', async () => {
    const cell = fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', 'é'), maxLength: 6 });
    const rows = fc.array(fc.record({ blank: fc.nat(2), note: cell, good: fc.boolean() }), { maxLength: 10 });
    await fc.assert(
      fc.asyncProperty(rows, async (table) => {
        const texts = table.map(({ note, good }, i) => `P${i},1,${good ? 2 : 'x'},"${note.replaceAll('"', '""')}"`);
        const blocks = table.map(({ blank }, i) => `${'\n'.repeat(blank)}${texts[i]}\n`);
        const lineOf = (i: number) =>
          `h\n${blocks.slice(0, i).join('')}${'\n'.repeat(table[i].blank)}`.split('\n').length;
        const { ids, rejects } = await read(`product_id,f0,f1,note\n${blocks.join('')}`);
        const all = table.map((row, i) => ({ ...row, id: `P${i}`, line: lineOf(i), raw: texts[i] }));
        expect(ids).toEqual(all.filter(({ good }) => good).map(({ id }) => id));
        expect(rejects.map(({ line, raw }) => ({ line, raw }))).toEqual(
          all.filter(({ good }) => !good).map(({ line, raw }) => ({ line, raw })),
        );
      }),
      { numRuns: 20 },
    );
  });
});

describe('a CSV file of many buffers', () => {
  const ROWS = 300_000;

  it('keeps the order of its rows, and rejects those in the middle by their lines', async () => {
    const path = workspace.path('large.csv');
    await runSql(`COPY (SELECT 'P' || i AS product_id, i / 2 AS f0,
      CASE WHEN i % 100000 = 70000 THEN 'bad' ELSE '1' END AS f1,
      CASE WHEN i % 1000 = 0 THEN E'two\\nlines' ELSE 'a note that makes the row longer' END AS note
      FROM range(${ROWS}) r(i)) TO '${path}' (FORMAT csv)`);
    const { products, rejects } = await readSource({ paths: [path], width: 2 });
    const bad = [70_000, 170_000, 270_000];
    const good = Array.from({ length: ROWS }, (_, i) => i).filter((i) => !bad.includes(i));
    expect(products.length).toBe(good.length);
    expect(products.every(({ id, features }, k) => id === `P${good[k]}` && features[0] === good[k] / 2)).toBe(true);
    // A row in a thousand goes over two lines.
    expect(summarize(rejects)).toEqual(bad.map((i) => `${i + 2 + i / 1000}: f1 NON_FINITE_FEATURE`));
  });
});
