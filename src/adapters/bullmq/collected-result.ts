/** What a result job says, as collectors take it. */
import { crc32 } from 'node:zlib';
import type { Job } from 'bullmq';
import type { CategorizedProducts, CollectedResult } from '../../application/ports.ts';
import {
  type CategoryResultData,
  type PackedCategoriesResultData,
  type ProductOutcome,
  parseResult,
  unpackOutcomes,
} from '../../contract/index.ts';
import { type ModelInfo, NO_CATEGORY } from '../../domain/category.ts';
import { CategorizerError } from '../../domain/errors.ts';
import type { Reject } from '../../domain/product.ts';
import { askRedis } from './connection.ts';
import type { Payloads } from './payloads.ts';

interface ReadResult {
  readonly result: CollectedResult;
  readonly model: Pick<ModelInfo, 'version' | 'sha256'>;
  /** Of a packed one. */
  readonly payloadKey?: string;
}

/** @throws CategorizerError `INVALID_JOB`, `PAYLOAD_MISSING` or `PAYLOAD_INVALID` */
export async function readResult(job: Job, payloads: Payloads): Promise<ReadResult> {
  const resultId = job.id ?? '';
  const parsed = parseResult(job.name, job.data);
  if (typeof parsed === 'string') throw new CategorizerError('INVALID_JOB', parsed);
  const { model, runId, jobId, outside } = parsed.data;
  const origin = { resultId, jobId, runId, modelVersion: model.version, modelSha256: model.sha256 };
  if (parsed.form === 'one') {
    return { model, result: { ...origin, products: { ...fromPrediction(parsed.data), outside } } };
  }
  if (parsed.form === 'chunk') {
    return { model, result: { ...origin, products: { ...fromOutcomes(parsed.data.results), outside } } };
  }
  const { payload: payloadKey, bytes, count: rows, categories, rejects } = parsed.data;
  const payload = await askRedis(() => payloads.read({ owner: resultId, key: payloadKey, bytes }));
  const outcomes = unpackOutcomes(payload, parsed.data);
  const problem = contradiction(parsed.data, outcomes.categoryIndexes);
  if (problem) throw new CategorizerError('INVALID_JOB', problem);
  return { model, payloadKey, result: { ...origin, products: { rows, categories, rejects, outside, ...outcomes } } };
}

/** What cannot be true of a packed result, although each part of it has its form. */
function contradiction(
  { count, categories, rejects }: PackedCategoriesResultData,
  categoryIndexes: Uint16Array,
): string | undefined {
  const unknown = categoryIndexes.find((index) => index !== NO_CATEGORY && index >= categories.length);
  if (unknown !== undefined) return `category index ${unknown} stands for none of ${categories.length} categories`;
  const outside = rejects.find(({ row }) => row >= count);
  if (outside) return `row ${outside.row} is rejected, and there are ${count}`;
  const without = categoryIndexes.reduce((sum, index) => sum + Number(index === NO_CATEGORY), 0);
  const rejected = new Set(rejects.map(({ row }) => row));
  const agree = rejected.size === without && rejects.every(({ row }) => categoryIndexes[row] === NO_CATEGORY);
  return agree ? undefined : `${without} rows have no category, and ${rejected.size} rows are rejected`;
}

function fromPrediction({ productId, category, confidence }: CategoryResultData): CategorizedProducts {
  return {
    rows: 1,
    ids: [productId],
    categories: [category.code],
    categoryIndexes: Uint16Array.of(0),
    confidences: Float32Array.of(confidence),
    rejects: [],
  };
}

function fromOutcomes(outcomes: readonly ProductOutcome[]): CategorizedProducts {
  const rows = outcomes.length;
  const indexOf = new Map<string, number>();
  const categoryIndexes = new Uint16Array(rows).fill(NO_CATEGORY);
  const confidences = new Float32Array(rows).fill(Number.NaN);
  const rejects: Reject[] = [];
  outcomes.forEach((outcome, row) => {
    if ('reject' in outcome) {
      rejects.push({ row, ...outcome.reject });
      return;
    }
    const { categoryCode } = outcome;
    const index = indexOf.get(categoryCode) ?? indexOf.size;
    indexOf.set(categoryCode, index);
    categoryIndexes[row] = index;
    confidences[row] = outcome.confidence;
  });
  const ids = outcomes.map(({ productId }) => productId);
  return { rows, ids, categories: [...indexOf.keys()], categoryIndexes, confidences, rejects };
}

export const NO_PRODUCTS = fromOutcomes([]);

/** CRC-32 of the ids as payloads have them. */
export function idsChecksum({ ids }: CategorizedProducts): number {
  return crc32(ids instanceof Uint8Array ? ids : ids.map((id) => id ?? '').join('\n'));
}
