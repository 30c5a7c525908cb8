import type { Reject } from '../../../domain/product.ts';

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const SPACE = 0x20;

export const CSV_HEADER = 'product_id,category_code,confidence,reject_code,reject_message,model_version,result_id';

/** A row as pieces of text: start, id, then category and confidence or a reject, and the end. */
export interface RowFormat {
  readonly header: string;
  readonly start: string;
  id(id: string | null): string;
  /** Around an id none of whose bytes is special. */
  readonly quote: string;
  /** Of these an id cannot be copied as it is. */
  isSpecial(byte: number): boolean;
  /** Goes before the confidence. */
  category(code: string): string;
  readonly afterConfidence: string;
  /** Instead of category and confidence. */
  uncategorized(reject: Omit<Reject, 'row'> | undefined): string;
  end(modelVersion: string, resultId: string): string;
}

export const CSV_ROWS: RowFormat = {
  header: `${CSV_HEADER}\n`,
  start: '',
  id: (id) => csvCell(id ?? ''),
  quote: '',
  isSpecial: (byte) => byte === QUOTE || byte === COMMA || byte < SPACE,
  category: (code) => `,${csvCell(code)},`,
  afterConfidence: ',,',
  uncategorized: (reject) => `,,,${csvCell(reject?.code ?? '')},${csvCell(reject?.message ?? '')}`,
  end: (modelVersion, resultId) => `,${csvCell(modelVersion)},${csvCell(resultId)}\n`,
};

export const JSON_LINES_ROWS: RowFormat = {
  header: '',
  start: '{"productId":',
  id: (id) => JSON.stringify(id),
  quote: '"',
  isSpecial: (byte) => byte === QUOTE || byte === BACKSLASH || byte < SPACE,
  category: (code) => `,"categoryCode":${JSON.stringify(code)},"confidence":`,
  afterConfidence: '',
  uncategorized: (reject) =>
    reject ? `,"reject":${JSON.stringify({ code: reject.code, message: reject.message })}` : '',
  end: (modelVersion, resultId) =>
    `,"modelVersion":${JSON.stringify(modelVersion)},"resultId":${JSON.stringify(resultId)}}\n`,
};

function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
