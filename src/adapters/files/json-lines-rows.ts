import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { SourceRow } from '../../application/ports.ts';
import { messageOf } from '../../domain/errors.ts';
import { describe } from '../../domain/features.ts';

/** One JSON object a line; blank lines are passed over. */
export async function* readJsonLinesRows(stream: Readable): AsyncGenerator<SourceRow> {
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  // readline does not pass the errors of its input on.
  const failed = new Promise<never>((_, reject) => stream.once('error', reject));
  failed.catch(() => undefined);
  const iterator = lines[Symbol.asyncIterator]();
  let line = 0;
  for (;;) {
    const next = await Promise.race([iterator.next(), failed]);
    if (next.done) return;
    line++;
    const raw = line === 1 ? next.value.replace(/^\uFEFF/, '') : next.value;
    if (raw.trim() !== '') yield toRow(line, raw);
  }
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
