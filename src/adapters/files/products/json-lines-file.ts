/** Makes a JSON lines file readable for DuckDB, line by line in the places where they stand. */
import { isUtf8 } from 'node:buffer';
import { type Bytes, type Content, readBytes, writeCopy } from './input-content.ts';
import { createJsonLineScanner } from './json-records.ts';

/** Stands in no JSON text, so that a line is one column of a CSV file. */
export const NO_DELIMITER = '\x01';

const BOM = '\uFEFF';
const NO_JSON = Buffer.from('x');
const NEW_LINE = Buffer.from('\n');

export interface ReadableLines {
  readonly source: Bytes;
  /** How many lines there are. */
  readonly rows: number;
  /** Of the longest. */
  readonly bytes: number;
}

/**
 * A file that would be read in another way than line by line is copied: without its byte order mark and blank lines, with
 * the same line ends everywhere, and with no JSON in place of a line that cannot be any.
 *
 * @param copy where a copy may be written
 */
export async function makeReadableLines(
  source: Bytes,
  content: Content,
  copy: string,
  stop: AbortSignal,
): Promise<ReadableLines> {
  let delimiters = false;
  const scanner = createJsonLineScanner((text) => {
    delimiters ||= text.includes(NO_DELIMITER);
  });
  for await (const chunk of readBytes(source, stop)) scanner.push(chunk);
  const { records, blank, bytes, returns } = scanner.end();
  const asItIs = content.utf8 && !content.start.toString('utf8').startsWith(BOM) && blank === 0 && !returns;
  if (asItIs && !delimiters) return { source, rows: records, bytes };
  await writeRepaired(source, copy, stop);
  return { source: { file: copy, gzip: false }, rows: records, bytes };
}

function writeRepaired(source: Bytes, copy: string, stop: AbortSignal): Promise<void> {
  return writeCopy(source, copy, stop, (write) =>
    createJsonLineScanner((text) => {
      write(isJsonBytes(text) ? withoutReturns(text) : NO_JSON, NEW_LINE);
    }),
  );
}

function isJsonBytes(text: Buffer): boolean {
  return isUtf8(text) && !text.includes(NO_DELIMITER);
}

/** A tab is white space like it, and not allowed inside of a JSON string either. */
function withoutReturns(text: Buffer): Buffer {
  return text.includes('\r') ? Buffer.from(text.toString('latin1').replaceAll('\r', '\t'), 'latin1') : text;
}
