import { type FileHandle, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CategorizerError, messageOf } from '../../domain/errors.ts';

const BUFFER_CHARACTERS = 1 << 18;

/** A text file that appears whole or not at all. */
export interface AtomicFile {
  write(text: string): Promise<void>;
  /** Syncs the file, puts it in place of what was there, and syncs the directory. */
  commit(): Promise<void>;
  /** Leaves what was there. Does nothing after a commit. */
  abort(): Promise<void>;
}

/** Writes beside `path` until it is committed. @throws CategorizerError `OUTPUT_NOT_WRITABLE` */
export async function createAtomicFile(path: string): Promise<AtomicFile> {
  const target = await explain(path, () => findTarget(path));
  const temporary = `${target}.${process.pid}.tmp`;
  const handle = await explain(path, async () => {
    await refuseSecondWriter(target);
    return open(temporary, 'w');
  });
  openHere.add(temporary);
  let buffered = '';
  let done = false;

  async function flush(): Promise<void> {
    const text = buffered;
    buffered = '';
    await explain(path, () => handle.appendFile(text));
  }

  return {
    async write(text) {
      buffered += text;
      if (buffered.length >= BUFFER_CHARACTERS) await flush();
    },
    async commit() {
      await flush();
      await explain(path, async () => {
        await handle.sync();
        await handle.close();
        await rename(temporary, target);
        done = true;
        openHere.delete(temporary);
        await syncDirectory(dirname(target));
      });
    },
    async abort() {
      if (done) return;
      done = true;
      openHere.delete(temporary);
      await handle.close();
      await rm(temporary, { force: true });
    },
  };
}

/** What this process writes at the moment. */
const openHere = new Set<string>();

/**
 * Of two that write the same file the slower would take away what the faster wrote. The process id in the name of a
 * temporary file tells a living writer from what a crash left, which is removed.
 */
async function refuseSecondWriter(target: string): Promise<void> {
  const directory = dirname(target);
  const prefix = `${basename(target)}.`;
  for (const name of await readdir(directory)) {
    const pid = name.startsWith(prefix) ? /^(\d+)\.tmp$/.exec(name.slice(prefix.length))?.[1] : undefined;
    if (pid === undefined) continue;
    const path = join(directory, name);
    if (openHere.has(path) || (Number(pid) !== process.pid && isAlive(Number(pid)))) {
      throw new Error(`process ${pid} is writing it (if not, delete ${path})`);
    }
    await rm(path, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Somebody else's process may not be asked, but it is there.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** What a rename would replace: the file behind a link, and never anything that is no regular file (a pipe, /dev/null). */
async function findTarget(path: string): Promise<string> {
  const target = await realpath(path).catch(() => path);
  const stats = await stat(target).catch(() => undefined);
  if (stats && !stats.isFile()) throw new Error('it is no regular file; - writes to standard output');
  return target;
}

/** Without it a rename may be lost in a power failure, although the file itself was synced. */
async function syncDirectory(path: string): Promise<void> {
  const directory: FileHandle = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function explain<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    throw new CategorizerError('OUTPUT_NOT_WRITABLE', `cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
}
