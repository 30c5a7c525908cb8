import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { createOnnxPredictor } from '../../src/adapters/onnx/onnx-predictor.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { type ModelDirectory, makeModelDirectory, readFixture, tableGolden } from '../support/model-directory.ts';

const directories: ModelDirectory[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) directory.remove();
});

function make(...options: Parameters<typeof makeModelDirectory>): ModelDirectory {
  const directory = makeModelDirectory(...options);
  directories.push(directory);
  return directory;
}

function load({ modelPath }: { modelPath: string }) {
  return createOnnxPredictor({ modelPath, threads: 1 });
}

/** The error with which a start was refused. */
async function refusalOf(directory: { modelPath: string }): Promise<CategorizerError> {
  const outcome: unknown = await load(directory).then(
    (predictor) => predictor.close().then(() => new Error('the model was accepted')),
    (error: unknown) => error,
  );
  if (outcome instanceof CategorizerError) return outcome;
  throw outcome;
}

describe('a model that is as it should be', () => {
  it.each(['linear', 'unnamed-batch'] as const)('is accepted: %s', async (fixture) => {
    const predictor = await load(make({ onnx: readFixture(fixture) }));
    const { categoryIndexes } = await predictor.predict({ rows: 2, width: 2, values: Float32Array.of(5, 0, 0, 5) });
    expect([...categoryIndexes]).toEqual([0, 1]);
    await predictor.close();
  });

  it('may have more in its manifest than is read', async () => {
    const predictor = await load(make({ manifest: { training: { epochs: 50 }, note: 'x' } }));
    expect(predictor.model).toMatchObject({ name: 'fixture', version: '1', width: 2 });
    await predictor.close();
  });
});

describe('a start is refused when a file', () => {
  it.each(['model.onnx', 'manifest.json', 'golden.json'] as const)(
    '%s is missing, and the message names it and the variable',
    async (file) => {
      const directory = make();
      rmSync(directory.pathOf(file));
      const { code, message } = await refusalOf(directory);
      expect(code).toBe('MODEL_NOT_FOUND');
      expect(message).toContain(directory.pathOf(file));
      expect(message).toContain('MODEL_PATH');
    },
  );

  it('is a directory', async () => {
    const directory = make();
    rmSync(directory.modelPath);
    mkdirSync(directory.modelPath);
    expect((await refusalOf(directory)).code).toBe('MODEL_NOT_FOUND');
  });

  it.each(['manifest.json', 'golden.json'] as const)('%s is not JSON, and the message names it', async (file) => {
    for (const text of ['', '{', 'not JSON']) {
      const directory = make();
      writeFileSync(directory.pathOf(file), text);
      const { code, message } = await refusalOf(directory);
      expect(code).toBe('MODEL_MANIFEST_INVALID');
      expect(message).toContain(`${directory.pathOf(file)} is not JSON`);
    }
  });
});

describe('a start is refused when the manifest', () => {
  const category = (code: string) => ({ code, name: `Category ${code}` });

  it.each([
    { title: 'is of a later version', manifest: { manifestVersion: 2 }, names: 'manifestVersion' },
    { title: 'has no name', manifest: { name: undefined }, names: 'name' },
    { title: 'has no version', manifest: { version: '' }, names: 'version' },
    { title: 'has a sha256 that is none', manifest: { sha256: 'abc' }, names: 'sha256' },
    { title: 'has a width of 0', manifest: { width: 0 }, names: 'width' },
    { title: 'has a broken width', manifest: { width: 2.5 }, names: 'width' },
    { title: 'has a width that is text', manifest: { width: '2' }, names: 'width' },
    { title: 'has no categories', manifest: { categories: undefined }, names: 'categories' },
    {
      title: 'has one category, among which there is no choice',
      manifest: { categories: [category('A')] },
      names: 'categories',
    },
    { title: 'has a category twice', manifest: { categories: ['A', 'B', 'A'].map(category) }, names: 'categories' },
    {
      title: 'has a category without a name',
      manifest: { categories: [category('A'), { code: 'B' }] },
      names: 'categories.1.name',
    },
    {
      title: 'says that the output is something else than logits',
      manifest: { output: { name: 'output', kind: 'probabilities' } },
      names: 'output.kind',
    },
    { title: 'does not name the input', manifest: { input: {} }, names: 'input.name' },
  ])('$title, and the message says where', async ({ manifest, names }) => {
    const { code, message } = await refusalOf(make({ manifest }));
    expect(code).toBe('MODEL_MANIFEST_INVALID');
    expect(message).toContain(`${names}: `);
  });

  it('has several faults, and the message tells all', async () => {
    const { message } = await refusalOf(make({ manifest: { width: 0, version: '' } }));
    expect(message).toContain('width: ');
    expect(message).toContain('version: ');
  });

  it('is no object', async () => {
    const directory = make();
    writeFileSync(directory.pathOf('manifest.json'), '[]');
    expect(await refusalOf(directory)).toMatchObject({ code: 'MODEL_MANIFEST_INVALID' });
  });

  it('has the sha256 of another file, and the message tells both', async () => {
    const other = 'ab'.repeat(32);
    const { code, message } = await refusalOf(make({ manifest: { sha256: other } }));
    expect(code).toBe('MODEL_CHECKSUM_MISMATCH');
    expect(message).toContain(other);
    expect(message).toMatch(/has sha256 [0-9a-f]{64}/);
  });

  it('has the sha256 of a file whose last byte is another', async () => {
    const directory = make();
    const bytes = readFixture('linear');
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(directory.modelPath, bytes);
    expect(await refusalOf(directory)).toMatchObject({ code: 'MODEL_CHECKSUM_MISMATCH' });
  });
});

