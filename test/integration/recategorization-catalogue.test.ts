import { describe, expect, it } from 'vitest';
import { createCatalogue } from '../../src/adapters/postgres/catalogue.ts';
import { type CatalogueReject, INPUT_HASH_BYTES } from '../../src/application/recategorization/ports.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import type { SourceSettings } from '../../src/domain/run.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';

const { database, sql } = useRecategorizationDatabase();

const TABLE: SourceSettings = { table: 'erp.products', idColumn: 'product_id', featureColumns: ['features'] };

interface Options {
  readonly width?: number;
  readonly pageRows?: number;
  readonly recordCounts?: boolean;
}

interface Found {
  readonly id: string;
  readonly features: readonly number[];
  readonly current: string | null;
  readonly hash: string;
  readonly decision?: { categoryCode: string; decidedBy: string; lacksFeatures: boolean };
}

/** Everything that a source gives, with what stands at each place of a page put together. */
async function read(source: Partial<SourceSettings> = {}, options: Options = {}) {
  const { width = 2, pageRows = 8192, recordCounts = true } = options;
  const settings = { ...(source.sql === undefined ? TABLE : { ...TABLE, table: undefined }), ...source };
  const products: Found[] = [];
  const rejects: CatalogueReject[] = [];
  const pages: number[] = [];
  await database().transaction(async (client) => {
    for await (const page of createCatalogue(client).read(settings, { width, pageRows, recordCounts })) {
      const { rows, values } = page.products.features;
      const bytes = Buffer.from(page.products.ids);
      pages.push(rows + page.rejects.length);
      unpackIds(page.products.ids, rows).forEach((id, row) => {
        // What idEnds says must be what the line feeds say.
        expect(bytes.toString('utf8', row === 0 ? 0 : page.idEnds[row - 1] + 1, page.idEnds[row])).toBe(id);
        const hash = Buffer.from(page.inputHashes.subarray(row * INPUT_HASH_BYTES, (row + 1) * INPUT_HASH_BYTES));
        const decision = page.decisions.get(row);
        products.push({
          id,
          features: [...values.subarray(row * width, (row + 1) * width)],
          current: page.currentCategories[row],
          hash: hash.toString('hex'),
          ...(decision && { decision }),
        });
      });
      rejects.push(...page.rejects);
    }
  }, 'ISOLATION LEVEL REPEATABLE READ');
  return { products, rejects, pages };
}

async function idsOf(source: Partial<SourceSettings> = {}, options: Options = {}): Promise<string[]> {
  return (await read(source, options)).products.map(({ id }) => id);
}

/** The only product of a query that has it in columns `id` and the others. */
async function only(query: string, columns: Partial<SourceSettings> = {}, options: Options = {}): Promise<Found> {
  const { products, rejects } = await read({ sql: query, idColumn: 'id', ...columns }, options);
  expect(rejects).toEqual([]);
  expect(products).toHaveLength(1);
  return products[0];
}

/** The only reject of a query. */
async function rejectOf(query: string): Promise<CatalogueReject> {
  const { products, rejects } = await read({ sql: `${query} UNION ALL SELECT 'good', '{1,2}'`, idColumn: 'id' });
  expect(products.map(({ id }) => id)).toEqual(['good']);
  expect(rejects).toHaveLength(1);
  return rejects[0];
}

