import { createHash } from 'node:crypto';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';

const SHIPPED = new URL('../../model/', import.meta.url);
const FILES = ['model.onnx', 'manifest.json', 'golden.json'];

describe('model check', () => {
  it('prints what the model is and that its checks are right', async () => {
    const { name, version, sha256, categories } = JSON.parse(await readFile(new URL('manifest.json', SHIPPED), 'utf8'));
    const { code, stdout, stderr } = await runCli(['model', 'check']);
    expect(stderr).toBe('');
    for (const text of [name, version, sha256, 'golden sample']) expect(stdout).toContain(text);
    expect(stdout).toMatch(/^width +16$/m);
    expect(stdout).toMatch(/^space +synthetic-16$/m);
    expect(stdout).toMatch(/^trained on +synthetic, 900 rows/m);
    expect(stdout).toMatch(/^accuracy +1\.000 on 180 rows/m);
    expect(stdout).toMatch(/^MATERIAL_CONSTRUCAO +1\.000 +1\.000 +60$/m);
    expect(stdout).toContain('golden sample (logits and category codes)');
    for (const category of categories) expect(stdout).toContain(category.code);
    expect(code).toBe(0);
  });

  it('--json prints one object: the model as its manifest has it', async () => {
    const { name, version, sha256, width, categories, input, training, validation } = JSON.parse(
      await readFile(new URL('manifest.json', SHIPPED), 'utf8'),
    );
    const { code, stdout, stderr } = await runCli(['model', 'check', '--json']);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      name,
      version,
      sha256,
      width,
      space: input.space,
      categories,
      trainingShares: training.categoryShares,
      trainedOn: { source: 'synthetic', rows: 900 },
      validation: {
        rows: validation.rows,
        accuracy: validation.accuracy,
        perCategory: validation.perCategory,
      },
      synthetic: true,
      featureStatistics: true,
      checks: { checksum: true, shapes: true, goldenLogits: true, goldenCategories: true },
    });
    expect(code).toBe(0);
  });
});

describe('a model that is not right', () => {
  let workspace: Workspace;
  let env: Record<string, string>;

  beforeAll(async () => {
    workspace = await createWorkspace();
    env = { MODEL_PATH: workspace.path('model.onnx') };
    await workspace.write('catalogue.csv', toCsv(makeProducts(3)));
  });
  afterAll(() => workspace.remove());

  /** The shipped model with one of its files changed. */
  async function spoil(file: string, change: (content: Buffer) => Buffer | string): Promise<void> {
    await Promise.all(FILES.map((name) => copyFile(new URL(name, SHIPPED), workspace.path(name))));
    await writeFile(workspace.path(file), change(await readFile(workspace.path(file))));
  }

  function changeJson(change: (json: Record<string, unknown>) => object) {
    return (content: Buffer) => JSON.stringify(change(JSON.parse(content.toString())));
  }

  const garbage = Buffer.from('this is no model');
  const sha256OfGarbage = createHash('sha256').update(garbage).digest('hex');

  it.each([
    ['a manifest that is no JSON', 'manifest.json', 'MODEL_MANIFEST_INVALID', () => '{'],
    [
      'a manifest without categories',
      'manifest.json',
      'MODEL_MANIFEST_INVALID',
      changeJson(({ categories, ...rest }) => rest),
    ],
    [
      'a width that is not its own',
      'manifest.json',
      'MODEL_MANIFEST_INVALID',
      changeJson((json) => ({ ...json, width: 15 })),
    ],
    [
      'an input that has another name',
      'manifest.json',
      'MODEL_SHAPE_MISMATCH',
      changeJson((json) => ({ ...json, input: { name: 'x' } })),
    ],
    ['another ONNX file than the manifest speaks of', 'model.onnx', 'MODEL_CHECKSUM_MISMATCH', () => garbage],
    [
      'a golden sample that does not come out',
      'golden.json',
      'MODEL_GOLDEN_MISMATCH',
      changeJson((json) => ({ ...json, logits: moved(json.logits) })),
    ],
  ] as const)('with %s is refused', async (_case, file, error, change) => {
    await spoil(file, change);
    const { code, stdout, stderr } = await runCli(['model', 'check'], { env });
    expect(stdout).toBe('');
    expect(stderr).toMatch(new RegExp(`^${error}: .+\\n$`));
    expect(code).toBe(1);
  });

  it('whose labels were rotated is refused, as every answer would be wrong', async () => {
    await spoil(
      'manifest.json',
      changeJson(({ categories, ...rest }) => {
        const [first, ...others] = categories as object[];
        return { ...rest, categories: [...others, first] };
      }),
    );
    const file = workspace.path('catalogue.csv');
    const { code, stdout, stderr } = await runCli(['predict', file], { env });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^MODEL_GOLDEN_MISMATCH: row 0 .* comes out as INFORMATICA, the training gave AUTOPECAS: /);
    expect(code).toBe(1);
  });

  it('whose golden sample is of an older training is accepted, and the check says what it could not check', async () => {
    await spoil(
      'golden.json',
      changeJson(({ categories, ...rest }) => rest),
    );
    const { code, stdout } = await runCli(['model', 'check'], { env });
    expect(stdout).toContain('the order of the categories could not be checked');
    expect(code).toBe(0);
  });

  it('with bytes that are no ONNX is refused', async () => {
    await spoil(
      'manifest.json',
      changeJson((json) => ({ ...json, sha256: sha256OfGarbage })),
    );
    await writeFile(workspace.path('model.onnx'), garbage);
    const { code, stderr } = await runCli(['model', 'check'], { env });
    expect(stderr).toMatch(/^MODEL_LOAD_FAILED: /);
    expect(code).toBe(1);
  });

  it.each([
    ['worker', 'MODEL_CHECKSUM_MISMATCH'],
    ['predict', 'MODEL_CHECKSUM_MISMATCH'],
  ])('is refused by %s', async (command, error) => {
    await spoil('model.onnx', () => garbage);
    const args = command === 'predict' ? [command, workspace.path('catalogue.csv')] : [command];
    const { code, stdout, stderr } = await runCli(args, { env: { ...env, HTTP_PORT: '0' } });
    expect(stdout).toBe('');
    expect(stderr).toMatch(new RegExp(`^${error}: .*sha256`));
    expect(code).toBe(1);
  });

  it.each(['worker', 'enqueue', 'predict', 'model check'])('that is not there is said by %s', async (command) => {
    const file = ['enqueue', 'predict'].includes(command) ? [workspace.path('catalogue.csv')] : [];
    const { code, stdout, stderr } = await runCli([...command.split(' '), ...file], {
      env: { MODEL_PATH: workspace.path('nowhere/model.onnx') },
    });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^MODEL_NOT_FOUND: .*nowhere.*MODEL_PATH/);
    expect(code).toBe(1);
  });
});

function moved(logits: unknown): unknown {
  return Array.isArray(logits) ? logits.map(moved) : Number(logits) + 1;
}
