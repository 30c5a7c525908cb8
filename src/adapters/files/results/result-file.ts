import { type FileHandle, open } from 'node:fs/promises';
import type { ResultFile } from '../../../application/ports.ts';
import { type AtomicTarget, createAtomicTarget, explainWrite, writeToStream } from '../atomic-file.ts';
import { createParquetResultFile } from './parquet-result-file.ts';
import { createRowEncoder } from './result-encoder.ts';
import { CSV_ROWS, JSON_LINES_ROWS, type RowFormat } from './result-format.ts';
import { holdsRows, type ReadBack, readBackCsv, readBackJsonLines } from './result-read-back.ts';

export type OutputFormat = TextFormat | 'parquet';
/** What can be written to a pipe. */
export type TextFormat = 'csv' | 'jsonl';

const TEXT: Readonly<Record<TextFormat, { readonly rows: RowFormat; readonly readBack: ReadBack }>> = {
  csv: { rows: CSV_ROWS, readBack: readBackCsv },
  jsonl: { rows: JSON_LINES_ROWS, readBack: readBackJsonLines },
};

/**
 * A file of categorized products.
 *
 * @param options.keep go on where the file ends (a collection), or write it anew
 */
export function createResultFile(options: {
  readonly path: string;
  readonly format: OutputFormat;
  readonly keep: boolean;
}): ResultFile {
  const { path, format, keep } = options;
  return format === 'parquet' ? createParquetResultFile({ path, keep }) : createTextFile(path, format, keep);
}

function createTextFile(path: string, format: TextFormat, keep: boolean): ResultFile {
  const { rows, readBack } = TEXT[format];
  const encoder = createRowEncoder(rows);
  let target: AtomicTarget | undefined;
  let handle: FileHandle | undefined;

  const append = (bytes: Uint8Array) => explainWrite(path, async () => handle?.appendFile(bytes));

  async function close(): Promise<void> {
    const open = handle;
    handle = undefined;
    await open?.close();
  }

  async function abort(): Promise<void> {
    await close();
    await target?.abort();
  }

  async function begin(temporary: string): Promise<ReadonlySet<string>> {
    const resultIds = new Set<string>();
    handle = await explainWrite(path, () => open(temporary, 'a'));
    if (keep && (await holdsRows(path))) {
      for await (const bytes of readBack(path, resultIds)) await append(bytes);
    } else {
      await append(Buffer.from(rows.header));
    }
    return resultIds;
  }

  return {
    async begin() {
      target = await createAtomicTarget(path);
      try {
        return await begin(target.temporary);
      } catch (error) {
        await abort();
        throw error;
      }
    },
    async write(result) {
      for (const block of encoder.encode(result)) await append(block);
    },
    async commit() {
      await append(encoder.rest());
      await close();
      await target?.commit();
    },
    abort,
  };
}

/** The same rows on standard output. There is no way back from a pipe: what was written cannot be taken back. */
export function createResultStream(stream: NodeJS.WritableStream, format: TextFormat): ResultFile {
  const { rows } = TEXT[format];
  const encoder = createRowEncoder(rows);
  let begun = false;

  /** Not before there is something to say: a reader would take the header alone for an answer. */
  async function write(bytes: Uint8Array | string): Promise<void> {
    if (!begun) await writeToStream(stream, rows.header);
    begun = true;
    await writeToStream(stream, bytes);
  }

  return {
    begin: async () => new Set(),
    async write(result) {
      // Copies: a stream may hold on to what it was given for longer than until it calls back.
      for (const block of encoder.encode(result)) await write(Buffer.from(block));
      // Whoever reads the pipe sees a result when it is there.
      await write(Buffer.from(encoder.rest()));
    },
    commit: () => write(''),
    abort: async () => undefined,
  };
}
