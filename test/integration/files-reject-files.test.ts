import { mkdir, readFile, symlink } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRejectFiles } from '../../src/adapters/files/products/reject-files.ts';
import type { RejectedRow } from '../../src/application/ports.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

const WIDTH = { code: 'WRONG_WIDTH', message: 'expected 2 features, got 1' } as const;
const CELL = { column: 'f1', code: 'NON_FINITE_FEATURE', message: 'feature 1 is not a number' } as const;

const row = (line: number, raw: string, input = 0): RejectedRow => {
  return { input, line, raw, productId: `P${line}`, errors: [WIDTH] };
};

function input(
  name: string,
  options: { format?: 'csv' | 'jsonl' | 'parquet'; header?: string; latin1?: boolean } = {},
) {
  const { format = 'csv', header, latin1 = false } = options;
  return { path: workspace.path(name), format, header, encoding: latin1 ? ('latin-1' as const) : ('utf-8' as const) };
}

const linesOf = async (name: string) =>
  (await workspace.read(name))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('reject files', () => {
  it('are the header with the rows as they came, and a line of JSON for each error', async () => {
    const rejects = createRejectFiles({ inputs: [input('in.csv', { header: 'product_id,f0,f1' })] });
    await rejects.write(row(3, '"P\n3",1'));
    await rejects.write({ input: 0, line: 7, raw: 'P7', productId: null, errors: [WIDTH, CELL] });
    const paths = [workspace.path('in.csv.rejects.csv'), workspace.path('in.csv.rejects.jsonl')];
    expect(await rejects.commit()).toEqual(paths);
    expect(await workspace.read('in.csv.rejects.csv')).toBe('product_id,f0,f1\n"P\n3",1\nP7\n');
    const file = workspace.path('in.csv');
    expect(await linesOf('in.csv.rejects.jsonl')).toEqual([
      { file, line: 3, column: null, productId: 'P3', ...WIDTH },
      { file, line: 7, column: null, productId: null, ...WIDTH },
      { file, line: 7, productId: null, ...CELL },
    ]);
  });

  it('have the encoding of their input', async () => {
    const rejects = createRejectFiles({ inputs: [input('in.csv', { header: 'Código', latin1: true })] });
    await rejects.write({ ...row(2, 'Ação'), productId: 'Ação' });
    await rejects.commit();
    expect(await readFile(workspace.path('in.csv.rejects.csv'))).toEqual(Buffer.from('Código\nAção\n', 'latin1'));
    expect(await linesOf('in.csv.rejects.jsonl')).toMatchObject([{ productId: 'Ação' }]);
  });

  it('of JSON lines have no header and a name of their own; those of Parquet are CSV', async () => {
    const inputs = [input('in.jsonl', { format: 'jsonl' }), input('in.parquet', { format: 'parquet', header: 'id' })];
    const rejects = createRejectFiles({ inputs });
    await rejects.write(row(1, '{"productId":"P1"}'));
    await rejects.write(row(2, 'P2', 1));
    await rejects.commit();
    expect(await workspace.read('in.jsonl.rejects.rows.jsonl')).toBe('{"productId":"P1"}\n');
    expect(await workspace.read('in.parquet.rejects.csv')).toBe('id\nP2\n');
  });

  it('of each input are its own, and there are none for inputs without rejects', async () => {
    const rejects = createRejectFiles({
      inputs: ['a.csv', 'b.csv', 'c.csv'].map((name) => input(name, { header: name })),
    });
    await rejects.write(row(2, 'from a', 0));
    await rejects.write(row(2, 'from c', 2));
    await rejects.commit();
    expect(await workspace.names()).toEqual(
      ['a.csv', 'c.csv'].flatMap((n) => [`${n}.rejects.csv`, `${n}.rejects.jsonl`]),
    );
    expect(await workspace.read('c.csv.rejects.csv')).toBe('c.csv\nfrom c\n');
  });

  it.each([
    ['a base', 'bad', ['bad.csv', 'bad.jsonl']],
    ['a directory', 'directory', ['directory/in.csv.rejects.csv', 'directory/in.csv.rejects.jsonl']],
    ['a directory with a slash', 'directory/', ['directory/in.csv.rejects.csv', 'directory/in.csv.rejects.jsonl']],
  ])('go to %s where one is named', async (_case, base, names) => {
    await mkdir(workspace.path('directory'));
    const rejects = createRejectFiles({ inputs: [input('in.csv')], base: `${workspace.directory}/${base}` });
    await rejects.write(row(2, 'x'));
    expect(await rejects.commit()).toEqual(names.map((name) => workspace.path(name)));
  });

  it.each(['-', '/dev/stdin', '/dev/fd/63'])('of %s have a name of their own', async (path) => {
    const inputs = [{ path, format: 'csv' as const, encoding: 'utf-8' as const }];
    const rejects = createRejectFiles({ inputs, base: `${workspace.directory}/` });
    await rejects.write(row(2, 'x'));
    expect(await rejects.commit()).toEqual(['csv', 'jsonl'].map((end) => workspace.path(`stdin.rejects.${end}`)));
  });

  it.each([
    ['csv', ['in.rejects.csv', 'in.rejects.jsonl']],
    ['jsonl', ['in.rejects.rows.jsonl', 'in.rejects.jsonl']],
  ] as const)('of an earlier call (%s) go when nothing was rejected', async (format, names) => {
    for (const name of names) await workspace.write(name, 'of yesterday');
    expect(await createRejectFiles({ inputs: [input('in', { format })] }).commit()).toEqual([]);
    expect(await workspace.names()).toEqual([]);
  });

  it('of an earlier call stay until the new ones are committed, and when they are aborted', async () => {
    await workspace.write('in.rejects.csv', 'of yesterday');
    const rejects = createRejectFiles({ inputs: [input('in')] });
    await rejects.write(row(2, 'x'));
    expect(await workspace.read('in.rejects.csv')).toBe('of yesterday');
    await rejects.abort();
    expect(await workspace.names()).toEqual(['in.rejects.csv']);
    expect(await workspace.read('in.rejects.csv')).toBe('of yesterday');
  });

  it.each([
    ['csv', 'in.csv', 'in'],
    ['csv', 'in.jsonl', 'in'],
    ['jsonl', 'in.rows.jsonl', './in'],
    ['csv', 'in.csv', 'link/in'],
  ] as const)('(%s) are refused where one of them is the input, %s', async (format, name, base) => {
    await workspace.write(name, 'mine');
    await symlink(workspace.directory, workspace.path('link'));
    const create = () =>
      createRejectFiles({ inputs: [input(name, { format })], base: `${workspace.directory}/${base}` });
    expect(create).toThrow(expect.objectContaining({ code: 'OUTPUT_CONFLICT' }));
  });

  it('are refused where those of two inputs have one place', async () => {
    await mkdir(workspace.path('out'));
    const two = (base: string) => () => createRejectFiles({ inputs: [input('a/in.csv'), input('b/in.csv')], base });
    expect(two(workspace.path('bad'))).toThrow(expect.objectContaining({ code: 'OUTPUT_CONFLICT' }));
    expect(two(workspace.path('out'))).toThrow(expect.objectContaining({ code: 'OUTPUT_CONFLICT' }));
  });

  it('that cannot be written say which', async () => {
    const rejects = createRejectFiles({ inputs: [input('in.csv')], base: workspace.path('nowhere/bad') });
    await expect(rejects.write(row(2, 'x'))).rejects.toMatchObject({
      code: 'OUTPUT_NOT_WRITABLE',
      message: expect.stringContaining('nowhere/bad.csv'),
    });
  });
});
