/** From what the user names to files that can be read more than once. */
import { createReadStream, createWriteStream, type Stats } from 'node:fs';

import { stat, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Database, quoteText } from '../duckdb.ts';
import { namingInput, notReadable } from './input-error.ts';

const GLOB = /[*?[]/;

export interface InputFile {
  /** As it was given; `-` is standard input. */
  readonly path: string;
  /** What is read: the same, a link to it, or a copy of what can be read only once. */
  readonly file: string;
  readonly size: number;
  readonly modified: number;
}

/** @throws CategorizerError `INPUT_NOT_READABLE`, or the reason of `stop` */
export async function findInputFiles(
  paths: readonly string[],
  database: Database,
  stop: AbortSignal,
): Promise<InputFile[]> {
  const files: InputFile[] = [];
  for (const given of paths) {
    for (const path of await expand(given, database)) {
      const place = join(database.directory, `input-${files.length}`);
      files.push(await namingInput(path, stop, () => openInputFile(path, place, stop)));
    }
  }
  return files;
}

/** A source is read more than once: what it was at first it must be still. */
export async function checkUnchanged({ file, size, modified }: InputFile): Promise<void> {
  const stats = await statOf(file);
  if (stats?.size === size && stats.mtimeMs === modified) return;
  throw new Error('it was changed while it was read');
}

/** A path that exists is meant as it stands, even with a * in its name. */
async function expand(path: string, database: Database): Promise<string[]> {
  if (path === '-' || !GLOB.test(path) || (await statOf(path))) return [path];
  const found = await database.rows(`SELECT file FROM glob(${quoteText(path)}) ORDER BY file`);
  if (found.length === 0) throw notReadable(path, new Error('no file matches it'));
  return found.map(([file]) => String(file));
}

/** @param place for a copy or a link */
async function openInputFile(path: string, place: string, stop: AbortSignal): Promise<InputFile> {
  const before = path === '-' ? undefined : await stat(path);
  if (before?.isDirectory()) throw new Error('it is a directory');
  const file = before?.isFile() && !GLOB.test(path) ? resolve(path) : place;
  if (!before?.isFile()) await copyStream(path === '-' ? process.stdin : createReadStream(path), place, stop);
  // DuckDB would look for what matches it.
  else if (file === place) await symlink(resolve(path), place);
  const { size, mtimeMs } = await stat(file);
  return { path, file, size, modified: mtimeMs };
}

/**
 * Copies what can be read only once. An idle pipe never ends the read that was begun, and with it the stream of a
 * file never closes: a stream between can be ended at once.
 */
async function copyStream(input: Readable, copy: string, stop: AbortSignal): Promise<void> {
  const between = new PassThrough();
  input.once('error', (error) => between.destroy(error));
  try {
    await pipeline(input.pipe(between), createWriteStream(copy), { signal: stop });
  } catch (error) {
    stop.throwIfAborted();
    throw error;
  } finally {
    input.destroy();
  }
}

async function statOf(path: string): Promise<Stats | undefined> {
  return stat(path).catch(() => undefined);
}
