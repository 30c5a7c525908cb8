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

  it('has the feature space of its manifest, and one of its name and width where that names none', async () => {
    const spaces = [undefined, 'erp-tfidf:v2'].map(async (space) => {
      const predictor = await load(make({ manifest: { input: { name: 'input', space } } }));
      await predictor.close();
      return predictor.model.space;
    });
    expect(await Promise.all(spaces)).toEqual(['fixture-2', 'erp-tfidf:v2']);
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
    {
      title: 'has a feature space that jobs cannot name',
      manifest: { input: { name: 'input', space: 'tf idf' } },
      names: 'input.space',
    },
    {
      title: 'has statistics of fewer features than its width',
      manifest: { training: { features: { mean: [0], spread: [1], min: [0], max: [1] } } },
      names: 'training.features',
    },
    {
      title: 'has an accuracy above 1',
      manifest: { validation: { rows: 10, accuracy: 93, perCategory: [] } },
      names: 'validation.accuracy',
    },
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

describe('a start is refused when the labels of the manifest', () => {
  const category = (code: string) => ({ code, name: `Category ${code}` });

  it.each([
    { title: 'are rotated', codes: ['B', 'C', 'A'] },
    { title: 'have two in the place of each other', codes: ['C', 'B', 'A'] },
    { title: 'are those of another model', codes: ['X', 'Y', 'Z'] },
  ])('$title, and the message says which row shows it', async ({ codes }) => {
    const { code, message } = await refusalOf(make({ manifest: { categories: codes.map(category) } }));
    expect(code).toBe('MODEL_GOLDEN_MISMATCH');
    expect(message).toMatch(/^row \d of the golden sample comes out as [A-Z], the training gave [AC]: /);
  });

  it('do not have the code of each row in the golden sample', async () => {
    const golden = { categories: ['A'] };
    expect(await refusalOf(make({ golden }))).toMatchObject({ code: 'MODEL_MANIFEST_INVALID' });
  });
});

describe('a model whose output is already probabilities', () => {
  /** The linear model gives [a, 2b, 0.5 - a]: with these inputs rows that lie within 0 and 1 and sum to 1. */
  const inputs = [
    [0.1, 0.25],
    [0.5, 0.25],
  ];
  const logits = [
    [0.1, 0.5, 0.4],
    [0.5, 0.5, 0],
  ];

  it('is refused although the golden sample comes out, and the message says why', async () => {
    const { code, message } = await refusalOf(make({ golden: { inputs, logits } }));
    expect(code).toBe('MODEL_MANIFEST_INVALID');
    expect(message).toMatch(/already probabilities .*softmaxed twice/);
  });

  it('is refused for that reason too where the golden sample has the logits before the softmax', async () => {
    const { message } = await refusalOf(
      make({
        golden: {
          inputs,
          logits: [
            [1, 2, 3],
            [4, 5, 6],
          ],
        },
      }),
    );
    expect(message).toMatch(/already probabilities/);
  });

  it.each([
    { title: 'one row does not sum to 1', more: { input: [0.1, 0.5], output: [0.1, 1, 0.4] } },
    { title: 'one row is below 0', more: { input: [0.75, 0.25], output: [0.75, 0.5, -0.25] } },
  ])('is not what a model of logits is taken for where $title', async ({ more }) => {
    const golden = { inputs: [...inputs, more.input], logits: [...logits, more.output] };
    await (await load(make({ golden }))).close();
  });
});

describe('the golden sample', () => {
  it('may lack the categories, as older ones do', async () => {
    const { modelPath } = make({ golden: { inputs: [[1, 1]], logits: [[1, 2, -0.5]] } });
    await (await load({ modelPath })).close();
  });

  it('may have either category of a tie', async () => {
    for (const categories of [['A'], ['C']]) {
      const golden = { inputs: [[0.25, -1]], logits: [[0.25, -2, 0.25]], categories };
      await (await load(make({ golden }))).close();
    }
  });

  it('may differ within its tolerance, relative to logits above 1', async () => {
    const golden = { inputs: [[1000, 0]], logits: [[1000.09, 0.00009, -999.41]] };
    await (await load(make({ golden }))).close();
  });
});
