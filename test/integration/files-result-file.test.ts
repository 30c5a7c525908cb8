import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createResultFile,
  createResultStream,
  type OutputFormat,
  type TextFormat,
} from '../../src/adapters/files/results/result-file.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { anyResult, readRows, result, rowsOf, type WrittenResult } from '../support/files-results.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

const CSV_HEADER = 'product_id,category_code,confidence,reject_code,reject_message,model_version,result_id';
const FORMATS: readonly OutputFormat[] = ['csv', 'jsonl', 'parquet'];
/** A Parquet file takes longer to open. */
const RUNS = { csv: 50, jsonl: 50, parquet: 12 };
const TEXT_FORMATS: readonly TextFormat[] = ['csv', 'jsonl'];

const first = result('r-1', [{ id: 'P1', category: 'A', confidence: 0.5 }], true);
const second = result('r-2', [{ id: 'P2', category: 'B', confidence: 0.25 }]);

async function write(
  format: OutputFormat,
  results: readonly WrittenResult[],
  keep = false,
): Promise<ReadonlySet<string>> {
  const file = createResultFile({ path: workspace.path('out'), format, keep });
  const held = await file.begin();
  for (const one of results) await file.write(one);
  await file.commit();
  return held;
}

describe.each(FORMATS)('a result file (%s)', (format) => {
  const path = () => workspace.path('out');
  const open = (keep: boolean) => createResultFile({ path: path(), format, keep });
  const read = () => readRows(path(), format);

  it('holds every product in the order of writing, packed or not, whatever is in the texts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyResult, { maxLength: 6 }), async (results) => {
        await write(format, results);
        expect(await read()).toEqual(rowsOf(results, format));
      }),
      { numRuns: RUNS[format] },
    );
  });

  it('knows the results it holds, and keeps their rows before what is added', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyResult, { maxLength: 4 }), anyResult, async (results, added) => {
        await write(format, results);
        const held = await write(format, [added], true);
        expect(held).toEqual(
          new Set(results.filter(({ products }) => products.rows > 0).map(({ resultId }) => resultId)),
        );
        expect(await read()).toEqual(rowsOf([...results, added], format));
      }),
      { numRuns: RUNS[format] },
    );
  });

  it('is as it was until it is committed', async () => {
    await write(format, [first]);
    const file = open(true);
    await file.begin();
    await file.write(second);
    expect(await read()).toEqual(rowsOf([first], format));
    await file.commit();
    expect(await read()).toEqual(rowsOf([first, second], format));
  });

  it('is written anew where nothing is to be kept', async () => {
    await write(format, [first]);
    expect(await write(format, [second])).toEqual(new Set());
    expect(await read()).toEqual(rowsOf([second], format));
  });

  it('of no results has no rows, and can be gone on with', async () => {
    await write(format, []);
    expect(await read()).toEqual([]);
    expect(await write(format, [first], true)).toEqual(new Set());
    expect(await read()).toEqual(rowsOf([first], format));
  });

  it('that is empty is as good as none', async () => {
    await workspace.write('out', '');
    expect(await write(format, [first], true)).toEqual(new Set());
    expect(await read()).toEqual(rowsOf([first], format));
  });

  it('is left as it was, with nothing beside it, when it is aborted, even twice', async () => {
    await write(format, [first]);
    const file = open(true);
    await file.begin();
    await file.write(second);
    await file.abort();
    await file.abort();
    expect(await read()).toEqual(rowsOf([first], format));
    expect(await workspace.names()).toEqual(['out']);
  });

  it('can be aborted before it was begun, and after it was committed', async () => {
    await open(false).abort();
    const file = open(false);
    await file.begin();
    await file.write(first);
    await file.commit();
    await file.abort();
    expect(await read()).toEqual(rowsOf([first], format));
  });

  it.each(['"', 'a "b" c\n', '\u0000\u0001', '{"a":1}\n', 'product_id\n', '[]\n', 'null\n', `${CSV_HEADER}\nP1,X\n`])(
    'refuses to go on with %j, and leaves it',
    async (content) => {
      await workspace.write('out', content);
      const file = open(true);
      await expect(file.begin()).rejects.toMatchObject({ code: 'OUTPUT_CONFLICT' });
      await file.abort();
      expect(await workspace.read('out')).toBe(content);
      expect(await workspace.names()).toEqual(['out']);
    },
  );

  it('cannot be written to a directory that is not there', async () => {
    const file = createResultFile({ path: workspace.path('none/out'), format, keep: true });
    await expect(file.begin()).rejects.toMatchObject({ code: 'OUTPUT_NOT_WRITABLE' });
    await file.abort();
  });

  it('keeps what one collection committed when another one is open on it', async () => {
    const [one, other] = [open(true), open(true)];
    await one.begin();
    await other.begin();
    await other.write(second);
    await one.write(first);
    await one.commit();
    await expect(other.commit()).rejects.toMatchObject({ code: 'OUTPUT_NOT_WRITABLE' });
    await other.abort();
    expect(await read()).toEqual(rowsOf([first], format));
    expect(await workspace.names()).toEqual(['out']);
  });

  it('holds results of many blocks', async () => {
    const results = Array.from({ length: 40 }, (_, k) =>
      result(
        `r-${k}`,
        Array.from({ length: 500 }, (_, i) => ({ id: `P${k}-${i}`, category: 'A', confidence: i / 500 })),
        k % 3 > 0,
      ),
    );
    await write(format, results);
    expect(await read()).toEqual(rowsOf(results, format));
  });

  it('holds ids that are no UTF-8 with replacement characters', async () => {
    const ids = Buffer.from('a\xff\nb', 'latin1');
    const { products } = result('', [{ id: 'a', category: 'A', confidence: 1 }, { id: 'b' }], true);
    await write(format, [{ ...first, products: { ...products, ids } }]);
    expect((await read()).map(([id]) => id)).toEqual(['a\uFFFD', 'b']);
  });
});

