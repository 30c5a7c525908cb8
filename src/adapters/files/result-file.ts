import { createReadStream, existsSync } from 'node:fs';
import { CsvError, parse } from 'csv-parse';
import type { CollectedRow, ResultFile } from '../../application/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { type AtomicFile, createAtomicFile } from './atomic-file.ts';
import { readJsonLinesRows } from './json-lines-rows.ts';

export type OutputFormat = 'csv' | 'jsonl';

const CSV_HEADER = 'product_id,category_code,confidence,reject_code,reject_message,model_version,result_id';

/** A row as text, and how to read rows back with the result ids they came with. */
interface RowFormat {
  readonly header: string;
  format(row: CollectedRow): string;
  /** @throws CategorizerError `OUTPUT_CONFLICT` */
  readBack(path: string): AsyncIterable<{ raw: string; resultId: string }>;
}

const FORMATS: Readonly<Record<OutputFormat, RowFormat>> = {
  csv: { header: `${CSV_HEADER}\n`, format: toCsv, readBack: readBackCsv },
  jsonl: { header: '', format: (row) => `${JSON.stringify(row)}\n`, readBack: readBackJsonLines },
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
  const { path, keep } = options;
  const format = FORMATS[options.format];
  let file: AtomicFile | undefined;

  return {
    async begin() {
      const resultIds = new Set<string>();
      file = await createAtomicFile(path);
      await file.write(format.header);
      if (!keep || !existsSync(path)) return resultIds;
      try {
        for await (const { raw, resultId } of format.readBack(path)) {
          resultIds.add(resultId);
          await file.write(raw);
        }
      } catch (error) {
        await file.abort();
        throw error;
      }
      return resultIds;
    },
    async write(rows) {
      await file?.write(rows.map(format.format).join(''));
    },
    commit: async () => file?.commit(),
    abort: async () => file?.abort(),
  };
}

/** The same rows on standard output. There is no way back from a pipe: what was written cannot be taken back. */
export function createResultStream(stream: NodeJS.WritableStream, outputFormat: OutputFormat): ResultFile {
  const format = FORMATS[outputFormat];
  const write = (text: string) =>
    new Promise<void>((resolve, reject) => {
      stream.write(text, (error) => {
        if (error)
          reject(new CategorizerError('OUTPUT_NOT_WRITABLE', `cannot write to standard output: ${error.message}`));
        else resolve();
      });
    });
  return {
    async begin() {
      await write(format.header);
      return new Set();
    },
    write: (rows) => write(rows.map(format.format).join('')),
    commit: async () => undefined,
    abort: async () => undefined,
  };
}

function toCsv({ productId, categoryCode, confidence, reject, modelVersion, resultId }: CollectedRow): string {
  const cells = [productId ?? '', categoryCode ?? '', confidence ?? '', reject?.code ?? '', reject?.message ?? ''];
  return `${[...cells, modelVersion, resultId].map(csvCell).join(',')}\n`;
}

function csvCell(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

async function* readBackCsv(path: string): AsyncGenerator<{ raw: string; resultId: string }> {
  const parser = createReadStream(path).pipe(parse({ raw: true, relax_column_count: true }));
  const columns = CSV_HEADER.split(',').length;
  let first = true;
  try {
    for await (const { record, raw } of parser as AsyncIterable<{ record: string[]; raw: string }>) {
      const isOurs = first ? record.join(',') === CSV_HEADER : record.length === columns;
      if (!isOurs) throw conflict(path);
      if (!first) yield { raw: raw.endsWith('\n') ? raw : `${raw}\n`, resultId: record[columns - 1] };
      first = false;
    }
  } catch (error) {
    throw error instanceof CsvError ? conflict(path) : error;
  }
}

async function* readBackJsonLines(path: string): AsyncGenerator<{ raw: string; resultId: string }> {
  for await (const { raw } of readJsonLinesRows(createReadStream(path))) {
    const resultId = readResultId(raw);
    if (resultId === undefined) throw conflict(path);
    yield { raw: `${raw}\n`, resultId };
  }
}

function readResultId(json: string): string | undefined {
  try {
    const row: { resultId?: unknown } | null = JSON.parse(json);
    return typeof row?.resultId === 'string' ? row.resultId : undefined;
  } catch {
    return undefined;
  }
}

function conflict(path: string): CategorizerError {
  const message = `${path} exists and holds something else than collected results: name another file, or move it away`;
  return new CategorizerError('OUTPUT_CONFLICT', message);
}
