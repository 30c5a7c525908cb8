import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { createImportNotes } from '../../src/adapters/files/import-notes.ts';
import { createFakeLogger } from '../support/fake-observers.ts';

let directory: string;
beforeEach(async () => {
  const parent = await mkdtemp(join(tmpdir(), 'categorizer-notes-'));
  directory = join(parent, 'deep', 'imports');
  return () => rm(parent, { recursive: true });
});

const open = (target = 'redis://a {categorizer}') =>
  createImportNotes({ directory, target, logger: createFakeLogger() });

describe('the note of an import', () => {
  it('is found by its run id for the same Redis and prefix alone, until it is removed', async () => {
    const notes = open();
    expect(await notes.find('R')).toBeUndefined();
    await notes.write('R');
    expect((await notes.find('R'))?.startedAt.getTime()).toBeGreaterThan(Date.now() - 60_000);
    expect(await notes.find('S')).toBeUndefined();
    expect(await open('redis://b {categorizer}').find('R')).toBeUndefined();
    await notes.remove('R');
    await notes.remove('R');
    expect(await notes.find('R')).toBeUndefined();
  });

  it('is removed after a month, with nothing else in its directory', async () => {
    const notes = open();
    await notes.write('old');
    const [name] = await readdir(directory);
    await writeFile(join(directory, 'mine.txt'), 'x');
    const long = new Date(Date.now() - 31 * 24 * 3_600_000);
    for (const each of [name, 'mine.txt']) await utimes(join(directory, each), long, long);
    await notes.write('new');
    expect(await notes.find('old')).toBeUndefined();
    expect(await notes.find('new')).toBeDefined();
    expect(await readdir(directory)).toContain('mine.txt');
  });

  it('that cannot be written or read stops nothing', async () => {
    const notes = open();
    await notes.write('R');
    const [name] = await readdir(directory);
    await writeFile(join(directory, name), 'no JSON');
    expect(await notes.find('R')).toBeUndefined();
    await rm(directory, { recursive: true });
    await writeFile(directory, 'a file in its place');
    await notes.write('R');
    await notes.remove('R');
  });
});
