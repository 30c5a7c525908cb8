import fc from 'fast-check';

/** Arbitrary data of the wire: right, nearly right and quite wrong, as it is after a journey through JSON. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export function throughJson(value: unknown): Json {
  return JSON.parse(JSON.stringify(value) ?? 'null');
}

const validId = fc.oneof(
  fc.string({ minLength: 1, maxLength: 8 }),
  fc.constantFrom('a'.repeat(200), '🔩'.repeat(200), ' ', '\ud7ff\ue000', 'a\u2028'),
);

const validFeature = fc.oneof(
  fc.float({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(3.4028234663852886e38, -3.4028234663852886e38, 5e-324, 0, 0.1),
);

const validProduct = fc.record({
  productId: validId,
  features: fc.array(validFeature, { minLength: 1, maxLength: 4 }),
});

export const validRunId = fc.oneof(fc.stringMatching(/^[A-Za-z0-9._-]{1,100}$/), fc.constant('r'.repeat(100)));

const runId = fc.option(validRunId, { nil: undefined });

export const validProductJob = fc
  .tuple(validProduct, runId)
  .map(([product, run]) => throughJson({ ...product, runId: run }));

export const validProductsJob = fc
  .record({ products: fc.array(validProduct, { minLength: 1, maxLength: 4 }), runId })
  .map(throughJson);

const origin = {
  model: fc.record({ version: fc.string({ minLength: 1 }), sha256: fc.stringMatching(/^[0-9a-f]{64}$/) }),
  runId,
  jobId: fc.string({ minLength: 1 }),
};
const probability = fc.double({ min: 0, max: 1, noNaN: true });
const code = fc.string({ minLength: 1 });

export const validCategoryResult = fc
  .record({
    productId: validId,
    category: fc.record({ code, name: fc.string() }),
    confidence: probability,
    probabilities: fc.array(probability),
    ...origin,
  })
  .map(throughJson);

const outcome = fc.oneof(
  fc.record({ productId: validId, categoryCode: code, confidence: probability }),
  fc.record({
    productId: fc.option(fc.string()),
    reject: fc.record({ code: fc.constantFrom('WRONG_WIDTH', 'PREDICTION_FAILED'), message: fc.string() }),
  }),
);

export const validCategoriesResult = fc
  .record({ results: fc.array(outcome, { minLength: 1, maxLength: 4 }), ...origin })
  .map(throughJson);

/** What stands where something else should. */
const oddValue: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json[]>(
    null,
    '',
    'a\n',
    '\u0000',
    '\u0085',
    '\ud83d',
    '🔩'.repeat(201),
    'a'.repeat(201),
    'a b',
    '1',
    'NaN',
    0,
    -1,
    1.0000001,
    3.402823466385289e38,
    -1e39,
    1e308,
    true,
    [],
    {},
    [[]],
    [null],
    ['1'],
    [1e39],
  ),
  fc.jsonValue().map(throughJson),
);

const edit = fc.record({
  depth: fc.nat(5),
  choice: fc.nat(),
  kind: fc.constantFrom('replace', 'remove', 'add'),
  value: oddValue,
});

type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;

function applyEdit(root: Json, { depth, choice, kind, value }: Edit): Json {
  if (typeof root !== 'object' || root === null || Object.keys(root).length === 0) return value;
  const keys = Object.keys(root);
  const key = keys[choice % keys.length];
  const change = (child: Json) => (depth === 0 ? value : applyEdit(child, { depth: depth - 1, choice, kind, value }));
  if (Array.isArray(root)) {
    if (kind === 'remove' && depth === 0) return root.toSpliced(Number(key), 1);
    if (kind === 'add' && depth === 0) return [...root, value];
    return root.with(Number(key), change(root[Number(key)]));
  }
  const entries = Object.entries(root);
  if (kind === 'remove' && depth === 0) return Object.fromEntries(entries.filter(([name]) => name !== key));
  if (kind === 'add' && depth === 0) return { ...root, extra: value };
  return Object.fromEntries(entries.map(([name, child]) => [name, name === key ? change(child) : child]));
}

/** Valid data, the same with up to three things changed in it, and anything. */
export function nearlyValid(valid: fc.Arbitrary<Json>): fc.Arbitrary<Json> {
  const edited = fc
    .tuple(valid, fc.array(edit, { minLength: 1, maxLength: 3 }))
    .map(([data, edits]) => edits.reduce(applyEdit, data));
  return fc.oneof(
    { weight: 2, arbitrary: valid },
    { weight: 7, arbitrary: edited },
    { weight: 1, arbitrary: fc.jsonValue().map(throughJson) },
  );
}