describe('a source', () => {
  it('is a table', async () => {
    await sql(`INSERT INTO erp.products VALUES ('a', '{1,2}'), ('b', '{3,4}')`);
    expect((await read()).products).toMatchObject([
      { id: 'a', features: [1, 2], current: null, hash: '0'.repeat(32) },
      { id: 'b', features: [3, 4], current: null, hash: '0'.repeat(32) },
    ]);
  });

  it('is a view', async () => {
    await sql(`INSERT INTO erp.products VALUES ('a', '{1,2}'), ('b', '{3,4}')`);
    await sql(`CREATE VIEW erp.some AS SELECT * FROM erp.products WHERE product_id = 'b'`);
    expect(await idsOf({ table: 'erp.some' })).toEqual(['b']);
  });

  it.each([
    { title: 'with names of its own', query: `SELECT 'a' AS id, ARRAY[1,2]::real[] AS features` },
    {
      title: 'that is VALUES',
      query: `SELECT column1 AS id, column2 AS features FROM (VALUES ('a', '{1,2}'::real[])) v`,
    },
    { title: 'with WITH', query: `WITH p AS (SELECT 'a' AS id, '{1,2}'::real[] AS features) SELECT * FROM p` },
    { title: 'with an order and a limit', query: `SELECT 'a' AS id, '{1,2}'::real[] AS features ORDER BY 1 LIMIT 1` },
    { title: 'that ends with a comment', query: `SELECT 'a' AS id, '{1,2}'::real[] AS features -- all of them` },
    { title: 'that ends with a line break', query: `SELECT 'a' AS id, '{1,2}'::real[] AS features\n` },
    { title: 'with a parenthesis in a comment', query: `SELECT 'a' AS id, '{1,2}'::real[] AS features /* ) s */` },
    { title: 'that has a column s', query: `SELECT 'a' AS id, '{1,2}'::real[] AS features, 's' AS s` },
    { title: 'that has columns c and r', query: `SELECT 'a' AS id, '{1,2}'::real[] AS features, 1 AS c, 2 AS r` },
  ])('is a query $title', async ({ query }) => {
    expect(await only(query)).toMatchObject({ id: 'a', features: [1, 2] });
  });

  it.each([
    { title: 'capitals', table: 'Products' },
    { title: 'a space and a hyphen', table: 'our products-2' },
    { title: 'quotes', table: `it's "quoted"` },
    { title: 'an accent', table: 'peças' },
    { title: 'a keyword', table: 'select' },
  ])('is a table whose name has $title', async ({ table }) => {
    await sql(
      `CREATE TABLE erp."${table.replaceAll('"', '""')}" AS SELECT 'a' AS product_id, '{1,2}'::real[] AS features`,
    );
    expect(await idsOf({ table: `erp.${table}` })).toEqual(['a']);
  });

  it('is a table whose schema is not named where the search path finds it', async () => {
    await sql(`CREATE TABLE public.by_search_path AS SELECT 'a' AS product_id, '{1,2}'::real[] AS features`);
    expect(await idsOf({ table: 'by_search_path' })).toEqual(['a']);
    await sql('DROP TABLE public.by_search_path');
  });

  it('has columns whose names have capitals, spaces and quotes', async () => {
    const query = `SELECT 'a' AS "Id ""1""", '{1,2}'::real[] AS "the Features", 'C' AS "it's"`;
    const columns = { idColumn: 'Id "1"', featureColumns: ['the Features'], categoryColumn: "it's" };
    expect(await only(query, columns)).toMatchObject({ id: 'a', features: [1, 2], current: 'C' });
  });

  it('that is empty gives no product', async () => {
    expect(await read()).toMatchObject({ products: [], rejects: [] });
  });

  it('of more rows than a page has gives them all, in pages', async () => {
    await sql(`INSERT INTO erp.products SELECT 'P' || i, ARRAY[i, -i] FROM generate_series(1, 20000) i`);
    const { products, rejects, pages } = await read();
    expect(pages).toEqual([8192, 8192, 3616]);
    expect(rejects).toEqual([]);
    expect(products.every(({ id, features: [x, y] }, i) => id === `P${i + 1}` && x === i + 1 && y === -x)).toBe(true);
    expect(products).toHaveLength(20_000);
  });

  it('fills pages with rejects as with products', async () => {
    await sql(`INSERT INTO erp.products SELECT 'P' || i, CASE WHEN i % 2 = 0 THEN '{1,2}'::real[] END
      FROM generate_series(1, 10) i`);
    const { products, rejects, pages } = await read({}, { pageRows: 4 });
    expect(pages).toEqual([4, 4, 2]);
    expect(products.map(({ id }) => id)).toEqual(['P2', 'P4', 'P6', 'P8', 'P10']);
    expect(rejects.map(({ productId }) => productId)).toEqual(['P1', 'P3', 'P5', 'P7', 'P9']);
  });

  it('has rows that are larger than what comes at once', async () => {
    await sql(`INSERT INTO erp.products SELECT repeat(chr(96 + i), 200), array_fill(i, ARRAY[40000])
      FROM generate_series(1, 3) i`);
    const { products } = await read({}, { width: 40_000, pageRows: 2 });
    expect(products.map(({ id, features }) => [id[0], id.length, features.length, features.at(-1)])).toEqual([
      ['a', 200, 40_000, 1],
      ['b', 200, 40_000, 2],
      ['c', 200, 40_000, 3],
    ]);
  });

  it('of long ids that no page was made for keeps them', async () => {
    await sql(`INSERT INTO erp.products SELECT i || repeat('🔩', 190), '{1,2}' FROM generate_series(1, 50) i`);
    const ids = await idsOf({}, { pageRows: 20 });
    expect(ids).toEqual(Array.from({ length: 50 }, (_, i) => `${i + 1}${'🔩'.repeat(190)}`));
  });

  it('is read as of one moment, though it is written meanwhile', async () => {
    await sql(`INSERT INTO erp.products SELECT 'P' || i, '{1,2}' FROM generate_series(1, 100) i`);
    await database().transaction(async (client) => {
      const pages = createCatalogue(client).read(TABLE, { width: 2, pageRows: 10, recordCounts: true });
      let products = 0;
      for await (const page of pages) {
        if (products === 0) await sql(`DELETE FROM erp.products`);
        products += page.products.features.rows;
      }
      expect(products).toBe(100);
    }, 'ISOLATION LEVEL REPEATABLE READ');
  });
});

