/** What every format makes of a file, so that all of them are read in the same way. */
import type { RejectedRow } from '../../../application/ports.ts';
import type { Database } from '../duckdb.ts';
import type { Content } from './input-content.ts';
import type { InputFile } from './input-files.ts';
import type { InputFormat } from './input-format.ts';
import type { Relation } from './relation.ts';
import type { RowSet } from './row-set.ts';

export type Encoding = 'utf-8' | 'latin-1';

/** The same in the words of Node. */
export function bufferEncoding(encoding: Encoding): 'utf8' | 'latin1' {
  return encoding === 'utf-8' ? 'utf8' : 'latin1';
}

export interface TableInput {
  readonly file: InputFile;
  readonly content: Content;
  readonly format: InputFormat;
  readonly encoding: Encoding;
  /** The header line of CSV; of a Parquet file as a line of CSV. */
  readonly header?: string;
  /** How many rows it has, valid or not. */
  readonly rows: number;
  readonly relation: Relation;
  /** What is wrong with these rows, in their order. */
  explain(rows: RowSet): AsyncIterable<ExplainedRow>;
  /** What the file was read with, where another choice would give other products. */
  readonly reading: unknown;
}

/** A row that was rejected, without its place among the inputs. */
export type ExplainedRow = Omit<RejectedRow, 'input'>;

/** What reading a file may need besides it. */
export interface InputContext {
  readonly database: Database;
  /** Where a copy may be written that can be read better. */
  readonly copy: string;
  readonly stop: AbortSignal;
}

/** What the user says about the tables. */
export interface TableOptions {
  readonly width: number;
  readonly delimiter?: string;
  readonly decimal?: '.' | ',';
  readonly encoding?: Encoding;
  readonly idColumn?: string;
  readonly featureColumns?: string;
}
