import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAtomicFile } from '../../src/adapters/files/atomic-file.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';

let workspace: Workspace;
let path: string;

beforeEach(async () => {
  workspace = await createWorkspace();
  path = workspace.path('out.txt');
});
afterEach(() => workspace.remove());

const LARGE = `${'0123456789abcdéf'.repeat(64)}\n`;

describe('an atomic file', () => {
  it('is not there before it is committed, and is there whole afterwards', async () => {
    const file = await createAtomicFile(path);
    const lines = 600;
    for (let i = 0; i < lines; i++) await file.write(LARGE);
    expect(existsSync(path)).toBe(false);
    await file.commit();
    expect(await readFile(path, 'utf8')).toBe(LARGE.repeat(lines));
    expect(await workspace.names()).toEqual(['out.txt']);
  });

  it('is there, and empty, when nothing was written', async () => {
    await (await createAtomicFile(path)).commit();
    expect(await readFile(path, 'utf8')).toBe('');
  });

  it('leaves the old content until it is committed, and then takes its place', async () => {
    await writeFile(path, 'old');
    const file = await createAtomicFile(path);
    await file.write(LARGE.repeat(600));
    expect(await readFile(path, 'utf8')).toBe('old');
    await file.commit();
    expect(await readFile(path, 'utf8')).toBe(LARGE.repeat(600));
  });

  it('leaves the old content and nothing else when it is aborted, once or twice', async () => {
    await writeFile(path, 'old');
    const file = await createAtomicFile(path);
    await file.write(LARGE.repeat(600));
    await file.abort();
    await file.abort();
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await workspace.names()).toEqual(['out.txt']);
  });

  it('stays when it is aborted after the commit', async () => {
    const file = await createAtomicFile(path);
    await file.write('new');
    await file.commit();
    await file.abort();
    expect(await readFile(path, 'utf8')).toBe('new');
  });

  it('removes what a crash left a day ago, and not what another writes', async () => {
    await writeFile(`${path}.0123abcd.tmp`, LARGE);
    const longAgo = new Date(Date.now() - 25 * 3600 * 1000);
    await utimes(`${path}.0123abcd.tmp`, longAgo, longAgo);
    await writeFile(`${path}.4567cdef.tmp`, 'somebody writes this now');
    const file = await createAtomicFile(path);
    await file.write('new');
    await file.commit();
    expect(await readFile(path, 'utf8')).toBe('new');
    expect(await workspace.names()).toEqual(['out.txt', 'out.txt.4567cdef.tmp']);
  });

  it.each(['nowhere/out.txt', 'file/out.txt'])('in %s, which is no directory, says so', async (name) => {
    await workspace.write('file', '');
    await expect(createAtomicFile(workspace.path(name))).rejects.toMatchObject({
      code: 'OUTPUT_NOT_WRITABLE',
      message: expect.stringContaining(`cannot write ${workspace.path(name)}: `),
    });
  });

  it('that cannot be committed leaves nothing when it is aborted', async () => {
    const file = await createAtomicFile(path);
    await file.write('new');
    await mkdir(path);
    await expect(file.commit()).rejects.toMatchObject({ code: 'OUTPUT_NOT_WRITABLE' });
    await file.abort();
    expect(await workspace.names()).toEqual(['out.txt']);
    expect(await readdir(path)).toEqual([]);
  });

  it('is refused in the place of a directory', async () => {
    await mkdir(path);
    await expect(createAtomicFile(path)).rejects.toMatchObject({ code: 'OUTPUT_NOT_WRITABLE' });
    expect(await workspace.names()).toEqual(['out.txt']);
  });

  it('takes the place of the file behind a symbolic link, and leaves the link', async () => {
    await writeFile(workspace.path('real.txt'), 'old');
    await symlink('real.txt', path);
    const file = await createAtomicFile(path);
    await file.write('new');
    await file.commit();
    expect(await readFile(workspace.path('real.txt'), 'utf8')).toBe('new');
    expect((await lstat(path)).isSymbolicLink()).toBe(true);
    expect(await workspace.names()).toEqual(['out.txt', 'real.txt']);
  });
});
