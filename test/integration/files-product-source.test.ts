import { execFileSync } from 'node:child_process';
import { mkdir, open } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openProductSource } from '../../src/adapters/files/product-source.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { gather } from '../support/files-tables.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

const stop = new AbortController().signal;
const INTERRUPTED = new CategorizerError('INTERRUPTED', 'stopped by a signal');
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

  it.each(['csv', 'jsonl'] as const)(
    'that is stopped ends with the reason, although a pipe gives nothing (%s)',
    async (format) => {
      const path = workspace.path('pipe');
      execFileSync('mkfifo', [path]);
      // Open for both, so that neither side waits for the other to open it.
      const writer = await open(path, 'r+');
      await writer.write(format === 'csv' ? 'product_id,f0\nP1,1\nP2,2\n' : JSON_LINES.repeat(2));
      const stopping = new AbortController();
      const source = await openProductSource({ path, format, width: 1, stop: stopping.signal });
      const ended = vi.fn();
      // With the first row it has all that is there, and waits for more.
      const stopAtFirst = async () => {
        for await (const { line } of source.rows()) if (line > 0) stopping.abort(INTERRUPTED);
      };
      const reading = stopAtFirst().then(ended, ended);
      try {
        await expect.poll(() => ended.mock.calls, { timeout: 5000 }).toEqual([[INTERRUPTED]]);
      } finally {
        await writer.close();
        await reading;
      }
    },
  );

  it.each(['csv', 'jsonl'] as const)(
    'that was stopped before it was opened ends with the reason (%s)',
    async (format) => {
      const path = await workspace.write('in', format === 'csv' ? CSV : JSON_LINES);
      const read = async () => {
        const source = await openProductSource({ path, format, width: 1, stop: AbortSignal.abort(INTERRUPTED) });
        return gather(source.rows());
      };
      await expect(read()).rejects.toBe(INTERRUPTED);
    },
  );
});
