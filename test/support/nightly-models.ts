import { cp, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { createWorkspace } from './cli-workspace.ts';
import type { Environment } from './processes.ts';

const SHIPPED = fileURLToPath(new URL('../../model/', import.meta.url));

interface Category {
  readonly code: string;
  readonly name: string;
}

/** The shipped network under another version, and with its categories in the order that `order` gives them. */
async function copyModel(
  version: string,
  order: (categories: readonly Category[]) => readonly Category[],
): Promise<Environment> {
  const workspace = await createWorkspace();
  onTestFinished(workspace.remove);
  await cp(SHIPPED, workspace.directory, { recursive: true });
  const manifest = JSON.parse(await workspace.read('manifest.json'));
  const categories = order(manifest.categories);
  await workspace.write('manifest.json', JSON.stringify({ ...manifest, version, categories }));
  const golden: { categories: string[] } = JSON.parse(await workspace.read('golden.json'));
  const codes = golden.categories.map((code) => {
    const index = manifest.categories.findIndex((category: Category) => category.code === code);
    return categories[index].code;
  });
  await workspace.write('golden.json', JSON.stringify({ ...golden, categories: codes }));
  return { MODEL_PATH: workspace.path('model.onnx') };
}

/** What a mistake in training looks like: every label means the category beside it, in the golden sample too. @returns the settings that use it */
export function shuffledModel(): Promise<Environment> {
  return copyModel('shuffled', ([first, ...rest]) => [...rest, first]);
}

/** Says the same as the shipped one, and is another. @returns the settings that use it */
export function newModel(): Promise<Environment> {
  return copyModel('new', (categories) => categories);
}

export async function shippedCategories(): Promise<string[]> {
  const manifest: { categories: Category[] } = JSON.parse(await readFile(`${SHIPPED}manifest.json`, 'utf8'));
  return manifest.categories.map(({ code }) => code);
}
