import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
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
  // Always the same name: what a crash left is overwritten by the next try.
  const temporary = `${path}.tmp`;
  const handle = await explain(path, () => open(temporary, 'w'));
  let buffered = '';
  let open_ = true;

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
        open_ = false;
        await rename(temporary, path);
        await syncDirectory(dirname(path));
      });
    },
    async abort() {
      if (!open_) return;
      open_ = false;
      await handle.close();
      await rm(temporary, { force: true });
    },
  };
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
