import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { SourceRow } from '../../application/ports.ts';
import { messageOf } from '../../domain/errors.ts';
import { describe } from '../../domain/features.ts';

/** One JSON object a line; blank lines are passed over. */
export async function* readJsonLinesRows(stream: Readable): AsyncGenerator<SourceRow> {
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  // readline does not pass the errors of its input on.
  let failure: Error | undefined;
  stream.once('error', (error) => {
    failure = error;
    lines.close();
  });
  let line = 0;
  for await (const text of lines) {
    line++;
    const raw = line === 1 ? text.replace(/^\uFEFF/, '') : text;
    if (raw.trim() !== '') yield toRow(line, raw);
  }
  if (failure) throw failure;
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
