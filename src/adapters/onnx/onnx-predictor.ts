import type { InferenceSession } from 'onnxruntime-node';
import type { CategoryPredictor } from '../../application/ports.ts';
import type { ModelInfo } from '../../domain/category.ts';
import { CategorizerError, messageOf } from '../../domain/errors.ts';
import type { FeatureMatrix } from '../../domain/features.ts';
import { predictionsOf } from '../../domain/prediction.ts';
import { type GoldenSample, type ModelManifest, readGolden, readManifest, readModelBytes } from './model-files.ts';

export interface OnnxPredictorOptions {
  /** The ONNX file; `manifest.json` and `golden.json` lie beside it. */
  readonly modelPath: string;
  /** Threads of one run. For small models one is fastest: more cost more than they bring. */
  readonly threads: number;
}

/**
 * Loads a model and proves that it is the right one before it is used: checksum, shapes, golden sample. The golden
 * run warms it up as well.
 *
 * @throws CategorizerError with a `MODEL_…` code
 */
export async function createOnnxPredictor({ modelPath, threads }: OnnxPredictorOptions): Promise<CategoryPredictor> {
  const manifest = await readManifest(modelPath);
  const { model, inputName, outputName } = manifest;
  const golden = await readGolden(modelPath, model);
  const runtime = await loadRuntime();
  const session = await loadSession(runtime, await readModelBytes(modelPath, model), modelPath, threads);
  let closed = false;

  /** rows × categories logits. */
  async function run({ rows, width, values }: FeatureMatrix): Promise<Float32Array> {
    if (closed) {
      throw new CategorizerError('PREDICTOR_UNAVAILABLE', 'the predictor is closed', { retryable: true });
    }
    const tensor = new runtime.Tensor('float32', values, [rows, width]);
    const { [outputName]: output } = await session.run({ [inputName]: tensor });
    const logits = output.data;
    if (!(logits instanceof Float32Array) || logits.length !== rows * model.categories.length) {
      throw new Error(`the model gave ${output.dims.join('×')} ${output.type} for ${rows} rows`);
    }
    return logits;
  }

  async function close(): Promise<void> {
    if (closed) return;
    closed = true;
    await session.release();
  }

  try {
    checkShapes(session, manifest);
    await checkGolden(run, golden, model);
  } catch (error) {
    await close();
    throw error;
  }

  return {
    model,
    predict: async (features) => predictionsOf(await run(features), features.rows, model.categories.length),
    close,
  };
}

/** The highest of onnxruntime's levels. */
const FATAL = 4;

type Runtime = typeof import('onnxruntime-node');

/**
 * Loads the native library with its telemetry off. Since 1.30 it reports models and machines to its maker by default,
 * and keeps a database below the home directory; it reads this variable once, when it is loaded.
 */
async function loadRuntime(): Promise<Runtime> {
  process.env.ORT_DISABLE_TELEMETRY = '1';
  return import('onnxruntime-node');
}

async function loadSession(
  runtime: Runtime,
  bytes: Buffer,
  modelPath: string,
  threads: number,
): Promise<InferenceSession> {
  try {
    return await runtime.InferenceSession.create(bytes, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      // It writes past the logger, with the values of features in it; what fails is thrown anyway.
      logSeverityLevel: FATAL,
      // Idle threads that spin would take the core from the event loop.
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    });
  } catch (cause) {
    throw new CategorizerError('MODEL_LOAD_FAILED', `cannot load ${modelPath}: ${messageOf(cause)}`, { cause });
  }
}

function checkShapes(session: InferenceSession, { model, inputName, outputName }: ModelManifest): void {
  checkValue('input', session.inputMetadata, inputName, model.width);
  checkValue('output', session.outputMetadata, outputName, model.categories.length);
}

/** One value of that name, float32, of shape [any number of rows, columns]. */
function checkValue(
  role: 'input' | 'output',
  metadata: readonly InferenceSession.ValueMetadata[],
  name: string,
  columns: number,
): void {
  const [value] = metadata;
  const found = metadata.map((m) => `${m.name} ${m.isTensor ? `${m.type}[${m.shape.join(', ')}]` : '(no tensor)'}`);
  const fits =
    metadata.length === 1 &&
    value.isTensor &&
    value.name === name &&
    value.type === 'float32' &&
    value.shape.length === 2 &&
    // A dynamic dimension has a name, or a size below 0 where it has none.
    (typeof value.shape[0] === 'string' || value.shape[0] < 0) &&
    value.shape[1] === columns;
  if (!fits) {
    throw new CategorizerError(
      'MODEL_SHAPE_MISMATCH',
      `the manifest needs one ${role} ${name} float32[batch_size (dynamic), ${columns}], the model has: ${found.join('; ')}`,
    );
  }
}

async function checkGolden(
  run: (features: FeatureMatrix) => Promise<Float32Array>,
  { inputs, logits: expected, categories: codes, tolerance }: GoldenSample,
  { width, categories }: ModelInfo,
): Promise<void> {
  const features = { rows: inputs.length, width, values: Float32Array.from(inputs.flat()) };
  const logits = await run(features).catch((cause: unknown) => {
    const message = `the model cannot be run on the golden sample: ${messageOf(cause)}`;
    throw new CategorizerError('MODEL_GOLDEN_MISMATCH', message, { cause });
  });
  const rows = expected.map((_, row) => logits.subarray(row * categories.length, (row + 1) * categories.length));
  if (areProbabilities(rows)) {
    throw new CategorizerError(
      'MODEL_MANIFEST_INVALID',
      'the output of the model is already probabilities (each row of the golden sample lies within 0 and 1 and sums to 1), and its manifest says output.kind logits: they would be softmaxed twice; export the model without its last softmax',
    );
  }
  expected.flat().forEach((value, i) => {
    // Written so that NaN, of which every comparison is false, fails as well.
    if (!(Math.abs(logits[i] - value) <= tolerance * Math.max(1, Math.abs(value)))) {
      throw new CategorizerError(
        'MODEL_GOLDEN_MISMATCH',
        `logit ${i} of the golden sample is ${logits[i]}, the training gave ${value}: this file or this runtime is not the one that was tested`,
      );
    }
  });
  codes?.forEach((code, row) => {
    const index = categories.findIndex((category) => category.code === code);
    const largest = Math.max(...rows[row]);
    // A tie may come out the other way, within what the logits may differ by.
    if (index >= 0 && rows[row][index] >= largest - 2 * tolerance * Math.max(1, Math.abs(largest))) return;
    const found = categories[rows[row].indexOf(largest)].code;
    throw new CategorizerError(
      'MODEL_GOLDEN_MISMATCH',
      `row ${row} of the golden sample comes out as ${found}, the training gave ${code}: the categories of the manifest are not in the order of the model's outputs`,
    );
  });
}

/** What a sum of float32 may be off by. */
const SUM_TOLERANCE = 1e-3;

/**
 * Whether all outputs look like probabilities. Zeros and ones alone do not: a confident softmax may give such a row, but
 * hardly for all of a sample.
 */
function areProbabilities(rows: readonly Float32Array[]): boolean {
  const sumsToOne = (row: Float32Array) => Math.abs(row.reduce((sum, value) => sum + value, 0) - 1) <= SUM_TOLERANCE;
  return (
    rows.every((row) => row.every((value) => value >= 0 && value <= 1) && sumsToOne(row)) &&
    rows.some((row) => row.some((value) => value > 0 && value < 1))
  );
}
