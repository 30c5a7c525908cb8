/** One pass over the bytes of an input, before anything is made of them. */
import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';

/** Enough to tell a format and a dialect from. */
const START_BYTES = 256 * 1024;
const READ_BYTES = 1 << 18;
const QUOTE = 0x22;
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);

/** A file, and how it is read. */
export interface Bytes {
  readonly file: string;
  readonly gzip: boolean;
}

/** What the bytes of a file are. A gzipped file is looked at decompressed. */
export interface Content {
  readonly gzip: boolean;
  /** Hex. */
  readonly sha256: string;
  readonly bytes: number;
  /** The first of them. */
  readonly start: Buffer;
  /** Whether all of it is UTF-8. */
  readonly utf8: boolean;
  /** Whether there is a double quote anywhere. */
  readonly quotes: boolean;
}

/** @throws the error of the file system or of gunzip, or the reason of `stop` */
export async function readContent(file: string, stop: AbortSignal): Promise<Content> {
  const gzip = await isGzip(file);
  const hash = createHash('sha256');
  const start: Buffer[] = [];
  let bytes = 0;
  let utf8: Utf8Check = { valid: true, rest: NOTHING };
  let quotes = false;
  for await (const chunk of readBytes({ file, gzip }, stop)) {
    hash.update(chunk);
    if (bytes < START_BYTES) start.push(Buffer.from(chunk.subarray(0, START_BYTES - bytes)));
    bytes += chunk.length;
    if (utf8.valid) utf8 = checkUtf8(utf8.rest, chunk);
    quotes ||= chunk.includes(QUOTE);
  }
  const isWhole = utf8.valid && utf8.rest.length === 0;
  return { gzip, sha256: hash.digest('hex'), bytes, start: Buffer.concat(start), utf8: isWhole, quotes };
}

/**
 * The bytes of a file, decompressed. A chunk is valid until the next one is asked for.
 *
 * @throws the error of the file system or of gunzip, or the reason of `stop`
 */
export async function* readBytes({ file, gzip }: Bytes, stop: AbortSignal): AsyncGenerator<Buffer> {
  if (!gzip) {
    yield* readPlain(file, stop);
    return;
  }
  // What goes wrong on the way is thrown by the iteration.
  const stream = pipeline(
    createReadStream(file, { signal: stop }),
    createGunzip({ chunkSize: READ_BYTES }),
    () => undefined,
  );
  try {
    for await (const chunk of stream) yield chunk;
  } catch (error) {
    stop.throwIfAborted();
    throw error;
  }
}

/**
 * Writes the bytes of a file anew, as a scanner sees them.
 *
 * @param createScanner gets what writes; the parts must be valid until the scanner was given all of a chunk
 */
export async function writeCopy(
  source: Bytes,
  copy: string,
  stop: AbortSignal,
  createScanner: (write: (...parts: Buffer[]) => void) => { push(chunk: Buffer): void; end(): unknown },
): Promise<void> {
  const handle = await open(copy, 'w');
  const parts: Buffer[] = [];
  const scanner = createScanner((...more) => parts.push(...more));
  try {
    for await (const chunk of readBytes(source, stop)) {
      scanner.push(chunk);
      await handle.appendFile(Buffer.concat(parts.splice(0)));
    }
    scanner.end();
    await handle.appendFile(Buffer.concat(parts));
  } finally {
    await handle.close();
  }
}

/** In one buffer: a stream would leave one behind for every read, for the garbage collector to find some day. */
async function* readPlain(file: string, stop: AbortSignal): AsyncGenerator<Buffer> {
  const handle = await open(file);
  try {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
    for (;;) {
      stop.throwIfAborted();
      const { bytesRead } = await handle.read(buffer, 0, buffer.length);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}

async function isGzip(file: string): Promise<boolean> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(GZIP_MAGIC.length) });
    return bytesRead === GZIP_MAGIC.length && buffer.equals(GZIP_MAGIC);
  } finally {
    await handle.close();
  }
}

const NOTHING = Buffer.alloc(0);

interface Utf8Check {
  readonly valid: boolean;
  /** The first bytes of a character whose others are in the next chunk. */
  readonly rest: Buffer;
}

function checkUtf8(rest: Buffer, chunk: Buffer): Utf8Check {
  const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
  const end = bytes.length - cutCharacter(bytes);
  return { valid: isUtf8(bytes.subarray(0, end)), rest: Buffer.from(bytes.subarray(end)) };
}

/** How many bytes at the end are the beginning of a character that is not complete. */
function cutCharacter(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back];
    if (byte >= 0xc0) {
      const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return back < length ? back : 0;
    }
    if (byte < 0x80) return 0;
  }
  return 0;
}
