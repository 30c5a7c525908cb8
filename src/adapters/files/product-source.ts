import { open } from 'node:fs/promises';
import { PassThrough, type Readable } from 'node:stream';
import type { ProductSource, SourceRow } from '../../application/ports.ts';
import { CategorizerError, messageOf } from '../../domain/errors.ts';
import { readCsvRows } from './csv-rows.ts';
import { readJsonLinesRows } from './json-lines-rows.ts';

export type InputFormat = 'csv' | 'jsonl';

export interface FileProductSource extends ProductSource {
  /** What the input turned out to be; call it after the first row was read, or where it was said. */
  readonly format: InputFormat;
  /** The CSV header line; none for JSON lines. */
  readonly header: string | undefined;
}

/**
 * Opens a file of products, or standard input (`-`): CSV with a header (`product_id`, `f0` … `fN`, other columns are
 * ignored) or JSON lines (`{"productId", "features"}`). Where the format is not said, the first character tells it.
 *
 * @param options.width numbers in a feature vector
 * @throws CategorizerError `INPUT_NOT_READABLE`, or `WRONG_WIDTH` where a CSV header has not `width` feature columns
 */
export async function openProductSource(options: {
  readonly path: string;
  readonly format?: InputFormat;
  readonly width: number;
  /** Ends the rows with its reason, also where the input gives nothing (a pipe that stays open). */
  readonly stop: AbortSignal;
}): Promise<FileProductSource> {
  const { path, width, stop } = options;
  stop.throwIfAborted();
  const { input, total } = await openInput(path);
  const stream = endedBy(stop, input);
  try {
    const format = options.format ?? (await sniffFormat(stream));
    const { header, rows } =
      format === 'csv' ? await readCsvRows(stream, width) : { header: undefined, rows: readJsonLinesRows(stream) };
    return {
      format,
      header,
      rows: () => explained(path, rows),
      progress: () => ({ read: 'bytesRead' in input ? Number(input.bytesRead) : 0, total }),
    };
  } catch (error) {
    stream.destroy();
    throw notReadable(path, error);
  }
}

async function openInput(path: string): Promise<{ input: Readable; total?: number }> {
  if (path === '-') return { input: process.stdin };
  try {
    const handle = await open(path);
    const stats = await handle.stat();
    return { input: handle.createReadStream(), total: stats.isFile() ? stats.size : undefined };
  } catch (error) {
    throw notReadable(path, error);
  }
}

/**
 * The same bytes in a stream that ends at once when it is told to. A stream of a file does not: it waits for the read that
 * it has begun, which in an idle pipe never ends.
 */
function endedBy(stop: AbortSignal, input: Readable): Readable {
  const stream = input.pipe(new PassThrough());
  const end = () => stream.destroy(stop.reason);
  stop.addEventListener('abort', end, { once: true });
  stream.once('close', () => {
    stop.removeEventListener('abort', end);
    input.destroy();
  });
  input.once('error', (error) => stream.destroy(error));
  // It keeps its error for whoever reads it, who may come later.
  stream.on('error', () => undefined);
  return stream;
}

/** Looks at the first characters and puts them back. */
async function sniffFormat(stream: Readable): Promise<InputFormat> {
  const first = await firstChunk(stream);
  if (first === undefined) return 'csv';
  stream.unshift(first);
  const start = first
    .subarray(0, 1024)
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .trimStart();
  return start.startsWith('{') ? 'jsonl' : 'csv';
}

function firstChunk(stream: Readable): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    function done(chunk?: Buffer): void {
      stream.off('readable', onReadable).off('end', done).off('error', reject);
      resolve(chunk);
    }
    function onReadable(): void {
      const chunk: Buffer | null = stream.read();
      if (chunk !== null) done(chunk);
    }
    stream
      .on('readable', onReadable)
      .on('end', () => done())
      .on('error', reject);
  });
}

async function* explained(path: string, rows: AsyncIterable<SourceRow>): AsyncGenerator<SourceRow> {
  try {
    yield* rows;
  } catch (error) {
    throw notReadable(path, error);
  }
}

function notReadable(path: string, cause: unknown): CategorizerError {
  if (cause instanceof CategorizerError && cause.code === 'INTERRUPTED') return cause;
  const name = path === '-' ? 'standard input' : path;
  const code = cause instanceof CategorizerError ? cause.code : 'INPUT_NOT_READABLE';
  return new CategorizerError(code, `cannot read ${name}: ${messageOf(cause)}`, { cause });
}