describe('a feature vector', () => {
  it.each([
    { type: 'real[]', value: `'{1.5,-0.1}'` },
    { type: 'double precision[]', value: `'{1.5,-0.1}'` },
    { type: 'numeric[]', value: `'{1.5,-0.1}'` },
    { type: 'numeric(6,2)[]', value: `'{1.5,-0.1}'` },
    { type: 'text', value: `'{1.5,-0.1}'` },
  ])('of type $type is read as float32', async ({ type, value }) => {
    expect((await only(`SELECT 'a' AS id, ${value}::${type} AS features`)).features).toEqual([1.5, Math.fround(-0.1)]);
  });

  it('of type integer[] is read', async () => {
    expect((await only(`SELECT 'a' AS id, '{1,-2147483648}'::int[] AS features`)).features).toEqual([1, -2147483648]);
  });

  it.each([
    { title: 'real', x: '1.5::real', y: '-0.1::real' },
    { title: 'double precision', x: '1.5::float8', y: '-0.1::float8' },
    { title: 'numeric', x: '1.5::numeric', y: '-0.1::numeric' },
    { title: 'different types', x: '1.5::numeric', y: '-0.1::real' },
  ])('in columns of its own of type $title is read', async ({ x, y }) => {
    const { features } = await only(`SELECT 'a' AS id, ${y} AS y, ${x} AS x`, { featureColumns: ['x', 'y'] });
    expect(features).toEqual([1.5, Math.fround(-0.1)]);
  });

  it.each([
    { title: 'integer and smallint', x: '7', y: '-1::smallint' },
    { title: 'bigint and real', x: '7::bigint', y: '-1::real' },
  ])('in columns of type $title is read', async ({ x, y }) => {
    const { features } = await only(`SELECT 'a' AS id, ${x} AS x, ${y} AS y`, { featureColumns: ['x', 'y'] });
    expect(features).toEqual([7, -1]);
  });

  it('is exactly the float4 that the database has', async () => {
    const { features } = await only(`SELECT 'a' AS id, ARRAY['3.4028235e38', '1e-45']::real[] AS features`);
    expect(features).toEqual([3.4028234663852886e38, 1.401298464324817e-45]);
  });

  it.each([
    { title: 'null', value: 'NULL::real[]', code: 'WRONG_WIDTH', message: 'expected 2 features, got null' },
    { title: 'empty', value: `'{}'::real[]`, code: 'WRONG_WIDTH', message: 'expected 2 features, got 0' },
    { title: 'too short', value: `'{1}'::real[]`, code: 'WRONG_WIDTH', message: 'expected 2 features, got 1' },
    { title: 'too long', value: `'{1,2,3}'::float8[]`, code: 'WRONG_WIDTH', message: 'expected 2 features, got 3' },
    {
      title: 'of two dimensions',
      value: `'{{1,2}}'::real[]`,
      code: 'WRONG_WIDTH',
      message: 'expected 2 features, got an array of several dimensions',
    },
    {
      title: 'with a null',
      value: `'{1,NULL}'::real[]`,
      code: 'NON_FINITE_FEATURE',
      message: 'feature 1 is not a finite float32 number: NaN',
    },
    {
      title: 'with NaN',
      value: `'{NaN,1}'::real[]`,
      code: 'NON_FINITE_FEATURE',
      message: 'feature 0 is not a finite float32 number: NaN',
    },
    {
      title: 'with an infinity',
      value: `'{1,-Infinity}'::real[]`,
      code: 'NON_FINITE_FEATURE',
      message: 'feature 1 is not a finite float32 number: -Infinity',
    },
    {
      title: 'with a double beyond float32',
      value: `'{1,1e39}'::float8[]`,
      code: 'NON_FINITE_FEATURE',
      message: 'feature 1 is not a finite float32 number: Infinity',
    },
    {
      title: 'with a numeric beyond float32',
      value: `'{1,1e39}'::numeric[]`,
      code: 'NON_FINITE_FEATURE',
      message: 'feature 1 is not a finite float32 number: Infinity',
    },
    {
      title: 'with a numeric that is NaN',
      value: `'{NaN,1}'::numeric[]`,
      code: 'NON_FINITE_FEATURE',
      message: 'feature 0 is not a finite float32 number: NaN',
    },
  ])('that is $title rejects that product alone', async ({ value, code, message }) => {
    expect(await rejectOf(`SELECT 'bad' AS id, ${value} AS features`)).toEqual({ productId: 'bad', code, message });
  });

  it('with a number beyond float32 in a column rejects that product alone', async () => {
    const query = `SELECT 'bad' AS id, 1::numeric AS x, 1e39::numeric AS y UNION ALL SELECT 'good', 1, 2`;
    const { products, rejects } = await read({ sql: query, idColumn: 'id', featureColumns: ['x', 'y'] });
    expect(products.map(({ id }) => id)).toEqual(['good']);
    expect(rejects).toMatchObject([{ productId: 'bad', code: 'NON_FINITE_FEATURE' }]);
  });

  it('with a null in a column rejects that product alone', async () => {
    const query = `SELECT 'bad' AS id, 1::real AS x, NULL::real AS y UNION ALL SELECT 'good', 1, 2`;
    const { products, rejects } = await read({ sql: query, idColumn: 'id', featureColumns: ['x', 'y'] });
    expect(products.map(({ id }) => id)).toEqual(['good']);
    expect(rejects).toMatchObject([{ productId: 'bad', code: 'NON_FINITE_FEATURE' }]);
  });

  it('that was rejected leaves nothing in the vector of the next product', async () => {
    await sql(`INSERT INTO erp.products VALUES ('a', '{7,NaN}'), ('b', '{1,2}'), ('c', '{8,8,8}'), ('d', '{3,4}')`);
    expect((await read()).products.map(({ features }) => features)).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });
});

