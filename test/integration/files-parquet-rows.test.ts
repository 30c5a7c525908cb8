import { readFile } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { gzipped, readSource, runSql, summarize } from '../support/files-tables.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

async function write(select: string, options = ''): Promise<string> {
  const path = workspace.path('in.parquet');
  await runSql(`COPY (${select}) TO '${path}' (FORMAT parquet ${options})`);
  return path;
}

async function read(select: string, options: object = {}) {
  return readSource({ paths: [await write(select)], width: 2, ...options });
}

describe('a Parquet file', () => {
  it.each([
    ['doubles', '1.5::DOUBLE AS f0, -2::DOUBLE AS f1'],
    ['integers and decimals', '1.5::DECIMAL(9, 3) AS f0, (-2)::TINYINT AS f1'],
    ['texts that are numbers', "'1.5' AS f0, '-2' AS f1"],
    ['a list', '[1.5, -2] AS features'],
    ['a list of integers and a note', "[1.5::DOUBLE, -2::DOUBLE] AS features, 'x' AS note"],
  ])('with %s is read', async (_case, columns) => {
    const { products, rejects } = await read(`SELECT 'P1' AS product_id, ${columns}`);
    expect(rejects).toEqual([]);
    expect(products).toEqual([{ id: 'P1', features: [1.5, -2] }]);
  });

  it('may have ids of any type, and names that need quotes', async () => {
    const { products } = await read('SELECT 42 AS "my ""id", 1 AS "a b", 2 AS "SELECT"', {
      idColumn: 'my "id',
      featureColumns: 'a b,SELECT',
    });
    expect(products).toEqual([{ id: '42', features: [1, 2] }]);
  });

  it('that is compressed is read', async () => {
    const path = await write("SELECT 'P1' AS product_id, 1 AS f0, 2 AS f1");
    const compressed = await workspace.write("it's.parquet.gz", gzipped(await readFile(path)));
    expect((await readSource({ paths: [compressed], width: 2 })).products).toHaveLength(1);
  });

  it('keeps the order of 300,000 rows in several row groups, with ids that get longer', async () => {
    const id = "'P' || i || repeat('x', (i // 2500)::INT)";
    const path = await write(
      `SELECT ${id} AS product_id, i AS f0, 1 AS f1 FROM range(300000) r(i)`,
      ', ROW_GROUP_SIZE 40000',
    );
    const { products } = await readSource({ paths: [path], width: 2 });
    expect(products.length).toBe(300_000);
    const isInOrder = products.every(
      ({ id: found, features }, i) => features[0] === i && found === `P${i}${'x'.repeat(Math.floor(i / 2500))}`,
    );
    expect(isInOrder).toBe(true);
  });

  it('rejects bad rows by their numbers, with everything that is wrong, as lines of CSV', async () => {
    const { products, rejects, source } = await read(`SELECT * FROM (VALUES
      ('P1', 1.0::DOUBLE, 2.0::DOUBLE, 'x'), (NULL, 1, 2, 'a "b", c'), ('P3', 'nan', 1e39, NULL), ('P4', NULL, '-inf', E'two\\nlines')
    ) AS t(product_id, f0, f1, note)`);
    expect(products.map(({ id }) => id)).toEqual(['P1']);
    expect(summarize(rejects)).toEqual([
      '2: product_id INVALID_PRODUCT_ID',
      '3: f0 NON_FINITE_FEATURE, f1 NON_FINITE_FEATURE',
      '4: f0 NON_FINITE_FEATURE, f1 NON_FINITE_FEATURE',
    ]);
    const rows = parse([source.inputs[0].header, ...rejects.map(({ raw }) => raw)].join('\n'));
    expect(rows).toEqual([
      ['product_id', 'f0', 'f1', 'note'],
      ['', '1.0', '2.0', 'a "b", c'],
      ['P3', 'nan', '1e+39', ''],
      ['P4', '', '-inf', 'two\nlines'],
    ]);
  });

  it('rejects lists of another length and what is in them', async () => {
    const { rejects } = await read(`SELECT * FROM (VALUES
      (1, [1.0, 2.0]), (2, [1.0]), (3, NULL), (4, [1.0, NULL])) AS t(product_id, features)`);
    expect(summarize(rejects)).toEqual([
      '2: features WRONG_WIDTH',
      '3: features WRONG_WIDTH',
      '4: features NON_FINITE_FEATURE',
    ]);
  });

  it.each([
    [
      "SELECT 'P' AS sku, 1 AS f0, 2 AS f1",
      'INPUT_NOT_READABLE',
      'no column product_id or productId among: sku, f0, f1',
    ],
    ["SELECT 'P' AS product_id, 1 AS f0", 'WRONG_WIDTH', 'expects 2 feature columns, got 1'],
  ])('of %s is refused', async (select, code, message) => {
    await expect(read(select)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  it('that is damaged is refused in one line', async () => {
    const path = await workspace.write('in.parquet', `PAR1${'x'.repeat(100)}PAR1`);
    await expect(readSource({ paths: [path] })).rejects.toMatchObject({
      code: 'INPUT_NOT_READABLE',
      message: expect.stringMatching(new RegExp(`^cannot read ${path}: [^\\n]+$`)),
    });
  });
});
