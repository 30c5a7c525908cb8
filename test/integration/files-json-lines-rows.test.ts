import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { gzipped, readSource, summarize } from '../support/files-tables.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

async function read(content: string | Uint8Array, options: object = {}) {
  const path = await workspace.write('in.jsonl', content);
  const { products, rejects } = await readSource({ paths: [path], width: 2, ...options });
  return { products, rejects, ids: products.map(({ id }) => id) };
}

const P1 = '{"productId":"P1","features":[1.5,2]}';
const P3 = '{"productId":"P3","features":[1,-2e-1]}';
const PRODUCTS = [
  { id: 'P1', features: [1.5, 2] },
  { id: 'P3', features: [1, Math.fround(-0.2)] },
];

describe('a file of JSON lines', () => {
  it.each([
    ['as they are', `${P1}\n${P3}\n`],
    ['with no line end at the end', `${P1}\n${P3}`],
    ['with CRLF', `${P1}\r\n${P3}\r\n`],
    ['with CRLF and LF', `${P1}\r\n${P3}\n`],
    ['with a byte order mark', `\uFEFF${P1}\n${P3}\n`],
    ['with blank lines', `\n${P1}\n \n\r\n${P3}\n\n`],
    ['with white space', ` ${P1} \n\t${P3}\r\r\n`],
    ['with the other name of the id', `${P1}\n${P3}`.replaceAll('productId', 'product_id')],
    ['with a key for each number', '{"productId":"P1","f0":1.5,"f1":2}\n{"f1":-0.2,"f0":1,"productId":"P3","x":{}}'],
    ['with numbers in quotes', `${P1.replace('1.5', '"1.5"')}\n${P3}`],
  ])('is read %s', async (_case, content) => {
    const { products, rejects } = await read(content);
    expect(rejects).toEqual([]);
    expect(products).toEqual(PRODUCTS);
  });

  it('is read compressed', async () => {
    expect((await read(gzipped(`${P1}\n${P3}\n`))).products).toEqual(PRODUCTS);
  });

  it('ends lines at line feeds only, and gives whole numbers as ids as their text', async () => {
    const { ids } = await read(
      '{"productId":"a\u2028b","features":[1,2]}\n{"productId":12345678901234567890,"features":[1,2]}',
    );
    expect(ids).toEqual(['a\u2028b', '12345678901234567890']);
  });

  it('has the keys that are named', async () => {
    const { products } = await read('{"sku":"P1","vector":[1.5,2]}', { idColumn: 'sku', featureColumns: 'vector' });
    expect(products).toEqual([PRODUCTS[0]]);
  });

  it.each([
    ['an array', `[${P1}]`, 'JSON array'],
    ['without the id', '{"sku":"P1","features":[1,2]}', 'no column product_id or productId among: sku, features'],
    ['without features', '{"productId":"P1"}', 'no column f0 to f1, or features with arrays among: productId'],
  ])('that is %s is refused', async (_case, content, message) => {
    await expect(read(content)).rejects.toMatchObject({
      code: 'INPUT_NOT_READABLE',
      message: expect.stringContaining(message),
    });
  });
});

describe('a bad JSON line', () => {
  it.each([
    ['no JSON', 'not json', 'INVALID_ROW'],
    ['cut off', '{"productId":"P2","features":[1,', 'INVALID_ROW'],
    ['two objects', `${P1}${P3}`, 'INVALID_ROW'],
    ['no object', '[1,2]', 'INVALID_ROW'],
    ['a raw control character', '{"productId":"P\u00012","features":[1,2]}', 'INVALID_ROW'],
    ['no id', '{"features":[1,2]}', 'productId INVALID_PRODUCT_ID'],
    ['an id that is an object', '{"productId":{"a":1},"features":[1,2]}', 'productId INVALID_PRODUCT_ID'],
    ['an id with a line feed', '{"productId":"a\\nb","features":[1,2]}', 'productId INVALID_PRODUCT_ID'],
    ['too few numbers', '{"productId":"P2","features":[1]}', 'features WRONG_WIDTH'],
    ['too many numbers', '{"productId":"P2","features":[1,2,3]}', 'features WRONG_WIDTH'],
    ['no features', '{"productId":"P2"}', 'features WRONG_WIDTH'],
    ['features that are no array', '{"productId":"P2","features":"x"}', 'features WRONG_WIDTH'],
    ['null among the numbers', '{"productId":"P2","features":[1,null]}', 'features NON_FINITE_FEATURE'],
    ['text among the numbers', '{"productId":"P2","features":["x",2]}', 'features NON_FINITE_FEATURE'],
    ['1e400', '{"productId":"P2","features":[1e400,2]}', 'features NON_FINITE_FEATURE'],
    ['1e39', '{"productId":"P2","features":[1,1e39]}', 'features NON_FINITE_FEATURE'],
    [
      'everything wrong',
      '{"productId":"","features":[null,"x"]}',
      'productId INVALID_PRODUCT_ID, features NON_FINITE_FEATURE, features NON_FINITE_FEATURE',
    ],
  ])('(%s) is rejected alone, at its line and as it came', async (_case, line, errors) => {
    const { ids, rejects } = await read(`${P1}\n\n${line}\n${P3}\n`);
    expect(ids).toEqual(['P1', 'P3']);
    expect(summarize(rejects)).toEqual([`3: ${errors}`]);
    expect(rejects[0].raw).toBe(line);
  });

  it('that is not UTF-8 is rejected alone', async () => {
    const bad = Buffer.from('{"productId":"Ç","features":[1,2]}\n', 'latin1');
    const { ids, rejects } = await read(Buffer.concat([Buffer.from(`${P1}\n`), bad, Buffer.from(P3)]));
    expect(ids).toEqual(['P1', 'P3']);
    expect(rejects.map(({ line }) => line)).toEqual([2]);
  });
});
