import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const FIXTURES = new URL('../fixtures/models/', import.meta.url);

/** The ONNX files of test/fixtures/models; make_models.py says what is odd with each. */
export type ModelFixture =
  | 'linear'
  | 'unnamed-batch'
  | 'fixed-batch'
  | 'dynamic-width'
  | 'two-outputs'
  | 'two-inputs'
  | 'double-input'
  | 'rank-three'
  | 'twice-the-rows'
  | 'poison'
  | 'fails-on-zeros';

export function readFixture(name: ModelFixture): Buffer {
  return readFileSync(new URL(`${name}.onnx`, FIXTURES));
}

/** What the models with weights compute. */
function linearLogits([a, b]: readonly number[]): number[] {
  return [a, 2 * b, 0.5 - a];
}

const INPUTS = [
  [0, 0],
  [1, -2],
  [-3, 0.5],
];

export interface ModelDirectory {
  /** The ONNX file: what MODEL_PATH says. */
  readonly modelPath: string;
  pathOf(file: 'model.onnx' | 'manifest.json' | 'golden.json'): string;
  remove(): void;
}

/**
 * Writes a model's three files to a directory of their own. Without options they are as they should be.
 *
 * @param options.onnx the ONNX file
 * @param options.manifest properties in place of the right ones
 * @param options.golden properties in place of the right ones
 */
export function makeModelDirectory(
  options: { readonly onnx?: Buffer; readonly manifest?: object; readonly golden?: object } = {},
): ModelDirectory {
  const { onnx = readFixture('linear') } = options;
  const directory = mkdtempSync(join(tmpdir(), 'categorizer-model-'));
  const manifest = {
    manifestVersion: 1,
    name: 'fixture',
    version: '1',
    sha256: createHash('sha256').update(onnx).digest('hex'),
    width: 2,
    categories: ['A', 'B', 'C'].map((code) => ({ code, name: `Category ${code}` })),
    input: { name: 'input' },
    output: { name: 'output', kind: 'logits' },
    ...options.manifest,
  };
  const logits = INPUTS.map(linearLogits);
  const categories = ['C', 'A', 'C'];
  // A sample of other rows has other categories: those that are not said are not there.
  const own = options.golden === undefined ? { categories } : {};
  const golden = { tolerance: 0.0001, inputs: INPUTS, logits, ...own, ...options.golden };
  writeFileSync(join(directory, 'model.onnx'), onnx);
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify(manifest));
  writeFileSync(join(directory, 'golden.json'), JSON.stringify(golden));
  return {
    modelPath: join(directory, 'model.onnx'),
    pathOf: (file) => join(directory, file),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** The golden sample of the models whose rows are picked by the first feature: `first`, `first` + 1 or `first` + 2. */
export function tableGolden(first: number): { inputs: number[][]; logits: number[][] } {
  return {
    inputs: [
      [first, 5],
      [first + 2, 5],
    ],
    logits: [
      [1, 0, 0],
      [0, 0, 1],
    ],
  };
}