describe('a start is refused when the model', () => {
  const threeWide = { inputs: [[0, 0, 0]], logits: [[0, 0, 0.5]] };
  const twoCategories = { inputs: [[0, 0]], logits: [[0, 0]] };

  it.each([
    { title: 'has another width than the manifest', onnx: 'linear', manifest: { width: 3 }, golden: threeWide },
    {
      title: 'has more categories than the manifest',
      onnx: 'linear',
      manifest: { categories: ['A', 'B'].map((code) => ({ code, name: code })) },
      golden: twoCategories,
    },
    { title: 'has an input of another name', onnx: 'linear', manifest: { input: { name: 'features' } } },
    {
      title: 'has an output of another name',
      onnx: 'linear',
      manifest: { output: { name: 'logits', kind: 'logits' } },
    },
    { title: 'has two outputs', onnx: 'two-outputs' },
    { title: 'has two inputs', onnx: 'two-inputs' },
    { title: 'has a fixed batch dimension', onnx: 'fixed-batch' },
    { title: 'has a width that is not fixed', onnx: 'dynamic-width' },
    { title: 'takes float64', onnx: 'double-input' },
    { title: 'takes three dimensions', onnx: 'rank-three' },
  ] as const)('$title, and the message says what is needed and what is there', async ({ onnx, ...rest }) => {
    const { code, message } = await refusalOf(make({ onnx: readFixture(onnx), ...rest }));
    expect(code).toBe('MODEL_SHAPE_MISMATCH');
    expect(message).toMatch(
      /the manifest needs one (in|out)put \w+ float32\[batch_size \(dynamic\), \d\], the model has: /,
    );
  });

  it.each([
    { title: 'is empty', onnx: Buffer.alloc(0) },
    { title: 'is text', onnx: Buffer.from('version https://git-lfs.github.com/spec/v1\n') },
    { title: 'is cut off', onnx: readFixture('linear').subarray(0, 120) },
    { title: 'is noise', onnx: Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 73) % 256)) },
  ])('$title, although the checksum is right', async ({ onnx }) => {
    const directory = make({ onnx });
    const { code, message } = await refusalOf(directory);
    expect(code).toBe('MODEL_LOAD_FAILED');
    expect(message).toContain(directory.modelPath);
  });
});

describe('a start is refused when the golden sample', () => {
  it.each([
    { title: 'has other logits', golden: { inputs: [[1, 1]], logits: [[1, 2, -0.4]] } },
    { title: 'differs by a little more than its tolerance', golden: { inputs: [[1, 1]], logits: [[1.0002, 2, -0.5]] } },
    {
      title: 'differs in its last row alone',
      golden: {
        inputs: [
          [1, 1],
          [0, 0],
        ],
        logits: [
          [1, 2, -0.5],
          [0, 0, 0.6],
        ],
      },
    },
    { title: 'makes the output overflow', golden: { inputs: [[1, 3e38]], logits: [[1, 3e38, -0.5]] } },
  ])('$title', async ({ golden }) => {
    const { code, message } = await refusalOf(make({ golden }));
    expect(code).toBe('MODEL_GOLDEN_MISMATCH');
    expect(message).toMatch(/logit \d+ of the golden sample is \S+, the training gave \S+:/);
  });

  it('has rows of another width, or of another number of categories, or not as many inputs as logits', async () => {
    for (const golden of [
      { inputs: [[1, 1, 1]], logits: [[1, 2, -0.5]] },
      { inputs: [[1, 1]], logits: [[1, 2]] },
      {
        inputs: [[1, 1]],
        logits: [
          [1, 2, -0.5],
          [0, 0, 0.5],
        ],
      },
    ]) {
      const { code, message } = await refusalOf(make({ golden }));
      expect(code).toBe('MODEL_MANIFEST_INVALID');
      expect(message).toContain('2 features and 3 logits');
    }
  });

  it('is empty, or allows nothing', async () => {
    expect(await refusalOf(make({ golden: { inputs: [], logits: [] } }))).toMatchObject({
      code: 'MODEL_MANIFEST_INVALID',
    });
    expect(await refusalOf(make({ golden: { tolerance: 0 } }))).toMatchObject({ code: 'MODEL_MANIFEST_INVALID' });
  });

  it.each([
    {
      title: 'cannot be run by the model',
      onnx: 'poison',
      golden: {
        ...tableGolden(0),
        inputs: [
          [0, 5],
          [7, 5],
        ],
      },
    },
    { title: 'gets another number of rows from the model', onnx: 'twice-the-rows', golden: {} },
  ] as const)('$title', async ({ onnx, golden }) => {
    expect((await refusalOf(make({ onnx: readFixture(onnx), golden }))).code).toMatch(/^MODEL_/);
  });
});

describe('the golden sample', () => {
  it('may differ within its tolerance, relative to logits above 1', async () => {
    const golden = { inputs: [[1000, 0]], logits: [[1000.09, 0.00009, -999.41]] };
    await (await load(make({ golden }))).close();
  });
});
