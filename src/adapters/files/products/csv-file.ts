/** Makes a CSV file readable for DuckDB, row by row in the places where they stand. */
import { CategorizerError } from '../../../domain/errors.ts';
import { createRecordScanner, type RecordOptions, type RecordTotals } from './csv-records.ts';
import { type Bytes, readBytes, writeCopy } from './input-content.ts';

const NEW_LINE = Buffer.from('\n');

/** What is read of a CSV file: the file itself, or a repaired copy. */
export interface ReadableCsv {
  readonly source: Bytes;
  /** Without the header. */
  readonly rows: number;
}

/**
 * A file that DuckDB would stumble over is copied: every record that has a problem becomes an empty one, which is
 * rejected in its place, and all line ends become the same. Nearly all files are read as they are.
 *
 * @param copy where a copy may be written
 * @throws CategorizerError `INPUT_NOT_READABLE` where the header has a problem
 */
export async function makeReadable(
  source: Bytes,
  options: RecordOptions,
  copy: string,
  stop: AbortSignal,
): Promise<ReadableCsv> {
  let records = 0;
  const scanner = createRecordScanner(options, (_bytes, _start, _end, _line, problem) => {
    if (records++ === 0 && problem) {
      throw new CategorizerError('INPUT_NOT_READABLE', `its header line cannot be read (${problem})`);
    }
  });
  for await (const chunk of readBytes(source, stop)) scanner.push(chunk);
  const totals = scanner.end();
  const rows = totals.records - 1;
  if (!needsRepair(totals)) return { source, rows };
  await writeRepaired(source, options, copy, stop);
  return { source: { file: copy, gzip: false }, rows };
}

function needsRepair({ problems, blanks, lineEnds }: RecordTotals): boolean {
  const kinds = Object.values(lineEnds).filter((count) => count > 0).length;
  return problems > 0 || blanks || kinds > 1;
}

async function writeRepaired(source: Bytes, options: RecordOptions, copy: string, stop: AbortSignal): Promise<void> {
  const emptyRecord = Buffer.from(options.delimiter.repeat(options.columns - 1));
  await writeCopy(source, copy, stop, (write) =>
    createRecordScanner(options, (bytes, start, end, _line, problem) => {
      write(problem ? emptyRecord : bytes.subarray(start, end), NEW_LINE);
    }),
  );
}
