import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { SourceRow } from '../../application/ports.ts';
import { messageOf } from '../../domain/errors.ts';
import { describe } from '../../domain/features.ts';

/** One JSON object a line; blank lines are passed over. */
export async function* readJsonLinesRows(stream: Readable): AsyncGenerator<SourceRow> {
  let line = 0;
  for await (const text of readLines(stream)) {
    line++;
    const raw = line === 1 ? text.replace(/^\uFEFF/, '') : text;
    if (raw.trim() !== '') yield toRow(line, raw);
  }
}

/** Ends lines at line feeds only. Newer versions of `readline` also do at U+2028, which JSON strings may hold. */
async function* readLines(stream: Readable): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) yield withoutReturn(text);
  }
  rest += decoder.end();
  if (rest !== '') yield withoutReturn(rest);
}

function withoutReturn(text: string): string {
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}

function toRow(line: number, raw: string): SourceRow {
  let value: unknown;
  try {
    value = JSON.parse(raw);
  } catch (error) {
    return { line, raw, unreadable: { code: 'INVALID_ROW', message: `not JSON: ${messageOf(error)}` } };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const message = `expected an object with productId and features, got ${describe(value)}`;
    return { line, raw, unreadable: { code: 'INVALID_ROW', message } };
  }
  const { productId, features }: { productId?: unknown; features?: unknown } = value;
  return { line, raw, product: { productId, features } };
}
