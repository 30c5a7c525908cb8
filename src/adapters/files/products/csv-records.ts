/**
 * Where the records of a CSV file stand, found in its bytes. DuckDB reads the values, much faster than this could; but of
 * broken quotes, mixed line ends or a column too many it does not tell reliably which row of the file it was.
 */
import { isUtf8 } from 'node:buffer';

const TAB = 0x09;
const SPACE = 0x20;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const QUOTE = 0x22;
const BOM = Buffer.from('\uFEFF');

/** Why a record cannot be split into its columns. */
export type RecordProblem = 'columns' | 'quotes' | 'size' | 'encoding';

/**
 * Takes a record, which are the bytes from `start` to `end`, without its line end. They are valid during the call.
 *
 * @param line where it starts, from 1
 */
export type OnRecord = (
  bytes: Buffer,
  start: number,
  end: number,
  line: number,
  problem: RecordProblem | undefined,
) => void;

export interface RecordOptions {
  readonly delimiter: string;
  /** How many columns a record must have. One more is allowed at the end of a line where it is empty. */
  readonly columns: number;
  /** Whether a record must be UTF-8. */
  readonly utf8: boolean;
  /** Longer records are none. */
  readonly maxBytes: number;
}

/** What was seen on the way. */
export interface RecordTotals {
  /** With the header. Blank lines are none. */
  records: number;
  problems: number;
  readonly lineEnds: { lf: number; crlf: number; cr: number };
  /** Whether a quoted cell goes over a line end. */
  multiline: boolean;
  /** Whether there are blank lines that are not empty, or empty ones before the header. */
  blanks: boolean;
}

export interface RecordScanner {
  push(chunk: Buffer): void;
  /** No more comes. */
  end(): RecordTotals;
}

/**
 * A quoted cell starts with a quote (after a space, perhaps) and ends with one; a quote inside is doubled. A quote in any
 * other cell is a character like others. Where the quotes of a record are broken, the first line of it is a record that
 * has a problem, and the next line is looked at anew: a quote that is never closed costs one row and not all that follow.
 */
