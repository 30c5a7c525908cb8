import fc from 'fast-check';
import { to as copyTo } from 'pg-copy-streams';
import { beforeEach, describe, expect, it } from 'vitest';
import { type CopyRow, readCopy, readFloats, textOf } from '../../src/adapters/postgres/copy-reader.ts';
import { type CopyWriter, copyInto } from '../../src/adapters/postgres/copy-writer.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';

const { database, sql } = useRecategorizationDatabase();

beforeEach(async () => {
  await sql('CREATE TABLE erp.copied (place integer, word text, number real, bytes bytea, numbers real[])');
});

interface Row {
  readonly word: string | null;
  readonly number: number | null;
  readonly bytes: Buffer | null;
  readonly numbers: number[] | null;
}

const NULLS: Row = { word: null, number: null, bytes: null, numbers: null };

function write(rows: readonly Row[]): Promise<void> {
  return copy('erp.copied', (writer) =>
    rows.forEach(({ word, number, bytes, numbers }, place) => {
      writer.row(5);
      writer.int(place);
      if (word === null) writer.null();
      else writer.text(word);
      if (number === null) writer.null();
      else writer.float(number);
      if (bytes === null) writer.null();
      else writer.bytes(bytes);
      if (numbers === null) writer.null();
      else writer.floats(Float32Array.from(numbers));
    }),
  );
}

function copy(target: string, rows: (writer: CopyWriter) => void): Promise<void> {
  return database().transaction((client) => copyInto(client, target, rows));
}

/** As an ordinary query gives them. As float8, so that no digit of a float4 is left out. */
function stored(): Promise<Row[]> {
  return sql<Row>('SELECT word, number::float8, bytes, numbers::float8[] FROM erp.copied ORDER BY place');
}

/** Calls `see` with every row of a query. */
async function readRows(query: string, columns: number, see: (row: CopyRow) => void): Promise<void> {
  await database().transaction(async (client) => {
    const stream = client.query(copyTo(`COPY (${query}) TO STDOUT (FORMAT binary)`));
    for await (const next of readCopy(stream, columns)) for (let row = next(); row; row = next()) see(row);
  });
}

async function readTexts(query: string): Promise<(string | null)[]> {
  const texts: (string | null)[] = [];
  await readRows(query, 1, (row) => texts.push(textOf(row, 0)));
  return texts;
}

/** The vector of width 3 in the only row of a query, or how many numbers there are instead. */
async function readVector(query: string): Promise<number[] | number | undefined> {
  let found: number[] | number | undefined;
  await readRows(query, 1, (row) => {
    const target = new Float32Array(5).fill(9);
    found = readFloats(row, 0, target, 1, 3) ?? [...target];
  });
  return found;
}

const text = fc.string({ unit: 'binary' }).map((each) => each.replaceAll('\0', ''));
const float = fc.float({ noNaN: true });

describe('rows that are copied into a table', () => {
  it('are there as they were, whatever they hold', async () => {
    const row = fc.record({
      word: fc.option(text),
      number: fc.option(float),
      bytes: fc.option(fc.uint8Array().map((each) => Buffer.from(each))),
      numbers: fc.option(fc.array(float, { minLength: 1 })),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(row), async (rows) => {
        await sql('DELETE FROM erp.copied');
        await write(rows);
        expect(await stored()).toEqual(rows);
      }),
      { numRuns: 30 },
    );
  });

  it('may be none', async () => {
    await write([]);
    expect(await stored()).toEqual([]);
  });

  it('are told apart where they are empty and where they are null', async () => {
    await write([{ ...NULLS, word: '', bytes: Buffer.alloc(0) }, NULLS]);
    expect(await stored()).toEqual([{ ...NULLS, word: '', bytes: Buffer.alloc(0) }, NULLS]);
  });

  it.each([
    { title: 'of two bytes a character', word: 'peça' },
    { title: 'of three bytes', word: '部品\u2028' },
    { title: 'of four bytes', word: '👩‍🔧🔩' },
    { title: 'with what separates columns elsewhere', word: 'a\tb\nc\\N\r"' },
    { title: 'with a byte order mark', word: '\ufeffa\ufeff' },
  ])('keep a text $title', async ({ word }) => {
    await write([{ ...NULLS, word }]);
    expect((await stored())[0].word).toBe(word);
  });

  it('keep numbers that are none', async () => {
    await copy('erp.copied (numbers)', (writer) => {
      writer.row(1);
      writer.floats(Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, -0, 1e-45));
    });
    const [{ line }] = await sql<{ line: string }>('SELECT numbers::text AS line FROM erp.copied');
    expect(line).toBe('{NaN,Infinity,-0,1e-45}');
  });

  it('are all there when they are more than is sent at once, and when one of them is', async () => {
    const long = '🔩'.repeat(100_000);
    const rows = Array.from({ length: 30_000 }, (_, place): Row => {
      const word = place === 15_000 ? long : `word ${place}`;
      return { word, number: place, bytes: Buffer.from([place & 255]), numbers: [place, -place] };
    });
    await write(rows);
    const found = await stored();
    expect(found).toHaveLength(rows.length);
    expect(found.every(({ word, number }, place) => word === rows[place].word && number === place)).toBe(true);
    expect(found[15_001]).toEqual(rows[15_001]);
  });

  it('are none at all when one of them is refused', async () => {
    await sql('ALTER TABLE erp.copied ADD CHECK (place < 2)');
    await expect(write([NULLS, NULLS, NULLS])).rejects.toMatchObject({ code: 'DATABASE_REFUSED' });
    expect(await stored()).toEqual([]);
  });

  it('that write fails for leave the connection as it was', async () => {
    const defect = new TypeError('a defect');
    const copying = copy('erp.copied', () => {
      throw defect;
    });
    await expect(copying).rejects.toBe(defect);
    await write([NULLS]);
    expect(await stored()).toHaveLength(1);
  });
});

