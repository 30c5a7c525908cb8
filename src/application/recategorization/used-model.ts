import type { UsedModel } from './ports.ts';

/** The same file with its categories in another order is another model. */
export function isSameModel(a: UsedModel, b: UsedModel): boolean {
  const sameCategories = a.categories.join('\n') === b.categories.join('\n');
  return a.version === b.version && a.sha256 === b.sha256 && sameCategories;
}

/** For a sentence. */
export function describeModel({ version, sha256, categories }: UsedModel): string {
  return `model ${version} (sha256 ${sha256.slice(0, 12)}, ${categories.length} categories from ${categories[0]})`;
}
