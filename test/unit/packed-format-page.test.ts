import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  MAX_CHUNK_PRODUCTS,
  MAX_PAYLOAD_BYTES,
  maxChunkProducts,
  PAYLOAD_TTL_HOURS,
  packedCategoriesResultSchema,
  packedProductsJobSchema,
  packIds,
  packOutcomes,
  packProducts,
  payloadKey,
} from '../../src/contract/index.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { checkPackedProducts } from '../../src/domain/packed-products.ts';

const ROOT = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');

const PAGE = read('docs/packed-format.md');
const CATEGORIES = ['AUTOPECAS', 'INFORMATICA', 'MATERIAL_CONSTRUCAO'];
const RUN = 'night-7';
const JOB_ID = 'night-7-0';
const PRODUCTS = {
  ids: packIds(['A-1', 'Pé-2']),
  features: { rows: 2, width: 2, values: Float32Array.of(1, -2, 0.5, Number.NaN) },
};

/** The text of the block that begins with ```<info>. */
function block(info: string): string {
  const start = `\n\`\`\`${info}\n`;
  const parts = PAGE.split(start);
  expect(parts, info).toHaveLength(2);
  return parts[1].slice(0, parts[1].indexOf('\n```') + 1);
}

/** Lines of an offset, bytes in hex and what they mean: the bytes, whose offsets must fit. */
function bytesOf(dump: string): Buffer {
  const bytes: number[] = [];
  for (const line of dump.trimEnd().split('\n')) {
    const [, offset, hex] = /^ *(\d+) {2}((?:[0-9a-f]{2} )+) /.exec(line) ?? [];
    expect(Number(offset), line).toBe(bytes.length);
    bytes.push(...Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  }
  return Buffer.from(bytes);
}

/** The fields in the first column of the table below a heading. */
function fieldsOfTable(heading: string): string[] {
  const section = PAGE.split(`\n## ${heading}\n`)[1].split('\n## ')[0].split('\n### ')[0];
  return [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, field]) => field);
}

describe('the example on the page of the packed format', () => {
  it('has the job and its payload as the contract makes them', () => {
    const { payload, ...announced } = packProducts(PRODUCTS);
    expect(bytesOf(block('hex job')).toString('hex')).toBe(payload.toString('hex'));
    const key = payloadKey('{categorizer}', JOB_ID, announced.crc32);
    const data: unknown = JSON.parse(block('json job'));
    expect(data).toEqual({ ...announced, width: 2, payload: key, runId: RUN });
    expect(packedProductsJobSchema.parse(data)).toEqual(data);
    expect(PAGE).toContain(`at the key \`${key}\``);
  });

  it('has the result and its payload as a worker makes them', () => {
    const { rejects } = checkPackedProducts(PRODUCTS, 2);
    const { payload, ...announced } = packOutcomes({
      ids: PRODUCTS.ids,
      categoryIndexes: Uint16Array.of(CATEGORIES.indexOf('MATERIAL_CONSTRUCAO'), NO_CATEGORY),
      confidences: Float32Array.of(0.75, Number.NaN),
    });
    expect(bytesOf(block('hex result')).toString('hex')).toBe(payload.toString('hex'));
    const data: unknown = JSON.parse(block('json result'));
    expect(data).toEqual({
      ...announced,
      payload: payloadKey('{categorizer}', `r-${JOB_ID}`, announced.crc32),
      categories: CATEGORIES,
      rejects,
      model: expect.any(Object),
      runId: RUN,
      jobId: JOB_ID,
    });
    expect(packedCategoriesResultSchema.parse(data)).toEqual(data);
  });
});

describe('the page of the packed format', () => {
  it.each(['packed_producer.py', 'packed_consumer.py'])('has exactly the text of examples/%s', (file) => {
    expect(PAGE).toContain(`\n\`\`\`python\n${read(`examples/${file}`)}\`\`\`\n`);
  });

  it.each([
    { heading: 'The job', schema: packedProductsJobSchema },
    { heading: 'The result', schema: packedCategoriesResultSchema },
  ])('names every field: $heading', ({ heading, schema }) => {
    expect(fieldsOfTable(heading).toSorted()).toEqual(Object.keys(schema.shape).toSorted());
  });

  it('has the limits and lifetimes of the contract', () => {
    const number = (value: number) => value.toLocaleString('en-US');
    expect(PAGE).toContain(`At most ${number(MAX_CHUNK_PRODUCTS)} products and ${MAX_PAYLOAD_BYTES / 2 ** 20} MiB.`);
    expect(PAGE).toContain(`| \`count\` | 1 to ${number(MAX_CHUNK_PRODUCTS)} |`);
    expect(PAGE).toContain(`| \`bytes\` | 1 to ${number(MAX_PAYLOAD_BYTES)} (16 MiB) |`);
    expect(PAGE).toContain(`| \`width\` | 1 to ${number(MAX_PAYLOAD_BYTES / 4)} |`);
    expect(PAGE).toContain(`(${PAYLOAD_TTL_HOURS},\nwhich is ${PAYLOAD_TTL_HOURS / 24} days)`);
  });

  it('has the formula for how many products fit', () => {
    const [, bytes, perId] = /⌊([\d,]+) \/ \(4 · w \+ (\d+)\)⌋/.exec(PAGE) ?? [];
    for (const width of [64, 2000, 50_000]) {
      const fitting = Math.floor(Number(bytes.replaceAll(',', '')) / (4 * width + Number(perId)));
      expect(maxChunkProducts(width)).toBe(Math.min(MAX_CHUNK_PRODUCTS, fitting));
    }
  });
});
