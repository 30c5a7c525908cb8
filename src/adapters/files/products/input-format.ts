import { CategorizerError } from '../../../domain/errors.ts';
import type { Content } from './input-content.ts';

export type InputFormat = 'csv' | 'jsonl' | 'parquet';

const PARQUET_MAGIC = 'PAR1';
const UTF16_MARKS = ['fffe', 'feff'];

/** Told from the first bytes. @throws CategorizerError `INPUT_NOT_READABLE` where it is none, or not the one that was said */
export function detectFormat({ start }: Pick<Content, 'start'>, said: InputFormat | undefined): InputFormat {
  if (UTF16_MARKS.includes(start.toString('hex', 0, 2))) throw refused('it is UTF-16: save it as UTF-8');
  const isParquet = start.toString('latin1', 0, PARQUET_MAGIC.length) === PARQUET_MAGIC;
  if (isParquet && (said ?? 'parquet') === 'parquet') return 'parquet';
  if (isParquet) throw refused(`it is a Parquet file, and not ${said}`);
  if (said === 'parquet') throw refused('it is no Parquet file');
  const text = start
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .trimStart();
  // Of an empty file nobody can tell the format.
  if (text === '') throw refused('it is empty: expected a CSV header line');
  if (text.startsWith('[') && said !== 'csv') {
    throw refused('it is a JSON array: only JSON lines are read, one object in a line');
  }
  if (said === 'jsonl' && !/^\s*\{/m.test(text)) throw refused('it is not JSON lines: no line starts with {');
  return said ?? (text.startsWith('{') ? 'jsonl' : 'csv');
}

function refused(message: string): CategorizerError {
  return new CategorizerError('INPUT_NOT_READABLE', message);
}
