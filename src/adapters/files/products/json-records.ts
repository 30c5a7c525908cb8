/** Where the lines of a JSON lines file stand, found in its bytes. */
import { CategorizerError } from '../../../domain/errors.ts';

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const BOM = Buffer.from('\uFEFF');

/** DuckDB has buffers of several of the longest lines, and a limit to its memory. */
const MAX_LINE_BYTES = 1 << 22;

/** Takes a line that is not blank, without its line end. @param line its number, from 1 */
export type OnJsonLine = (text: Buffer, line: number) => void;

/** What was seen on the way. */
interface JsonLineTotals {
  /** Lines that are not blank. */
  records: number;
  blank: number;
  /** Of the longest line. */
  bytes: number;
  /** Whether there are carriage returns elsewhere than at the end of every line. */
  returns: boolean;
}

export interface JsonLineScanner {
  push(chunk: Buffer): void;
  /** No more comes. */
  end(): JsonLineTotals;
}

/** Lines end at line feeds only: JSON texts may hold all other separators. */
export function createJsonLineScanner(onLine: OnJsonLine): JsonLineScanner {
  const totals: JsonLineTotals = { records: 0, blank: 0, bytes: 0, returns: false };
  let rest: Buffer[] = [];
  let restBytes = 0;
  let line = 1;
  let crlf = 0;

  function take(whole: Buffer, ended: boolean): void {
    const start = line === 1 && whole.indexOf(BOM) === 0 ? BOM.length : 0;
    const hasReturn = ended && whole[whole.length - 1] === CARRIAGE_RETURN;
    const text = whole.subarray(start, hasReturn ? whole.length - 1 : whole.length);
    if (hasReturn) crlf++;
    // All of them, or none.
    if (ended && crlf !== 0 && crlf !== line) totals.returns = true;
    totals.bytes = Math.max(totals.bytes, text.length);
    totals.returns ||= text.includes(CARRIAGE_RETURN);
    if (isBlank(text)) {
      totals.blank++;
    } else {
      totals.records++;
      onLine(text, line);
    }
    line++;
  }

  return {
    push(chunk) {
      let start = 0;
      for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
        const last = chunk.subarray(start, end);
        take(rest.length > 0 ? Buffer.concat([...rest, last]) : last, true);
        rest = [];
        restBytes = 0;
        start = end + 1;
      }
      if (start < chunk.length) rest.push(Buffer.from(chunk.subarray(start)));
      restBytes += chunk.length - start;
      if (restBytes > MAX_LINE_BYTES) {
        throw new CategorizerError('INPUT_NOT_READABLE', `line ${line} is longer than ${MAX_LINE_BYTES} bytes`);
      }
    },
    end() {
      if (restBytes > 0) take(Buffer.concat(rest), false);
      return totals;
    },
  };
}

/** White space as JSON has it, and what else is blank for DuckDB. */
function isBlank(text: Buffer): boolean {
  for (const byte of text) if (byte !== 0x20 && (byte < 0x09 || byte > 0x0d)) return false;
  return true;
}
