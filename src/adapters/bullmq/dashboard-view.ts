/** What the dashboard shows of a job: a summary that people can read, however much the job holds. */
import type { Redis } from 'ioredis';
import {
  CATEGORIES_RESULT,
  MAX_PRODUCT_ID_CHARACTERS,
  PACKED_CATEGORIES_RESULT,
  PACKED_PRODUCTS_JOB,
  PRODUCTS_JOB,
  packedCategoriesResultSchema,
  packedProductsJobSchema,
  payloadKeyStart,
} from '../../contract/index.ts';
import { messageOf } from '../../domain/errors.ts';

const FIRST = 5;
const MAX_ITEMS = 20;
const MAX_CHARACTERS = 200;
const MAX_DEPTH = 6;
/** Bytes in which the first ids end for sure: up to 4 for a character, and a line feed after each. */
const ID_BYTES = FIRST * (4 * MAX_PRODUCT_ID_CHARACTERS + 1);

/** Data of a job, short enough to be read. It never throws, whatever the data is. */
export function summarize(name: string, data: unknown): unknown {
  if (typeof data !== 'object' || data === null) return shorten(data);
  if (name === PRODUCTS_JOB && 'products' in data && Array.isArray(data.products)) {
    const { products, ...rest } = data;
    return { ...shortenFields(rest), count: products.length, firstProducts: firstOf(products) };
  }
  if (name === CATEGORIES_RESULT && 'results' in data && Array.isArray(data.results)) {
    const { results, ...rest } = data;
    return { ...shortenFields(rest), count: results.length, firstResults: firstOf(results) };
  }
  if (name === PACKED_CATEGORIES_RESULT && 'rejects' in data && Array.isArray(data.rejects)) {
    const { rejects, ...rest } = data;
    return { ...shortenFields(rest), rejected: rejects.length, firstRejects: firstOf(rejects) };
  }
  return shorten(data);
}

/**
 * What the payload of a packed job begins with: a few hundred bytes are read of it, never all.
 *
 * @returns fields to show beside the job's own, none where the job has no payload. It never throws.
 */
export async function previewPayload(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly name: string;
  readonly data: unknown;
}): Promise<Readonly<Record<string, unknown>>> {
  const { connection, prefix, name, data } = options;
  if (name !== PACKED_PRODUCTS_JOB && name !== PACKED_CATEGORIES_RESULT) return {};
  const isResult = name === PACKED_CATEGORIES_RESULT;
  const { data: packed } = (isResult ? packedCategoriesResultSchema : packedProductsJobSchema).safeParse(data);
  if (!packed) return { payloadState: 'not read: the job has not the form of a packed one' };
  const { payload: key, count } = packed;
  if (!key.startsWith(payloadKeyStart(prefix))) {
    return { payloadState: `not read: its key does not begin with ${payloadKeyStart(prefix)}` };
  }
  const read = (start: number, bytes: number) => connection.getrangeBuffer(key, start, start + bytes - 1);
  try {
    if ((await connection.exists(key)) === 0) {
      return { payloadState: 'gone: it was collected or categorized, or its time is over' };
    }
    if ('width' in packed) {
      return { payloadState: 'there', firstIds: idsOf(await read(4 * count * packed.width, ID_BYTES), count) };
    }
    const confidencesAt = 2 * count + ((2 * count) % 4);
    const [ids, indexes, confidences] = await Promise.all([
      read(confidencesAt + 4 * count, ID_BYTES),
      read(0, 2 * Math.min(FIRST, count)),
      read(confidencesAt, 4 * Math.min(FIRST, count)),
    ]);
    const first = idsOf(ids, count).map((productId, row) => {
      // An index outside of the categories is that of a reject.
      const category = packed.categories[indexes.readUInt16LE(2 * row)];
      const confidence = Number(confidences.readFloatLE(4 * row).toFixed(6));
      return category === undefined ? { productId, category: 'rejected' } : { productId, category, confidence };
    });
    return { payloadState: 'there', firstResults: firstOf(first) };
  } catch (error) {
    return { payloadState: `cannot be read: ${messageOf(error)}` };
  }
}

function idsOf(bytes: Buffer, count: number): string[] {
  return bytes.toString('utf8').split('\n', Math.min(FIRST, count)).map(shortenText);
}

/** A line for each: objects within lists are folded in the browser. */
function firstOf(items: readonly unknown[]): string[] {
  return items.slice(0, FIRST).map(lineOf);
}

/** `productId SKU-1, categoryCode AUTOPECAS, confidence 0.99` */
function lineOf(item: unknown): string {
  const text = (value: unknown) => (typeof value === 'string' ? value : String(JSON.stringify(value)));
  const short = shorten(item);
  const isObject = typeof short === 'object' && short !== null && !Array.isArray(short);
  const fields = isObject ? Object.entries(short).map(([name, value]) => `${name} ${text(value)}`) : [text(short)];
  return shortenText(fields.join(', '));
}

function shortenText(text: string): string {
  return text.length <= MAX_CHARACTERS ? text : `${text.slice(0, MAX_CHARACTERS)}… (${text.length} characters)`;
}

function shorten(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return shortenText(value);
  if (typeof value !== 'object' || value === null) return value;
  if (depth === MAX_DEPTH) return '…';
  if (Array.isArray(value)) {
    const items = value.slice(0, MAX_ITEMS).map((item) => shorten(item, depth + 1));
    return value.length <= MAX_ITEMS ? items : [...items, `… (${value.length} in all)`];
  }
  return shortenFields(value, depth);
}

function shortenFields(value: object, depth = 0): Record<string, unknown> {
  const entries = Object.entries(value);
  const short = entries.slice(0, MAX_ITEMS).map(([name, field]) => [shortenText(name), shorten(field, depth + 1)]);
  if (entries.length > MAX_ITEMS) short.push(['…', `${entries.length} fields in all`]);
  return Object.fromEntries(short);
}