export function createRecordScanner(options: RecordOptions, onRecord: OnRecord): RecordScanner {
  const { columns, utf8, maxBytes } = options;
  const delimiter = options.delimiter.charCodeAt(0);
  const totals: RecordTotals = {
    records: 0,
    problems: 0,
    lineEnds: { lf: 0, crlf: 0, cr: 0 },
    multiline: false,
    blanks: false,
  };
  let rest: Buffer = Buffer.alloc(0);
  let line = 1;
  let started = false;
  /** Inside of a line that is too long: it was reported, and its end is to be found. */
  let skipping = false;

  /** Of the record that was looked at last. */
  let recordEnd = 0;
  let cells = 0;
  let broken = false;
  let breaks = 0;

  /** Finds the end of the record. @returns whether it is there; else more bytes are needed. */
  function findEnd(bytes: Buffer, start: number, last: boolean): boolean {
    cells = 1;
    broken = false;
    breaks = 0;
    let i = start;
    for (;;) {
      const cellStart = i;
      while (bytes[i] === SPACE) i++;
      if (bytes[i] === QUOTE) {
        // DuckDB passes over one space before a quote, and takes a quote after more of them for a part of the text.
        i = i - cellStart > 1 ? -1 : endOfQuoted(bytes, i + 1);
        while (bytes[i] === SPACE) i++;
        if (i >= bytes.length && !last) return false;
        if (i !== bytes.length && !endsCell(bytes[i])) {
          broken = true;
          breaks = 0;
          return endOfLine(bytes, start, last);
        }
      } else {
        while (i < bytes.length && !endsCell(bytes[i])) i++;
      }
      if (i < bytes.length && bytes[i] === delimiter) {
        cells++;
        i++;
        continue;
      }
      recordEnd = i;
      return i < bytes.length ? bytes[i] === LINE_FEED || i + 1 < bytes.length || last : last;
    }
  }

  /** Nothing but spaces, and tabs where they do not part the cells. */
  function isBlank(bytes: Buffer, start: number, end: number): boolean {
    for (let i = start; i < end; i++) {
      if (bytes[i] !== SPACE && (bytes[i] !== TAB || delimiter === TAB)) return false;
    }
    return true;
  }

  function endsCell(byte: number | undefined): boolean {
    return byte === delimiter || byte === LINE_FEED || byte === CARRIAGE_RETURN;
  }

  /** @returns the place after the closing quote; where there is none, beyond all bytes */
  function endOfQuoted(bytes: Buffer, start: number): number {
    for (let i = start; i < bytes.length; i++) {
      const byte = bytes[i];
      if (byte === QUOTE) {
        if (bytes[i + 1] !== QUOTE) return i + 1;
        i++;
      } else if (byte === LINE_FEED || (byte === CARRIAGE_RETURN && bytes[i + 1] !== LINE_FEED)) {
        breaks++;
      }
    }
    return bytes.length + 1;
  }

  function endOfLine(bytes: Buffer, start: number, last: boolean): boolean {
    let i = start;
    while (i < bytes.length && bytes[i] !== LINE_FEED && bytes[i] !== CARRIAGE_RETURN) i++;
    recordEnd = i;
    return i < bytes.length ? bytes[i] === LINE_FEED || i + 1 < bytes.length || last : last;
  }

  /** @returns the place after the line end that the record ends with */
  function passLineEnd(bytes: Buffer): number {
    if (recordEnd >= bytes.length) return recordEnd;
    line++;
    if (bytes[recordEnd] === LINE_FEED) totals.lineEnds.lf++;
    else if (bytes[recordEnd + 1] === LINE_FEED) {
      totals.lineEnds.crlf++;
      return recordEnd + 2;
    } else totals.lineEnds.cr++;
    return recordEnd + 1;
  }

  function report(bytes: Buffer, start: number, problem: RecordProblem | undefined): void {
    totals.records++;
    if (problem) totals.problems++;
    if (breaks > 0) totals.multiline = true;
    onRecord(bytes, start, recordEnd, line, problem);
    line += breaks;
  }

  function judge(bytes: Buffer, start: number): RecordProblem | undefined {
    if (recordEnd - start > maxBytes) return 'size';
    if (utf8 && !isUtf8(bytes.subarray(start, recordEnd))) return 'encoding';
    if (broken) return 'quotes';
    const oneEmptyMore = cells === columns + 1 && bytes[recordEnd - 1] === delimiter;
    return cells === columns || oneEmptyMore ? undefined : 'columns';
  }

  function scan(bytes: Buffer, last: boolean): Buffer {
    let start = 0;
    while (start < bytes.length) {
      if (skipping) {
        breaks = 0;
        const ended = endOfLine(bytes, start, last);
        if (!ended)
          return bytes.subarray(bytes[bytes.length - 1] === CARRIAGE_RETURN ? bytes.length - 1 : bytes.length);
        skipping = false;
        start = passLineEnd(bytes);
        continue;
      }
      const ended = findEnd(bytes, start, last);
      if (!ended && bytes.length - start <= maxBytes) return bytes.subarray(start);
      if (!ended || (breaks > 0 && recordEnd - start > maxBytes)) {
        // Quotes that hardly end where they should: the first line alone. A line that does not end: what there is of it.
        broken = true;
        breaks = 0;
        if (!endOfLine(bytes, start, last)) {
          report(bytes, start, 'size');
          skipping = true;
          start = recordEnd;
          continue;
        }
      }
      if (isBlank(bytes, start, recordEnd)) {
        if (recordEnd > start || totals.records === 0) totals.blanks = true;
      } else {
        report(bytes, start, judge(bytes, start));
      }
      start = passLineEnd(bytes);
    }
    return NOTHING;
  }

  function push(chunk: Buffer, last: boolean): void {
    let bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    if (!started) {
      if (bytes.length < BOM.length && !last) {
        rest = Buffer.from(bytes);
        return;
      }
      started = true;
      if (bytes.indexOf(BOM) === 0) bytes = bytes.subarray(BOM.length);
    }
    rest = Buffer.from(scan(bytes, last));
  }

  return {
    push: (chunk) => push(chunk, false),
    end() {
      push(NOTHING, true);
      return totals;
    },
  };
}

const NOTHING = Buffer.alloc(0);
