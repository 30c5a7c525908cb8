import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createResultFile, createResultStream, type OutputFormat } from '../../src/adapters/files/result-file.ts';
import type { CollectedRow } from '../../src/application/ports.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

const CSV_HEADER = 'product_id,category_code,confidence,reject_code,reject_message,model_version,result_id';
const FORMATS: readonly OutputFormat[] = ['csv', 'jsonl'];

/** Rejected products have ids of every kind, line breaks and control characters among them. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.string({ unit: fc.constantFrom(',', '"', '\n', '\r', ' ', '\u2028', '\uFEFF', '\u0000', 'a'), maxLength: 6 }),
);
const outcome = fc.oneof(
  fc.record({ categoryCode: anyText, confidence: fc.double({ min: 0, max: 1, noNaN: true }) }),
  fc.record({ reject: fc.record({ code: fc.constant('WRONG_WIDTH' as const), message: anyText }) }),
);
const collectedRow: fc.Arbitrary<CollectedRow> = fc
  .tuple(fc.option(anyText), outcome, anyText, anyText)
  .map(([productId, what, modelVersion, resultId]) => ({ productId, ...what, modelVersion, resultId }));

describe.each(FORMATS)('a result file (%s)', (format) => {
  const open = (keep: boolean) => createResultFile({ path: workspace.path('out'), format, keep });

  async function writeNew(rows: readonly CollectedRow[]): Promise<string> {
    const file = open(false);
    await file.begin();
    await file.write(rows);
    await file.commit();
    return workspace.read('out');
  }

  it('knows the results it holds and keeps its rows to the letter, whatever is in them', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(collectedRow, { maxLength: 8 }), async (rows) => {
        const text = await writeNew(rows);
        const again = open(true);
        expect(await again.begin()).toEqual(new Set(rows.map(({ resultId }) => resultId)));
        await again.commit();
        expect(await workspace.read('out')).toBe(text);
      }),
    );
  });

  const row: CollectedRow = {
    productId: 'P1',
    categoryCode: 'A',
    confidence: 0.5,
    modelVersion: 'v1',
    resultId: 'r-1',
  };

  it('adds to what it holds, and is as it was until it is committed', async () => {
    const text = await writeNew([row]);
    const file = open(true);
    await file.begin();
    await file.write([{ ...row, productId: 'P2', resultId: 'r-2' }]);
    expect(await workspace.read('out')).toBe(text);
    await file.commit();
    const added = (await workspace.read('out')).slice(text.length);
    expect(added).toMatch(/^.*P2.*r-2.*\n$/);
  });

  it('mends a last line without an end', async () => {
    const text = await writeNew([row]);
    await workspace.write('out', text.trimEnd());
    const file = open(true);
    expect(await file.begin()).toEqual(new Set(['r-1']));
    await file.commit();
    expect(await workspace.read('out')).toBe(text);
  });

  it('that is empty is as good as none', async () => {
    await workspace.write('out', '');
    const file = open(true);
    expect(await file.begin()).toEqual(new Set());
    await file.write([row]);
    await file.commit();
    expect(await workspace.read('out')).toBe(await writeNew([row]));
  });

  it('is left as it was, with nothing beside it, when it is aborted', async () => {
    const text = await writeNew([row]);
    const file = open(true);
    await file.begin();
    await file.write([row]);
    await file.abort();
    expect(await workspace.read('out')).toBe(text);
    expect(await workspace.names()).toEqual(['out']);
  });

  it.each(['"', 'a "b" c\n', '\u0000\u0001', '{"a":1}\n', 'product_id\n', '[]\n', 'null\n', `${CSV_HEADER}\nP1,X\n`])(
    'refuses to go on with %j, and leaves it',
    async (content) => {
      await workspace.write('out', content);
      await expect(open(true).begin()).rejects.toMatchObject({ code: 'OUTPUT_CONFLICT' });
      expect(await workspace.read('out')).toBe(content);
      expect(await workspace.names()).toEqual(['out']);
    },
  );

  it('keeps what one collection committed when another one is open on it', async () => {
    const [first, second] = [open(true), open(true)];
    await first.begin();
    const collectTheOther = async () => {
      await second.begin();
      return async () => {
        await second.write([{ ...row, productId: 'P2', resultId: 'r-2' }]);
        await second.commit();
      };
    };
    // To refuse the second one, at its begin or at its commit, would do as well.
    const other = await collectTheOther().catch(() => undefined);
    await first.write([row]);
    await first.commit();
    await other?.().catch(() => second.abort());
    expect(await workspace.read('out')).toMatch(/\bP1\b.*\br-1\b/);
  });

  it('is the same as what a stream gets', async () => {
    const stream = new PassThrough();
    const file = createResultStream(stream, format);
    await file.begin();
    await file.write([row, { ...row, productId: 'a,"b"' }]);
    await file.commit();
    expect(stream.read().toString()).toBe(await writeNew([row, { ...row, productId: 'a,"b"' }]));
  });
});