describe('a product id', () => {
  it.each([
    { title: 'integer', value: '42', id: '42' },
    { title: 'bigint', value: '9007199254740993', id: '9007199254740993' },
    {
      title: 'uuid',
      value: `'0B1A6A2E-3F53-4D5C-9F59-0F7A4B9C8D7E'::uuid`,
      id: '0b1a6a2e-3f53-4d5c-9f59-0f7a4b9c8d7e',
    },
    { title: 'varchar', value: `'SKU 1'::varchar(9)`, id: 'SKU 1' },
    { title: 'char, which is filled up with spaces', value: `'SKU'::char(9)`, id: 'SKU' },
    { title: 'numeric', value: '10.50::numeric', id: '10.50' },
    { title: 'text of other scripts', value: `'peça-部品-🔩'`, id: 'peça-部品-🔩' },
    { title: 'text of 200 characters', value: `repeat('a', 200)`, id: 'a'.repeat(200) },
    { title: 'text of 200 characters of four bytes', value: `repeat('🔩', 200)`, id: '🔩'.repeat(200) },
    { title: 'text with spaces around', value: `' a '`, id: ' a ' },
  ])('of type $title is read as text', async ({ value, id }) => {
    expect((await only(`SELECT ${value} AS id, '{1,2}'::real[] AS features`)).id).toBe(id);
  });

  it.each([
    { title: 'null', value: 'NULL', productId: null },
    { title: 'empty', value: `''`, productId: '' },
    { title: 'longer than 200 characters', value: `repeat('a', 201)`, productId: 'a'.repeat(201) },
    { title: 'longer than 200 characters of four bytes', value: `repeat('🔩', 201)`, productId: '🔩'.repeat(201) },
    { title: 'with a line feed', value: `E'a\\nb'`, productId: 'a\nb' },
    { title: 'with a tab', value: `E'\\ta'`, productId: '\ta' },
    { title: 'with a delete character', value: `E'a\\x7f'`, productId: 'a\u007f' },
    { title: 'with a control character of two bytes', value: `U&'a\\0085'`, productId: 'a\u0085' },
  ])('that is $title rejects that product alone, and is told as it came', async ({ value, productId }) => {
    const reject = await rejectOf(`SELECT ${value} AS id, '{1,2}'::real[] AS features`);
    expect(reject).toMatchObject({ productId, code: 'INVALID_PRODUCT_ID' });
  });

  it('that is null rejects each product that has none', async () => {
    await sql(`INSERT INTO erp.products VALUES (NULL, '{1,2}'), ('a', '{1,2}'), (NULL, '{1,2}')`);
    const { products, rejects } = await read();
    expect(products.map(({ id }) => id)).toEqual(['a']);
    expect(rejects.map(({ code }) => code)).toEqual(['INVALID_PRODUCT_ID', 'INVALID_PRODUCT_ID']);
  });
});

