import { existsSync } from 'node:fs';
import { chmod, chown, lstat, mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises';
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

describe('who may read an output file', () => {
  const modeOf = async (file: string) => ((await stat(file)).mode & 0o7777).toString(8);

  it.each(['600', '640', '664', '4755'])(
    'stays as it was when a file of mode %s is replaced, also while it is written',
    async (mode) => {
      await writeFile(path, 'old');
      await chmod(path, Number.parseInt(mode, 8));
      const file = await createAtomicFile(path);
      const temporary = (await workspace.names()).filter((name) => name.endsWith('.tmp'));
      expect((await stat(workspace.path(temporary[0]))).mode & 0o7777 & ~Number.parseInt(mode, 8)).toBe(0);
      await file.write('new');
      await file.commit();
      expect(await readFile(path, 'utf8')).toBe('new');
      expect(await modeOf(path)).toBe(mode);
    },
  );

  it('is what the umask says where there was no file', async () => {
    const before = process.umask(0o027);
    try {
      await (await createAtomicFile(path)).commit();
    } finally {
      process.umask(before);
    }
    expect(await modeOf(path)).toBe('640');
  });

  it.skipIf(process.getuid?.() !== 0)('stays with its owner and group when root replaces it', async () => {
    await writeFile(path, 'old');
    await chown(path, 1234, 2345);
    await chmod(path, 0o2640);
    await (await createAtomicFile(path)).commit();
    expect(await stat(path)).toMatchObject({ uid: 1234, gid: 2345 });
    expect(await modeOf(path)).toBe('2640');
  });

  it('is that of the file behind a link, and a link to a file that is not there yet stays one', async () => {
    await writeFile(workspace.path('target.txt'), 'old');
    await chmod(workspace.path('target.txt'), 0o600);
    await symlink('target.txt', path);
    await symlink('new.txt', workspace.path('dangling.txt'));
    for (const name of ['out.txt', 'dangling.txt']) {
      const file = await createAtomicFile(workspace.path(name));
      await file.write('new');
      await file.commit();
      expect((await lstat(workspace.path(name))).isSymbolicLink()).toBe(true);
      expect(await readFile(workspace.path(name), 'utf8')).toBe('new');
    }
    expect(await modeOf(workspace.path('target.txt'))).toBe('600');
    expect(existsSync(workspace.path('new.txt'))).toBe(true);
  });

  it('does not matter where links lead in a circle: that is refused', async () => {
    await symlink('b.txt', workspace.path('a.txt'));
    await symlink('a.txt', workspace.path('b.txt'));
    await expect(createAtomicFile(workspace.path('a.txt'))).rejects.toThrow(/circle/);
  });
});