describe.each(TEXT_FORMATS)('a result file of text (%s)', (format) => {
  it('is kept to the letter', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyResult, { maxLength: 6 }), async (results) => {
        await write(format, results);
        const text = await workspace.read('out');
        await write(format, [], true);
        expect(await workspace.read('out')).toBe(text);
      }),
      { numRuns: 25 },
    );
  });

  it('gets the end that its last line lacks', async () => {
    await write(format, [first, second]);
    const text = await workspace.read('out');
    await workspace.write('out', text.slice(0, -1));
    expect(await write(format, [], true)).toEqual(new Set(['r-1', 'r-2']));
    expect(await workspace.read('out')).toBe(text);
  });

  it('is the same as what a stream gets, where each result can be read at once', async () => {
    const results = [first, result('r,2', [{ id: 'a,"b"', category: 'A', confidence: 0.1 }, { id: null }])];
    await write(format, results);
    const stream = new PassThrough();
    const file = createResultStream(stream, format);
    await file.begin();
    for (const one of results) await file.write(one);
    expect(stream.read().toString()).toBe(await workspace.read('out'));
    await file.commit();
  });

  it('shows a confidence with as many digits as it takes to read the same float32 again', async () => {
    const shown = async (confidence: number) => {
      await write(format, [result('r', [{ id: 'P', category: 'A', confidence }])]);
      return /(?:A,|"confidence":)([^,]*),/.exec(await workspace.read('out'))?.[1];
    };
    for (const text of ['0.9973', '0.5', '1', '0', '0.99999994', '0.0625', '0.1', '0.33333334', '0.015625', '1e-7']) {
      expect(await shown(Number(text))).toBe(text);
    }
  });
});

it('a CSV file that came back with other line ends can be gone on with', async () => {
  await write('csv', [first]);
  await workspace.write('out', (await workspace.read('out')).replaceAll('\n', '\r\n'));
  expect(await write('csv', [second], true)).toEqual(new Set(['r-1']));
  expect(await workspace.read('out')).toMatch(/^product_id.*\r\nP1,.*,r-1\r\nP2,.*,r-2\n$/);
});