describe('a product id that stands more than once', () => {
  const duplicate = (productId: string) => ({
    productId,
    code: 'DUPLICATE_PRODUCT_ID',
    message: 'the product id stands more than once in the source',
  });

  it('is rejected wherever it stands: none of them is the right one', async () => {
    await sql(`INSERT INTO erp.products SELECT CASE WHEN i IN (1, 4, 5, 10) THEN 'twice' ELSE 'P' || i END, ARRAY[i, i]
      FROM generate_series(1, 10) i`);
    const { products, rejects } = await read({}, { pageRows: 4 });
    expect(products.map(({ id }) => id)).toEqual(['P2', 'P3', 'P6', 'P7', 'P8', 'P9']);
    expect(rejects).toEqual(Array.from({ length: 4 }, () => duplicate('twice')));
  });

  it('is rejected though all else of it is the same, or is bad', async () => {
    await sql(`INSERT INTO erp.products VALUES ('a', '{1,2}'), ('b', '{1,2}'), ('a', '{1,2}'), ('a', NULL)`);
    const { products, rejects } = await read();
    expect(products.map(({ id }) => id)).toEqual(['b']);
    expect(rejects).toEqual([duplicate('a'), duplicate('a'), duplicate('a')]);
  });

  it('is rejected where it is a number', async () => {
    const query = `SELECT 1 AS id, '{1,2}'::real[] AS features UNION ALL SELECT 2, '{1,2}' UNION ALL SELECT 1, '{1,2}'`;
    const { products, rejects } = await read({ sql: query, idColumn: 'id' });
    expect(products.map(({ id }) => id)).toEqual(['2']);
    expect(rejects).toEqual([duplicate('1'), duplicate('1')]);
  });

  it('is told from one that differs in capitals, in spaces or in how an accent is written', async () => {
    const ids = ['a', 'A', ' a', 'a ', 'é', 'e\u0301'];
    await sql('INSERT INTO erp.products SELECT id, $2 FROM unnest($1::text[]) id', ids, [1, 2]);
    expect((await idsOf()).sort()).toEqual(ids.sort());
  });

  it('is one as text, which is what is told apart from then on', async () => {
    // As numbers they are equal.
    const query = `SELECT 1.0 AS id, '{1,2}'::real[] AS features UNION ALL SELECT 1.00, '{1,2}'`;
    expect((await idsOf({ sql: query, idColumn: 'id' })).sort()).toEqual(['1.0', '1.00']);
  });

  it('more than a hundred thousand times says that it is hardly the id', async () => {
    const query = `SELECT i / 2 AS id, '{1,2}'::real[] AS features FROM generate_series(1, 200005) i`;
    await expect(read({ sql: query, idColumn: 'id' })).rejects.toMatchObject({
      code: 'TOO_MANY_DUPLICATES',
      message: expect.stringContaining('--id-column'),
    });
  });
});

