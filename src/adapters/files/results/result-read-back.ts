/** Reads a file of results that an earlier call wrote: which results it holds, and its rows to the letter. */
import { createReadStream } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { CategorizerError } from '../../../domain/errors.ts';
import { explainWrite } from '../atomic-file.ts';
import { CSV_HEADER } from './result-format.ts';

const QUOTE = 0x22;
const COMMA = 0x2c;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

const READ_BYTES = 1 << 20;
/** No row is that long: a quote that is never closed is not looked for in all of a large file. */
const MAX_ROW_BYTES = 1 << 25;
const CSV_COLUMNS = CSV_HEADER.split(',').length;

/** Gives the bytes of the file, whole rows at a time. @throws CategorizerError `OUTPUT_CONFLICT` */
export type ReadBack = (path: string, resultIds: Set<string>) => AsyncGenerator<Uint8Array, void>;

/** Whether there is a file to go on with: an empty one is as good as none. */
export async function holdsRows(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  if (!stats || stats.size === 0) return false;
  await explainWrite(path, () => access(path, constants.R_OK));
  return true;
}

export function conflict(path: string): CategorizerError {
  const message = `${path} exists and holds something else than collected results: name another file, or move it away`;
  return new CategorizerError('OUTPUT_CONFLICT', message);
}

export const readBackCsv: ReadBack = (path, resultIds) => {
  let isHeader = true;
  return readRows(path, (bytes, start) => {
    const row = splitCsvRow(bytes, start);
    if (typeof row !== 'object') return row;
    if (isHeader ? row.text() !== CSV_HEADER : row.cells !== CSV_COLUMNS) return 'broken';
    if (!isHeader) resultIds.add(row.lastCell());
    isHeader = false;
    return row.end;
  });
};

export const readBackJsonLines: ReadBack = (path, resultIds) =>
  readRows(path, (bytes, start) => {
    const end = bytes.indexOf(LINE_FEED, start);
    if (end < 0) return 'incomplete';
    const line = bytes.toString('utf8', start, end);
    if (line.trim() === '') return end + 1;
    const resultId = resultIdOf(line);
    if (resultId === undefined) return 'broken';
    resultIds.add(resultId);
    return end + 1;
  });

/** @returns where the next row starts */
type ReadRow = (bytes: Buffer, start: number) => number | 'incomplete' | 'broken';

async function* readRows(path: string, readRow: ReadRow): AsyncGenerator<Uint8Array, void> {
  let rest: Buffer = Buffer.alloc(0);

  function endOfRows(bytes: Buffer): number {
    let end = 0;
    while (end < bytes.length) {
      const next = readRow(bytes, end);
      if (next === 'broken') throw conflict(path);
      if (next === 'incomplete') break;
      end = next;
    }
    return end;
  }

  for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>) {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    const end = endOfRows(bytes);
    rest = bytes.subarray(end);
    if (rest.length > MAX_ROW_BYTES) throw conflict(path);
    if (end > 0) yield bytes.subarray(0, end);
  }
  if (rest.length === 0) return;
  const mended = Buffer.concat([rest, Buffer.of(LINE_FEED)]);
  if (endOfRows(mended) < mended.length) throw conflict(path);
  yield mended;
}

interface CsvRow {
  readonly end: number;
  readonly cells: number;
  text(): string;
  lastCell(): string;
}

function splitCsvRow(bytes: Buffer, start: number): CsvRow | 'incomplete' | 'broken' {
  let cells = 1;
  let cell = start;
  for (let i = start; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === COMMA) {
      cells++;
      cell = i + 1;
    } else if (byte === QUOTE) {
      if (i !== cell) return 'broken';
      i = endOfQuoted(bytes, i + 1);
      if (i < 0) return 'incomplete';
      const after = bytes[i + 1];
      if (after !== COMMA && after !== LINE_FEED && after !== CARRIAGE_RETURN) return 'broken';
    } else if (byte === LINE_FEED) {
      const textEnd = i > start && bytes[i - 1] === CARRIAGE_RETURN ? i - 1 : i;
      return {
        end: i + 1,
        cells,
        text: () => bytes.toString('utf8', start, textEnd),
        lastCell: () => unquote(bytes.toString('utf8', cell, textEnd)),
      };
    }
  }
  return 'incomplete';
}

/** @returns the place of the closing quote; -1 where it, or what follows it, is still to come */
function endOfQuoted(bytes: Buffer, start: number): number {
  let i = bytes.indexOf(QUOTE, start);
  while (i >= 0 && bytes[i + 1] === QUOTE) i = bytes.indexOf(QUOTE, i + 2);
  return i + 1 < bytes.length ? i : -1;
}

function unquote(cell: string): string {
  return cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell;
}

function resultIdOf(json: string): string | undefined {
  try {
    const row: { resultId?: unknown } | null = JSON.parse(json);
    return typeof row?.resultId === 'string' ? row.resultId : undefined;
  } catch {
    return undefined;
  }
}
