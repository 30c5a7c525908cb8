import { randomBytes } from 'node:crypto';
import { chmod, chown, open, readdir, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CategorizerError, messageOf } from '../../domain/errors.ts';

const BUFFER_CHARACTERS = 1 << 18;
const MOST_LINKS = 40;
const LEFTOVER_MS = 24 * 3600 * 1000;

/** A place beside a file, to write to; what was written there becomes the file as a whole or not at all. */
export interface AtomicTarget {
  /** Where to write. It exists and is empty. */
  readonly temporary: string;
  /** Syncs what was written, puts it in place of what was there, and syncs the directory. */
  commit(): Promise<void>;
  /** Leaves what was there. Does nothing after a commit. */
  abort(): Promise<void>;
}

/** @throws CategorizerError `OUTPUT_NOT_WRITABLE` */
export async function createAtomicTarget(path: string): Promise<AtomicTarget> {
  const target = await explainWrite(path, () => findTarget(path));
  const temporary = `${target}.${randomBytes(4).toString('hex')}.tmp`;
  const before = await versionOf(target);
  const access = await accessOf(target);
  await explainWrite(path, async () => {
    await removeLeftovers(target);
    // Who must not read what is replaced must not read what replaces it either, not even while it is written.
    await (await open(temporary, 'wx', access === undefined ? 0o666 : access.mode & 0o666)).close();
  });
  let done = false;

  /** Of two that write the same file at once the second would take away what the first wrote. */
  async function refuseIfChanged(): Promise<void> {
    if ((await versionOf(target)) === before) return;
    throw new Error('it was changed by something else meanwhile; run the command again');
  }

  return {
    temporary,
    async commit() {
      await explainWrite(path, async () => {
        await sync(temporary);
        await refuseIfChanged();
        if (access) await giveAccess(temporary, access);
        await rename(temporary, target);
        done = true;
        // Without it the rename may be lost in a power failure, although the file itself was synced.
        await sync(dirname(target));
      });
    },
    async abort() {
      if (done) return;
      done = true;
      await rm(temporary, { force: true });
    },
  };
}

/** A text file that appears whole or not at all. */
export interface AtomicFile {
  write(text: string): Promise<void>;
  /** As that of an `AtomicTarget`. */
  commit(): Promise<void>;
  abort(): Promise<void>;
}

/** Writes beside `path` until it is committed. @throws CategorizerError `OUTPUT_NOT_WRITABLE` */
export async function createAtomicFile(path: string, encoding: 'utf8' | 'latin1' = 'utf8'): Promise<AtomicFile> {
  const target = await createAtomicTarget(path);
  const handle = await explainWrite(path, () => open(target.temporary, 'a'));
  let buffered = '';
  let closed = false;

  async function flush(): Promise<void> {
    const text = buffered;
    buffered = '';
    await explainWrite(path, () => handle.appendFile(text, encoding));
  }

  async function close(): Promise<void> {
    if (closed) return;
    closed = true;
    await handle.close();
  }

  return {
    async write(text) {
      buffered += text;
      if (buffered.length >= BUFFER_CHARACTERS) await flush();
    },
    async commit() {
      await flush();
      await close();
      await target.commit();
    },
    async abort() {
      await close();
      await target.abort();
    },
  };
}

/** As an `AtomicFile` for what cannot be taken back. */
export function createTextStream(stream: NodeJS.WritableStream): AtomicFile {
  return {
    write: (text) => writeToStream(stream, text),
    commit: async () => undefined,
    abort: async () => undefined,
  };
}

/** Resolves when it was taken. @throws CategorizerError `OUTPUT_NOT_WRITABLE` */
export function writeToStream(stream: NodeJS.WritableStream, bytes: Uint8Array | string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(bytes, (error) => {
      if (error) {
        reject(new CategorizerError('OUTPUT_NOT_WRITABLE', `cannot write to standard output: ${error.message}`));
      } else resolve();
    });
  });
}

/** What a crash left behind, long enough ago that nobody writes it any more. */
async function removeLeftovers(target: string): Promise<void> {
  const directory = dirname(target);
  const prefix = `${basename(target)}.`;
  for (const name of await readdir(directory)) {
    if (!name.startsWith(prefix) || !/^[0-9a-f]{8}\.tmp$/.test(name.slice(prefix.length))) continue;
    const path = join(directory, name);
    const stats = await stat(path).catch(() => undefined);
    if (stats && Date.now() - stats.mtimeMs > LEFTOVER_MS) await rm(path, { force: true });
  }
}

/** Tells whether a file is still what it was. */
async function versionOf(path: string): Promise<string> {
  const stats = await stat(path).catch(() => undefined);
  return stats ? `${stats.ino} ${stats.size} ${stats.mtimeMs}` : 'absent';
}

interface Access {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

async function accessOf(path: string): Promise<Access | undefined> {
  const stats = await stat(path).catch(() => undefined);
  return stats && { mode: stats.mode & 0o7777, uid: stats.uid, gid: stats.gid };
}

/** Owner and group as far as this user may give files away; the mode after them, as a change of owner takes bits off. */
async function giveAccess(path: string, { mode, uid, gid }: Access): Promise<void> {
  const now = await stat(path);
  if (now.uid !== uid || now.gid !== gid) {
    await chown(path, uid, gid)
      .catch(() => chown(path, now.uid, gid))
      .catch(ignoreForbidden);
  }
  await chmod(path, mode).catch(ignoreForbidden);
}

/** A file system without owners, or a user who may not: the file is whole all the same. */
function ignoreForbidden(error: NodeJS.ErrnoException): void {
  if (!['EPERM', 'EINVAL', 'ENOTSUP', 'ENOSYS'].includes(error.code ?? '')) throw error;
}

/** What a rename would replace: the file behind a link, and never anything that is no regular file (a pipe, /dev/null). */
async function findTarget(path: string): Promise<string> {
  const target = await realpath(path).catch(() => behindLinks(path));
  const stats = await stat(target).catch(() => undefined);
  if (stats && !stats.isFile()) throw new Error('it is no regular file; - writes to standard output');
  return target;
}

/** Where links lead to a file that is not there yet, that place: the links stay. */
async function behindLinks(path: string): Promise<string> {
  let place = path;
  for (let links = 0; links < MOST_LINKS; links++) {
    const next = await readlink(place).catch(() => undefined);
    if (next === undefined) return place;
    place = resolve(await realpath(dirname(place)), next);
  }
  throw new Error('its links lead in a circle');
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** @throws CategorizerError `OUTPUT_NOT_WRITABLE` where `write` fails. */
export async function explainWrite<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    throw new CategorizerError('OUTPUT_NOT_WRITABLE', `cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
}