describe('a source that does not fit', () => {
  it.each([
    { title: 'id', columns: { idColumn: 'sku' } },
    { title: 'features', columns: { featureColumns: ['sku'] } },
    { title: 'one of the features', columns: { featureColumns: ['product_id', 'sku'] } },
    { title: 'category', columns: { categoryColumn: 'sku' } },
  ])('as it lacks the column of the $title says which it has', async ({ columns }) => {
    await expect(read(columns)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      retryable: false,
      message:
        'the source has no column "sku"; it has "product_id", "features", "category" (see --id-column, --feature-columns, --category-column)',
    });
  });

  it('as the name of the column differs in capitals says so as well', async () => {
    await expect(read({ idColumn: 'Product_ID' })).rejects.toMatchObject({ code: 'SOURCE_INVALID' });
  });

  it.each([
    { title: 'a table that is not there', source: { table: 'erp.nothing' }, option: '--source-table' },
    { title: 'a schema that is not there', source: { table: 'nowhere.products' }, option: '--source-table' },
    { title: 'a slip', source: { sql: 'SELEC 1' }, option: '--source-sql' },
    { title: 'a parenthesis too many', source: { sql: 'SELECT 1)' }, option: '--source-sql' },
    {
      title: 'a statement that changes something',
      source: { sql: 'DELETE FROM erp.products' },
      option: '--source-sql',
    },
    {
      title: 'one that changes something within',
      source: { sql: 'WITH d AS (DELETE FROM erp.products RETURNING *) SELECT * FROM d' },
      option: '--source-sql',
    },
    { title: 'a function that is not there', source: { sql: 'SELECT nothing(1)' }, option: '--source-sql' },
    { title: 'a parameter', source: { sql: 'SELECT $1::text AS product_id' }, option: '--source-sql' },
    { title: 'two statements', source: { sql: 'SELECT 1; SELECT 2' }, option: '--source-sql' },
  ])('as it is $title says what PostgreSQL said', async ({ source, option }) => {
    await expect(read(source)).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringMatching(`^the source \\(${option}\\) cannot be read: .+`),
    });
  });

  it.each([
    { title: 'no numbers', query: `SELECT 'a' AS id, true AS features` },
    { title: 'one number', query: `SELECT 'a' AS id, 1::real AS features` },
    { title: 'a document', query: `SELECT 'a' AS id, '[1,2]'::jsonb AS features` },
  ])('as its features are $title is told as one', async ({ query }) => {
    await expect(read({ sql: query, idColumn: 'id' })).rejects.toMatchObject({
      code: 'SOURCE_INVALID',
      message: expect.stringContaining('cannot cast'),
    });
  });

  it('as two of its columns have the same name is told as one', async () => {
    await expect(
      read({ sql: `SELECT 'a' AS id, 'b' AS id, '{1,2}'::real[] AS features`, idColumn: 'id' }),
    ).rejects.toMatchObject({ code: 'SOURCE_INVALID', message: expect.stringContaining('ambiguous') });
  });

  it('as a row of it cannot be computed is told as what PostgreSQL refused', async () => {
    const query = `SELECT i::text AS id, ARRAY[1, 1 / (3 - i)]::real[] AS features FROM generate_series(1, 5) i`;
    await expect(read({ sql: query, idColumn: 'id' })).rejects.toMatchObject({
      code: 'DATABASE_REFUSED',
      retryable: false,
      message: expect.stringContaining('division by zero'),
    });
  });
});

