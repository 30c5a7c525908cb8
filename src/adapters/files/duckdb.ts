/** DuckDB reads and writes the tables of files; this is the little of it that the readers need. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { type DuckDBConnection, type DuckDBDataChunk, DuckDBInstance } from '@duckdb/node-api';
import { messageOf } from '../../domain/errors.ts';
import { createTemporaryDirectory } from './temporary-directory.ts';

/** For the buffers of a scan, which is all that is asked of DuckDB: nothing is grouped, joined or sorted but a few rows. */
const MEMORY_LIMIT = '96MB';
/** More threads read no faster than one JavaScript thread takes the rows, and each has buffers of its own. */
const THREADS = '2';

/**
 * V8 sees nothing of what a chunk holds outside of its heap, and would let hundreds of them wait for a collection. Memory
 * that is asked for and never touched makes it look earlier: with 10 million rows the process takes 185 MB and not 240.
 */
const CHUNK_WEIGHT = 16;

/** Nor does the young part of its heap have to grow with the number of rows: small it takes 30 MB less, and no time. */
const SMALL_YOUNG_HEAP = '--semi-space-growth-factor=1';

export type SqlValue = string | number | bigint | boolean | null;

export interface Database {
  /** For its temporary files; also DuckDB's own. */
  readonly directory: string;
  run(sql: string): Promise<void>;
  /** All rows of a small result. */
  rows(sql: string): Promise<SqlValue[][]>;
  /**
   * Rows as they come, in chunks of at most 2048. A chunk is to be read before the next one is asked for.
   *
   * @param rowBytes about how much a row takes
   */
  stream(sql: string, rowBytes: number): AsyncGenerator<DuckDBDataChunk>;
  /** May be called twice. Removes the temporary files. */
  close(): Promise<void>;
}

/** A database in memory and a directory of its own. @param stop interrupts what it does; then its reason is thrown */
export async function openDatabase(stop: AbortSignal): Promise<Database> {
  setFlagsFromString(SMALL_YOUNG_HEAP);
  const directory = await createTemporaryDirectory('source');
  let connection: DuckDBConnection | undefined;
  const interrupt = () => connection?.interrupt();
  let instance: DuckDBInstance | undefined;

  async function close(): Promise<void> {
    stop.removeEventListener('abort', interrupt);
    connection?.closeSync();
    instance?.closeSync();
    connection = undefined;
    instance = undefined;
    await rm(directory, { recursive: true, force: true });
  }

  async function guarded<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    stop.throwIfAborted();
    if (!connection) throw new Error('the source was closed');
    try {
      return await work(connection);
    } catch (error) {
      stop.throwIfAborted();
      throw error;
    }
  }

  try {
    instance = await DuckDBInstance.create(':memory:', {
      threads: THREADS,
      memory_limit: MEMORY_LIMIT,
      temp_directory: join(directory, 'duckdb'),
      // Nothing is loaded over the network.
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
    });
    connection = await instance.connect();
  } catch (error) {
    await close();
    throw error;
  }
  stop.addEventListener('abort', interrupt);

  return {
    directory,
    async run(sql) {
      await guarded((open) => open.run(sql));
    },
    rows: (sql) =>
      guarded(async (open) => {
        const reader = await open.runAndReadAll(sql);
        return reader.getRowsJS() as SqlValue[][];
      }),
    async *stream(sql, rowBytes) {
      const result = await guarded((open) => open.stream(sql));
      for (;;) {
        const chunk = await guarded(() => result.fetchChunk());
        if (!chunk || chunk.rowCount === 0) return;
        Buffer.allocUnsafeSlow(chunk.rowCount * rowBytes * CHUNK_WEIGHT);
        yield chunk;
      }
    },
    close,
  };
}

/** A name as SQL: column names come from users. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text as SQL: paths come from users. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** DuckDB's messages go on with hints and the SQL that failed: only the first line says what is wrong. */
export function firstLineOf(thrown: unknown): string {
  return messageOf(thrown).split('\n', 1)[0];
}
