import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the processes of all tests keep their notes; a note names its Redis and prefix, so that no test sees another's. */
    stateDirectory: string;
  }
}

/** What the program notes about imports goes to a directory that ends with the tests, not to the home of who runs them. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), 'categorizer-state-'));
  project.provide('stateDirectory', directory);
  return () => rm(directory, { recursive: true, force: true });
}
