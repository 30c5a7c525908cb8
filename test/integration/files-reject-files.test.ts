import { symlink } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRejectFiles } from '../../src/adapters/files/reject-files.ts';
import type { SourceRow } from '../../src/application/ports.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

const REASON = { code: 'WRONG_WIDTH', message: 'expected 2 features, got 1' } as const;
const row = (line: number, raw: string): SourceRow => ({
  line,
  raw,
  product: { productId: `P${line}`, features: [1] },
});
const open = (format: 'csv' | 'jsonl', header?: string) =>
  createRejectFiles({ base: workspace.path('bad'), input: workspace.path('in.csv'), format, header });

describe('reject files', () => {
  it('of CSV are the header with the rows as they came, and a line of JSON for each', async () => {
    const rejects = open('csv', 'product_id,f0,f1');
    await rejects.write(row(3, '"P\n3",1'), REASON);
    await rejects.write({ line: 7, raw: 'P7', unreadable: REASON }, REASON);
    expect(await rejects.commit()).toEqual([workspace.path('bad.csv'), workspace.path('bad.jsonl')]);
    expect(await workspace.read('bad.csv')).toBe('product_id,f0,f1\n"P\n3",1\nP7\n');
    const lines = (await workspace.read('bad.jsonl')).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { line: 3, productId: 'P3', ...REASON },
      { line: 7, ...REASON },
    ]);
  });

  it('of JSON lines have no header and a name of their own', async () => {
    const rejects = open('jsonl');
    await rejects.write(row(1, '{"productId":"P1"}'), REASON);
    expect(await rejects.commit()).toEqual([workspace.path('bad.rows.jsonl'), workspace.path('bad.jsonl')]);
    expect(await workspace.read('bad.rows.jsonl')).toBe('{"productId":"P1"}\n');
  });

  it.each([
    ['csv', ['bad.csv', 'bad.jsonl']],
    ['jsonl', ['bad.rows.jsonl', 'bad.jsonl']],
  ] as const)('of an earlier call (%s) go when nothing was rejected', async (format, names) => {
    for (const name of names) await workspace.write(name, 'of yesterday');
    expect(await open(format).commit()).toEqual([]);
    expect(await workspace.names()).toEqual([]);
  });

  it('of an earlier call stay until the new ones are committed, and when they are aborted', async () => {
    await workspace.write('bad.csv', 'of yesterday');
    const rejects = open('csv', 'h');
    await rejects.write(row(2, 'x'), REASON);
    expect(await workspace.read('bad.csv')).toBe('of yesterday');
    await rejects.abort();
    expect(await workspace.read('bad.csv')).toBe('of yesterday');
    expect(await workspace.names()).toEqual(['bad.csv']);
  });

  it('are none when they are aborted before the first reject', async () => {
    await open('csv', 'h').abort();
    expect(await workspace.names()).toEqual([]);
  });

  it.each([
    ['csv', 'in.csv', 'in'],
    ['csv', 'in.jsonl', 'in'],
    ['jsonl', 'in.jsonl', 'in'],
    ['jsonl', 'in.rows.jsonl', './in'],
  ] as const)('(%s) are refused where one of them is the input, %s', async (format, name, base) => {
    const input = await workspace.write(name, 'mine');
    const write = async () => {
      const rejects = createRejectFiles({ base: `${workspace.directory}/${base}`, input, format, header: undefined });
      await rejects.commit();
    };
    await expect(write()).rejects.toMatchObject({ code: 'OUTPUT_CONFLICT' });
    expect(await workspace.read(name)).toBe('mine');
  });

  it('are refused where one of them is the input under another name', async () => {
    const input = await workspace.write('in.csv', 'mine');
    await symlink(workspace.directory, workspace.path('link'));
    const write = async () => {
      const base = workspace.path('link/in');
      await createRejectFiles({ base, input, format: 'csv', header: 'h' }).commit();
    };
    await expect(write()).rejects.toMatchObject({ code: 'OUTPUT_CONFLICT' });
    expect(await workspace.read('in.csv')).toBe('mine');
  });

  it('that cannot be written say which', async () => {
    const rejects = createRejectFiles({
      base: workspace.path('nowhere/bad'),
      input: workspace.path('in.csv'),
      format: 'csv',
      header: 'h',
    });
    await expect(rejects.write(row(2, 'x'), REASON)).rejects.toMatchObject({
      code: 'OUTPUT_NOT_WRITABLE',
      message: expect.stringContaining('nowhere/bad.csv'),
    });
  });
});
