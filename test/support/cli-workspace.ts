import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A directory of one test's own. */
export interface Workspace {
  readonly directory: string;
  path(name: string): string;
  /** @returns the path of the file */
  write(name: string, content: string | Uint8Array): Promise<string>;
  read(name: string): Promise<string>;
  /** The names of all that is there, sorted. */
  names(): Promise<string[]>;
  remove(): Promise<void>;
}

export async function createWorkspace(): Promise<Workspace> {
  const directory = await mkdtemp(join(tmpdir(), 'categorizer-cli-'));
  const path = (name: string) => join(directory, name);
  return {
    directory,
    path,
    async write(name, content) {
      await writeFile(path(name), content);
      return path(name);
    },
    read: (name) => readFile(path(name), 'utf8'),
    names: async () => (await readdir(directory)).sort(),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