describe('rows that are copied out of a query', () => {
  it('are read as they were, null and empty apart', async () => {
    expect(await readTexts(`VALUES ('a'), (NULL), (''), ('peça 🔩')`)).toEqual(['a', null, '', 'peça 🔩']);
  });

  it('may be none', async () => {
    expect(await readTexts('SELECT 1 WHERE false')).toEqual([]);
  });

  it('are whole and in their order though they are cut anywhere on the way', async () => {
    const query = `SELECT i || ':' || repeat('x', (i * 7919) % 3000) FROM generate_series(1, 3000) i ORDER BY i`;
    const texts = await readTexts(query);
    expect(texts).toHaveLength(3000);
    expect(texts.every((each, i) => each === `${i + 1}:${'x'.repeat(((i + 1) * 7919) % 3000)}`)).toBe(true);
  });

  it('are whole though each is larger than what comes at once', async () => {
    const texts = await readTexts(`SELECT repeat(chr(64 + i), 1000000) FROM generate_series(1, 5) i`);
    expect(texts.map((each) => [each?.[0], each?.length])).toEqual(
      ['A', 'B', 'C', 'D', 'E'].map((c) => [c, 1_000_000]),
    );
  });

  it('end with the error where the query fails on its way', async () => {
    const reading = readTexts('SELECT (1 / (5000 - i))::text FROM generate_series(1, 10000) i');
    await expect(reading).rejects.toMatchObject({ code: 'DATABASE_REFUSED' });
  });
});

describe('a vector', () => {
  it.each([
    { title: 'real[]', query: `SELECT '{1.5,-2,3e38}'::real[]`, vector: [1.5, -2, Math.fround(3e38)] },
    { title: 'double precision[]', query: `SELECT '{1.1,-2,1e-50}'::float8[]`, vector: [Math.fround(1.1), -2, 0] },
    { title: 'an array that begins at another index', query: `SELECT '[5:7]={1,2,3}'::real[]`, vector: [1, 2, 3] },
    { title: 'an array with a null', query: `SELECT '{1,NULL,3}'::real[]`, vector: [1, Number.NaN, 3] },
  ])('of $title is written where it belongs', async ({ query, vector }) => {
    expect(await readVector(query)).toEqual([9, ...vector, 9]);
  });

  it.each([
    { title: 'too short', query: `SELECT '{1,2}'::real[]`, numbers: 2 },
    { title: 'too long', query: `SELECT '{1,2,3,4}'::float8[]`, numbers: 4 },
    { title: 'empty', query: `SELECT '{}'::real[]`, numbers: 0 },
    { title: 'null', query: 'SELECT NULL::real[]', numbers: 0 },
    { title: 'of two dimensions', query: `SELECT '{{1,2,3}}'::real[]`, numbers: -1 },
    { title: 'of three rows of one', query: `SELECT '{{1},{2},{3}}'::real[]`, numbers: -1 },
  ])('that is $title is not written', async ({ query, numbers }) => {
    expect(await readVector(query)).toBe(numbers);
  });
});