describe('the present category of a product', () => {
  const CATEGORY = { categoryColumn: 'category' };

  async function record(id: string, category: string | null, hash = '00'.repeat(16)): Promise<void> {
    await sql(
      `INSERT INTO categorizer.product_categories (product_id, category_code, input_hash) VALUES ($1, $2, decode($3, 'hex'))`,
      id,
      category,
      hash,
    );
  }

  async function currents(source: Partial<SourceSettings>, options: Options): Promise<(string | null)[]> {
    return (await read(source, options)).products.map(({ current }) => current);
  }

  it.each([
    { title: 'the record where the source has none', source: {}, recordCounts: true, expected: ['R', null, 'R', null] },
    { title: 'the record also for the ERP', source: {}, recordCounts: false, expected: ['R', null, 'R', null] },
    {
      title: 'that of the source only where there is no record',
      source: CATEGORY,
      recordCounts: true,
      expected: ['R', 'E', 'R', null],
    },
    {
      title: 'that of the source, and no other, where it is written back there',
      source: CATEGORY,
      recordCounts: false,
      expected: ['E', 'E', null, null],
    },
  ])('is $title', async ({ source, recordCounts, expected }) => {
    // In both, in the source alone, in the record alone, in none.
    await sql(`INSERT INTO erp.products VALUES
      ('1', '{1,2}', 'E'), ('2', '{1,2}', 'E'), ('3', '{1,2}', NULL), ('4', '{1,2}', NULL)`);
    await record('1', 'R');
    await record('3', 'R');
    expect(await currents(source, { recordCounts })).toEqual(expected);
  });

  it('is that of the source where the record knows the product without a category', async () => {
    await sql(`INSERT INTO erp.products VALUES ('1', '{1,2}', 'E')`);
    await record('1', null);
    expect(await currents(CATEGORY, { recordCounts: true })).toEqual(['E']);
  });

  it('may be a number in the source', async () => {
    const query = `SELECT 'a' AS id, '{1,2}'::real[] AS features, 7 AS category`;
    expect((await only(query, CATEGORY, { recordCounts: false })).current).toBe('7');
  });

  it('of a product whose id is a number is found by that number', async () => {
    await record('42', 'R');
    expect((await only(`SELECT 42 AS id, '{1,2}'::real[] AS features`)).current).toBe('R');
  });

  it('comes with the hash of its last categorization', async () => {
    await sql(`INSERT INTO erp.products VALUES ('1', '{1,2}'), ('2', '{1,2}')`);
    await record('2', 'R', 'ab'.repeat(16));
    expect((await read()).products.map(({ hash }) => hash)).toEqual(['00'.repeat(16), 'ab'.repeat(16)]);
  });
});

describe('a decision', () => {
  it('comes with its product, with whether its vector is known; a review that is open does not', async () => {
    await sql(
      `INSERT INTO erp.products VALUES ('1', '{1,2}'), ('2', '{1,2}'), ('3', NULL), ('4', '{1,2}'), ('5', '{1,2}')`,
    );
    await sql(`INSERT INTO categorizer.reviews (product_id, decided_category, decided_by, features) VALUES
      ('1', 'B', 'ana', NULL), ('3', 'B', 'ana', NULL), ('4', 'C', 'rui', '{5,6}'), ('5', NULL, NULL, '{5,6}'),
      ('gone', 'B', 'ana', NULL)`);
    const { products } = await read();
    expect(products.map(({ id, decision }) => [id, decision])).toEqual([
      ['1', { categoryCode: 'B', decidedBy: 'ana', lacksFeatures: true }],
      ['2', undefined],
      ['4', { categoryCode: 'C', decidedBy: 'rui', lacksFeatures: false }],
      ['5', undefined],
    ]);
  });
});
