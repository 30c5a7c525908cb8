/** How a CSV file is written: told from its first lines, or said by the user. */
import { CsvError, parse } from 'csv-parse/sync';
import { CategorizerError } from '../../../domain/errors.ts';

export interface CsvHeader {
  /** As it stands in the file, without its line end. */
  readonly text: string;
  readonly names: readonly string[];
}

const DELIMITERS = [',', ';', '\t', '|'];
const ID_COLUMNS = ['product_id', 'productId'];

/** Everything that is no matter of dialect. */
function csvParseOptions(delimiter: string) {
  return {
    bom: true,
    delimiter,
    record_delimiter: ['\r\n', '\n', '\r'],
    relax_column_count: true,
    relax_quotes: true,
    skip_empty_lines: true,
    trim: true,
  };
}

/** Of the usual delimiters the one with which the header has the id column, else the one with most columns. */
export function detectDelimiter(sample: string, idColumn: string | undefined): string {
  const wanted = idColumn === undefined ? ID_COLUMNS : [idColumn];
  const headers = DELIMITERS.map((delimiter) => ({ delimiter, names: guessNames(sample, delimiter) }));
  const withId = headers.filter(({ names }) => wanted.some((name) => names.includes(name)));
  const candidates = withId.length > 0 ? withId : headers;
  return candidates.reduce((best, next) => (next.names.length > best.names.length ? next : best)).delimiter;
}

/** With a delimiter that is another than that of the file, quotes may stand where none can be read. */
function guessNames(sample: string, delimiter: string): readonly string[] {
  try {
    return parseHeader(sample, delimiter).names;
  } catch (error) {
    if (error instanceof CsvError) return [];
    throw error;
  }
}

/** @throws CategorizerError `INPUT_NOT_READABLE` where two columns have the same name */
export function readHeader(sample: string, delimiter: string): CsvHeader {
  const header = parseHeader(sample, delimiter);
  const double = header.names.find((name, i) => header.names.indexOf(name) !== i);
  if (double === undefined) return header;
  throw new CategorizerError('INPUT_NOT_READABLE', `its header line has two columns ${double}`);
}

function parseHeader(sample: string, delimiter: string): CsvHeader {
  const records: unknown[] = parse(sample, { ...csvParseOptions(delimiter), raw: true, to: 1 });
  const [header] = records as { record: string[]; raw: string }[];
  if (!header) throw new CategorizerError('INPUT_NOT_READABLE', 'its header line is too long');
  return { text: header.raw.replace(/^[\uFEFF\s]+|[\r\n]+$/g, ''), names: header.record };
}

/** The cells of one record, without white space around them; of nothing but that there is one, which is empty. */
export function splitRecord(text: string, delimiter: string): string[] {
  const records: string[][] = parse(text, { ...csvParseOptions(delimiter), bom: false });
  return records.at(0) ?? [''];
}

/**
 * Told by the first cells that have one of the two signs.
 *
 * @param rows cells of the first rows
 * @param columns where the features stand
 * @throws CategorizerError `INPUT_NOT_READABLE` where some cells have the one and some the other
 */
export function detectDecimal(
  rows: readonly (readonly string[])[],
  delimiter: string,
  columns: readonly number[],
): '.' | ',' {
  if (delimiter === ',') return '.';
  const cells = rows.flatMap((row) => columns.map((column) => row[column] ?? ''));
  const signs = new Set(cells.map((cell) => /^[+-]?\d*([.,])\d+(e[+-]?\d+)?$/i.exec(cell)?.[1]));
  if (signs.has(',') && signs.has('.')) {
    throw new CategorizerError(
      'INPUT_NOT_READABLE',
      'some numbers have a decimal comma and some a point: say which with --decimal',
    );
  }
  if (signs.has('.')) return '.';
  return signs.has(',') || delimiter === ';' ? ',' : '.';
}
