import { mkdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openProductSource } from '../../src/adapters/files/product-source.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { gather } from '../support/files-tables.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

const stop = new AbortController().signal;
const CSV = 'product_id,f0\nP1,1\n';
const JSON_LINES = '{"productId":"P1","features":[1]}\n';

describe('a product source', () => {
  it.each([
    ['CSV', CSV, 'csv'],
    ['CSV after a byte order mark', `\uFEFF${CSV}`, 'csv'],
    ['CSV after blank lines', `\n\n${CSV}`, 'csv'],
    ['JSON lines', JSON_LINES, 'jsonl'],
    ['JSON lines after a byte order mark', `\uFEFF${JSON_LINES}`, 'jsonl'],
    ['JSON lines after blank lines', `\n \r\n${JSON_LINES}`, 'jsonl'],
  ])('tells %s from its first character', async (_case, content, format) => {
    const source = await openProductSource({ path: await workspace.write('in', content), width: 1, stop });
    expect(source.format).toBe(format);
    const rows = await gather(source.rows());
    expect(rows.map(({ product }) => product)).toEqual([{ productId: 'P1', features: [1] }]);
  });

  it.each(['csv', 'jsonl'] as const)(
    'reads all of a file of many reads (%s) and says how far it is',
    async (format) => {
      const rows = Array.from({ length: 20_000 }, (_, i) =>
        format === 'csv' ? `P${i},${i}` : `{"productId":"P${i}","features":[${i}]}`,
      );
      const content = `${[...(format === 'csv' ? ['product_id,f0'] : []), ...rows].join('\n')}\n`;
      const source = await openProductSource({ path: await workspace.write('in', content), width: 1, stop });
      const total = Buffer.byteLength(content);
      expect(source.progress().total).toBe(total);
      const read = await gather(source.rows());
      expect(read.map(({ product }) => product?.productId)).toEqual(rows.map((_, i) => `P${i}`));
      expect(source.progress()).toEqual({ read: total, total });
    },
  );

  it.each(['csv', 'jsonl', undefined] as const)('of a directory says so (format %s)', async (format) => {
    const path = workspace.path('directory');
    await mkdir(path);
    const read = async () => gather((await openProductSource({ path, format, width: 1, stop })).rows());
    await expect(read()).rejects.toMatchObject({
      code: 'INPUT_NOT_READABLE',
      message: expect.stringMatching(`^cannot read ${path}: EISDIR`),
    });
  });

  it('of a file that is not there says so', async () => {
    const path = workspace.path('none');
    await expect(openProductSource({ path, width: 1, stop })).rejects.toMatchObject({
      code: 'INPUT_NOT_READABLE',
      message: expect.stringMatching(`^cannot read ${path}: ENOENT`),
    });
  });

  it('names the file in an error that comes in the middle', async () => {
    const path = await workspace.write('in', `${CSV}"P2,1\n`);
    const source = await openProductSource({ path, width: 1, stop });
    await expect(gather(source.rows())).rejects.toMatchObject({
      code: 'INPUT_NOT_READABLE',
      message: expect.stringMatching(`^cannot read ${path}: `),
    });
  });
});
