import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NAME = /^categorizer-(?:source|results)-(\d+)-/;

/**
 * A directory for what does not fit into memory. The caller removes it; what a killed process could not remove is removed
 * by the next one on this machine.
 */
export async function createTemporaryDirectory(purpose: 'source' | 'results'): Promise<string> {
  const parent = tmpdir();
  await removeLeftovers(parent);
  return mkdtemp(join(parent, `categorizer-${purpose}-${process.pid}-`));
}

async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const owner = NAME.exec(name)?.[1];
    // Of another user it may not be removed, which is no concern of ours.
    if (owner && !isAlive(Number(owner))) await rm(join(parent, name), { recursive: true }).catch(() => undefined);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It is there and belongs to somebody else.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
