import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { type ModelInfo, NO_CATEGORY } from '../../domain/category.ts';
import { CategorizerError, messageOf } from '../../domain/errors.ts';
import { defaultSpace, SPACE_PATTERN } from '../../domain/feature-space.ts';

const share = z.number().min(0).max(1);

/** What was trained: for people, and to tell rows that are unlike it. All of it may be missing. */
const trainingSchema = z.object({
  data: z
    .object({ source: z.string().min(1), rows: z.int().min(0).optional(), date: z.string().optional() })
    .optional(),
  categoryShares: z.record(z.string(), share).optional(),
  features: z
    .object({
      mean: z.array(z.number()),
      spread: z.array(z.number().min(0)),
      min: z.array(z.number()),
      max: z.array(z.number()),
    })
    .optional(),
});

const validationSchema = z.object({
  rows: z.int().min(1),
  accuracy: share,
  perCategory: z.array(z.object({ code: z.string(), precision: share, recall: share, support: z.int().min(0) })),
});

const manifestSchema = z
  .object({
    manifestVersion: z.literal(1),
    name: z.string().min(1),
    version: z.string().min(1),
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
    width: z.int().min(1),
    categories: z
      .array(z.object({ code: z.string().min(1), name: z.string().min(1) }))
      .min(2)
      .max(NO_CATEGORY)
      .refine((all) => new Set(all.map(({ code }) => code)).size === all.length, 'a category code stands there twice'),
    input: z.object({
      name: z.string().min(1),
      space: z.string().regex(SPACE_PATTERN, 'expected 1 to 100 of A-Z a-z 0-9 . _ : -').optional(),
    }),
    output: z.object({ name: z.string().min(1), kind: z.literal('logits') }),
    training: trainingSchema.optional(),
    validation: validationSchema.nullish(),
  })
  .refine(({ width, training }) => Object.values(training?.features ?? {}).every((values) => values.length === width), {
    error: 'expected as many numbers in each list as the width',
    path: ['training', 'features'],
  });

const goldenSchema = z.object({
  tolerance: z.number().positive(),
  inputs: z.array(z.array(z.number())).min(1),
  logits: z.array(z.array(z.number())).min(1),
  categories: z.array(z.string()).optional(),
});

export interface ModelManifest {
  readonly model: ModelInfo;
  readonly inputName: string;
  readonly outputName: string;
}

/** Inputs, and the logits that the training framework gave for them. */
export interface GoldenSample {
  /** Largest difference of a logit, relative to its size where that is above 1. */
  readonly tolerance: number;
  readonly inputs: readonly (readonly number[])[];
  readonly logits: readonly (readonly number[])[];
  /** The code of each row's category; older files do not have them. */
  readonly categories?: readonly string[];
}

/** Reads `manifest.json`, which lies beside the ONNX file. @throws CategorizerError `MODEL_…` */
export async function readManifest(modelPath: string): Promise<ModelManifest> {
  const path = join(dirname(modelPath), 'manifest.json');
  const manifest = await readJson(path, manifestSchema);
  const { name, version, sha256, width, categories, input, output, training, validation } = manifest;
  const model = {
    name,
    version,
    sha256,
    width,
    space: input.space ?? defaultSpace(name, width),
    categories,
    trainingShares: training?.categoryShares,
    trainedOn: training?.data,
    validation: validation ?? undefined,
    features: training?.features,
  };
  return { model, inputName: input.name, outputName: output.name };
}

/** Reads `golden.json`, which lies beside the ONNX file. @throws CategorizerError `MODEL_…` */
export async function readGolden(modelPath: string, model: ModelInfo): Promise<GoldenSample> {
  const path = join(dirname(modelPath), 'golden.json');
  const golden = await readJson(path, goldenSchema);
  const fits =
    golden.inputs.length === golden.logits.length &&
    (golden.categories ?? golden.logits).length === golden.logits.length &&
    golden.inputs.every((row) => row.length === model.width) &&
    golden.logits.every((row) => row.length === model.categories.length);
  if (!fits) {
    throw new CategorizerError(
      'MODEL_MANIFEST_INVALID',
      `${path}: its rows do not have the manifest's ${model.width} features and ${model.categories.length} logits, or there are not as many of each list`,
    );
  }
  return golden;
}

/** Reads the ONNX file and makes sure that it is the one the manifest speaks of. @throws CategorizerError `MODEL_…` */
export async function readModelBytes(modelPath: string, model: ModelInfo): Promise<Buffer> {
  const bytes = await readOrExplain(modelPath);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== model.sha256) {
    throw new CategorizerError(
      'MODEL_CHECKSUM_MISMATCH',
      `${modelPath} has sha256 ${sha256}, its manifest says ${model.sha256}: deploy the files of one training together`,
    );
  }
  return bytes;
}

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  const text = (await readOrExplain(path)).toString('utf8');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new CategorizerError('MODEL_MANIFEST_INVALID', `${path} is not JSON: ${messageOf(cause)}`, { cause });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`);
  throw new CategorizerError('MODEL_MANIFEST_INVALID', `${path}: ${problems.join('; ')}`);
}

async function readOrExplain(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new CategorizerError('MODEL_NOT_FOUND', `cannot read ${path}: ${messageOf(cause)} (see MODEL_PATH)`, {
      cause,
    });
  }
}
