import { quoteName, quoteText } from '../duckdb.ts';
import { type Column, chooseColumns, type FeatureColumns } from './columns.ts';
import type { Content } from './input-content.ts';
import type { InputFile } from './input-files.ts';
import { explainJsonLines } from './json-lines-explain.ts';
import { makeReadableLines, NO_DELIMITER, type ReadableLines } from './json-lines-file.ts';
import type { InputContext, TableInput, TableOptions } from './table-input.ts';

const BOM = '\uFEFF';
const MIN_LINE_BYTES = 1 << 19;

/** The columns are the keys of the first objects. @throws CategorizerError `INPUT_NOT_READABLE`, or `WRONG_WIDTH` */
export async function openJsonLines(
  file: InputFile,
  content: Content,
  options: TableOptions,
  context: InputContext,
): Promise<TableInput> {
  const columns = chooseColumns(findColumns(content.start.toString('utf8')), options);
  const { id, features } = columns;
  const original = { file: file.file, gzip: content.gzip };
  const lines = await makeReadableLines(original, content, context.copy, context.stop);
  return {
    file,
    content,
    format: 'jsonl',
    encoding: 'utf-8',
    rows: lines.rows,
    relation: {
      from: `(SELECT TRY(json_transform(line, ${quoteText(shapeOf(id, features))})) AS object FROM ${readLines(lines)})`,
      id: idText(`object.${quoteName(id)}`),
      features:
        'array' in features
          ? `TRY_CAST(object.${quoteName(features.array)} AS FLOAT[${options.width}])`
          : `[${features.each.map((name) => `object.${quoteName(name)}`).join(', ')}]::FLOAT[${options.width}]`,
    },
    explain: (rows) => explainJsonLines(original, rows, { columns, width: options.width }, context.stop),
    reading: columns,
  };
}

function findColumns(start: string): Column[] {
  const columns = new Map<string, Column>();
  for (const line of start.replace(BOM, '').split('\n')) {
    for (const [name, value] of Object.entries(parseObject(line))) {
      columns.set(name, { name, array: Array.isArray(value) || (columns.get(name)?.array ?? false) });
    }
  }
  return [...columns.values()];
}

/** What is no object has no columns; that it is none is told when its row is read. */
function parseObject(line: string): object {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}

/** DuckDB's own reader of JSON lines has buffers of 32 MB for each thread; as texts the lines need no more than CSV. */
function readLines({ source, bytes }: ReadableLines): string {
  const { file, gzip } = source;
  const lineBytes = Math.max(bytes + 1, MIN_LINE_BYTES);
  return `read_csv(${quoteText(file)}, auto_detect = false, hive_partitioning = false, header = false, columns = {line: 'VARCHAR'},
    delim = '${NO_DELIMITER}', quote = '', escape = '', comment = '', strict_mode = true,
    compression = '${gzip ? 'gzip' : 'none'}', max_line_size = ${2 * lineBytes}, buffer_size = ${4 * lineBytes})`;
}

/** What is not of this shape becomes NULL: a number, an array, or the object as a whole where the line is no JSON. */
function shapeOf(id: string, features: FeatureColumns): string {
  const shape: Record<string, unknown> = { [id]: 'JSON' };
  if ('array' in features) shape[features.array] = ['FLOAT'];
  else for (const name of features.each) shape[name] = 'FLOAT';
  return JSON.stringify(shape);
}

/** A text, or a whole number as it stands there. */
function idText(json: string): string {
  return `CASE WHEN starts_with(${json}, '"') THEN ${json} ->> '$'
    WHEN regexp_full_match(${json}, '-?[0-9]+') THEN ${json}::VARCHAR END`;
}
