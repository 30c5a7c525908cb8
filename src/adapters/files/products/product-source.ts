/** Products of files: CSV, JSON lines and Parquet, read by DuckDB into flat arrays. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { ProductSource } from '../../../application/ports.ts';
import { type Database, openDatabase } from '../duckdb.ts';
import { openCsv } from './csv-input.ts';
import type { DuplicatePolicy } from './duplicates.ts';
import { readContent } from './input-content.ts';
import { namingInput } from './input-error.ts';
import { findInputFiles, type InputFile } from './input-files.ts';
import { detectFormat, type InputFormat } from './input-format.ts';
import { openJsonLines } from './json-lines-input.ts';
import { openParquet } from './parquet-input.ts';
import { createProductReader } from './product-reader.ts';
import { explainRejects } from './rejects.ts';
import type { Encoding, InputContext, TableInput, TableOptions } from './table-input.ts';

export type { InputFormat } from './input-format.ts';

export interface SourceOptions extends TableOptions {
  /** Files, globs, or `-` for standard input. */
  readonly paths: readonly string[];
  /** Told from the content where it is not said. */
  readonly format?: InputFormat;
  readonly onDuplicate: DuplicatePolicy;
  readonly maxRejects?: number;
  /** Ends reading with its reason, also where the input gives nothing (a pipe that stays open). */
  readonly stop: AbortSignal;
}

export interface FileProductSource extends ProductSource {
  /** What was found, in the order in which it is read. */
  readonly inputs: readonly {
    /** As it was given; `-` is standard input. */
    readonly path: string;
    readonly format: InputFormat;
    /** The header line of CSV; of a Parquet file as a line of CSV. */
    readonly header?: string;
    readonly encoding: Encoding;
  }[];
}

const OPEN = { csv: openCsv, jsonl: openJsonLines, parquet: openParquet };

/** @throws CategorizerError `INPUT_NOT_READABLE`, `WRONG_WIDTH`, or the reason of `stop` */
export async function openProductSource(options: SourceOptions): Promise<FileProductSource> {
  const { stop } = options;
  stop.throwIfAborted();
  const database = await openDatabase(stop);
  try {
    const inputs: TableInput[] = [];
    for (const file of await findInputFiles(options.paths, database, stop)) {
      const copy = join(database.directory, `copy-${inputs.length}`);
      inputs.push(await namingInput(file.path, stop, () => openInput(file, options, { database, copy, stop })));
    }
    return createSource(inputs, options, database);
  } catch (error) {
    await database.close();
    throw error;
  }
}

async function openInput(file: InputFile, options: SourceOptions, context: InputContext): Promise<TableInput> {
  const content = await readContent(file.file, context.stop);
  const open = OPEN[detectFormat(content, options.format)];
  return open(file, content, options, context);
}

function createSource(inputs: readonly TableInput[], options: SourceOptions, database: Database): FileProductSource {
  const reader = createProductReader(inputs, options, database);
  return {
    inputs: inputs.map(({ file, format, header, encoding }) => ({ path: file.path, format, header, encoding })),
    fingerprint: fingerprintOf(inputs, options),
    products: reader.products,
    counts: reader.counts,
    rejects: () => explainRejects(inputs, reader, options.stop),
    progress: reader.progress,
    close: () => database.close(),
  };
}

function fingerprintOf(inputs: readonly TableInput[], { width, onDuplicate }: SourceOptions): string {
  const contents = inputs.map(({ content, format, reading }) => ({ sha256: content.sha256, format, reading }));
  return createHash('sha256').update(JSON.stringify({ width, onDuplicate, contents })).digest('hex');
}
