import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createTemporaryDirectory } from '../../src/adapters/files/temporary-directory.ts';

let parent: string;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'temporary-directory-'));
  vi.stubEnv('TMPDIR', parent);
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(parent, { recursive: true });
});

async function leave(name: string): Promise<void> {
  await mkdir(join(parent, name));
  await writeFile(join(parent, name, 'copy-0'), 'some of the input');
}

/** The id of a process that has ended. */
function deadProcess(): number {
  return spawnSync(process.execPath, ['--version']).pid;
}

describe('a temporary directory', () => {
  it('is a new one each time', async () => {
    const directories = [await createTemporaryDirectory('source'), await createTemporaryDirectory('source')];
    expect((await readdir(parent)).sort()).toEqual(directories.map((path) => basename(path)).sort());
    expect(new Set(directories).size).toBe(2);
  });

  it('takes the place of what a killed process left, of both kinds', async () => {
    await leave(`categorizer-source-${deadProcess()}-abcdef`);
    await leave(`categorizer-results-${deadProcess()}-abcdef`);
    const directory = await createTemporaryDirectory('results');
    expect(await readdir(parent)).toEqual([basename(directory)]);
  });

  it('leaves alone what belongs to a process that lives, and what has another name', async () => {
    const others = [
      `categorizer-source-${process.pid}-abcdef`,
      'categorizer-source-notes',
      'categorizer-redis-1-abcdef',
    ];
    for (const name of others) await leave(name);
    const directory = await createTemporaryDirectory('source');
    expect((await readdir(parent)).sort()).toEqual([...others, basename(directory)].sort());
  });
});
