import { describe, expect, it } from 'vitest';
import { defaultSpace, describeKind, fitsModel, SPACE_PATTERN } from '../../src/domain/feature-space.ts';
import { commonWidthOf } from '../../src/domain/product.ts';

const MODEL = { space: 'own', width: 16 };

describe('a model fits a job', () => {
  it.each([
    { title: 'of its space and width', kind: { space: 'own', width: 16 }, fits: true },
    { title: 'that says nothing of its vectors', kind: {}, fits: true },
    { title: 'of its width that names no space', kind: { width: 16 }, fits: true },
    { title: 'of another space and the same width: not', kind: { space: 'other', width: 16 }, fits: false },
    { title: 'of another width without a space: not', kind: { width: 2 }, fits: false },
    { title: 'of its space and another width: not', kind: { space: 'own', width: 2 }, fits: false },
    { title: 'of another space whose width nobody knows: not', kind: { space: 'Own' }, fits: false },
  ])('$title', ({ kind, fits }) => {
    expect(fitsModel(kind, MODEL)).toBe(fits);
  });

  it('and what it wants is named by its space, else by a width that no space can be called', () => {
    expect(describeKind({ space: 'a', width: 2 })).toBe('a');
    expect(describeKind({ width: 2 })).toBe('width 2');
    expect(SPACE_PATTERN.test(describeKind({ width: 2 }))).toBe(false);
  });
});

describe('the default space of a model', () => {
  it.each([
    ['product-category', 'product-category-16'],
    ['modèle ERP (novo)', 'mod-le-ERP-novo--16'],
    ['n'.repeat(200), `${'n'.repeat(97)}-16`],
  ])('of %s is a name that jobs may have', (name, space) => {
    expect(defaultSpace(name, 16)).toBe(space);
    expect(space).toMatch(SPACE_PATTERN);
  });
});

describe('the width of a chunk', () => {
  const of = (...features: unknown[]) => commonWidthOf(features.map((one) => ({ productId: 'P', features: one })));

  it('is that of all its vectors, products without one aside', () => {
    expect(of([1, 2], undefined, [3, 'x'], 'text')).toBe(2);
    expect(commonWidthOf([null, 7, { features: [1] }])).toBe(1);
  });

  it('is unknown where vectors differ, as single ones are bad then, or where there is none', () => {
    expect(of([1, 2], [1, 2, 3])).toBeUndefined();
    expect(of(undefined, 'x')).toBeUndefined();
    expect(commonWidthOf([])).toBeUndefined();
  });
});
