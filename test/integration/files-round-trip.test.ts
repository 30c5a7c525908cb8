import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import {
  csvStyle,
  gzipped,
  readSource,
  type TestTable,
  table,
  toCsvText,
  toJsonLines,
  writeParquet,
} from '../support/files-tables.ts';

let workspace: Workspace;

beforeAll(async () => {
  workspace = await createWorkspace();
});
afterAll(() => workspace.remove());

async function expectBack(path: string, { width, rows }: TestTable, options: object = {}): Promise<void> {
  const { products, rejects } = await readSource({ paths: [path], width, ...options });
  expect(rejects).toEqual([]);
  expect(products).toEqual(rows);
}

describe('any table', () => {
  it('comes back as it was written as CSV, in every dialect, compressed or not', async () => {
    await fc.assert(
      fc.asyncProperty(table, csvStyle, fc.boolean(), async (written, style, gzip) => {
        const text = toCsvText(written, style);
        const path = await workspace.write('table', gzip ? gzipped(text) : text);
        await expectBack(path, written, { decimal: style.decimal });
      }),
      { numRuns: 40 },
    );
  });

  it('comes back as it was written as JSON lines, compressed or not', async () => {
    const notEmpty = table.filter(({ rows }) => rows.length > 0);
    await fc.assert(
      fc.asyncProperty(notEmpty, fc.boolean(), async (written, gzip) => {
        const text = toJsonLines(written);
        await expectBack(await workspace.write('table', gzip ? gzipped(text) : text), written);
      }),
      { numRuns: 25 },
    );
  });

  it('comes back as it was written as Parquet, in one column of arrays or in many columns', async () => {
    await fc.assert(
      fc.asyncProperty(table, fc.boolean(), async (written, arrays) => {
        await expectBack(await writeParquet(written, workspace.directory, arrays), written);
      }),
      { numRuns: 20 },
    );
  });
});
