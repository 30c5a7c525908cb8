import type { CategoryPredictor, Clock } from '../../src/application/ports.ts';
import type { ModelInfo } from '../../src/domain/category.ts';
import type { FeatureMatrix } from '../../src/domain/features.ts';
import { emptyPredictions, type PredictionBatch } from '../../src/domain/prediction.ts';

/** The first feature of a row is its number; the second says what the model does with it. */
const ROW_KIND = { good: 0, poison: 1, notFinite: 2 } as const;
export type RowKind = keyof typeof ROW_KIND;

export const FAKE_MODEL: ModelInfo = {
  name: 'fake',
  version: '1',
  sha256: '0'.repeat(64),
  width: 2,
  space: 'fake-2',
  categories: [
    { code: 'A', name: 'Category A' },
    { code: 'B', name: 'Category B' },
    { code: 'C', name: 'Category C' },
  ],
};

/** The category index that the fake gives row number `id`. */
export function categoryOf(id: number): number {
  return id % FAKE_MODEL.categories.length;
}

/** A confidence that no other row has. */
export function confidenceOf(id: number): number {
  return Math.fround(1 / (id + 2));
}

export interface FakePredictor extends CategoryPredictor {
  /** Rows of every run so far. */
  readonly runs: number[];
  /** Every run fails from now on, or works again. */
  broken: boolean;
}

/** Answers after `runMs` on the clock. A run with a poison row in it fails as a whole. */
export function createFakePredictor(options: { readonly clock: Clock; readonly runMs?: number }): FakePredictor {
  const runs: number[] = [];
  const predictor: FakePredictor = {
    model: FAKE_MODEL,
    runs,
    broken: false,
    async predict(features) {
      runs.push(features.rows);
      const copy = { ...features, values: features.values.slice() };
      await new Promise<void>((resolve) => options.clock.after(options.runMs ?? 0, resolve));
      if (predictor.broken) throw new Error('out of memory');
      return answer(copy);
    },
    close: async () => undefined,
  };
  return predictor;
}

function answer({ rows, width, values }: FeatureMatrix): PredictionBatch {
  const result = emptyPredictions(rows, FAKE_MODEL.categories.length);
  for (let row = 0; row < rows; row++) {
    const id = values[row * width];
    const kind = values[row * width + 1];
    if (kind === ROW_KIND.poison) throw new Error(`poison in row ${row} of ${rows}`);
    if (kind === ROW_KIND.notFinite) continue;
    result.categoryIndexes[row] = categoryOf(id);
    result.confidences[row] = confidenceOf(id);
    result.logits.set(logitsOf(id), row * FAKE_MODEL.categories.length);
  }
  return result;
}

/** Of probabilities that sum to 1: what the category leaves is shared by the others. */
export function logitsOf(id: number): number[] {
  const confidence = confidenceOf(id);
  const others = (1 - confidence) / (FAKE_MODEL.categories.length - 1);
  return FAKE_MODEL.categories.map((_, index) => Math.log(index === categoryOf(id) ? confidence : others));
}

/** A matrix for the fake model. */
export function fakeFeatures(rows: readonly { readonly id: number; readonly kind?: RowKind }[]): FeatureMatrix {
  const values = Float32Array.from(rows.flatMap(({ id, kind }) => [id, ROW_KIND[kind ?? 'good']]));
  return { rows: rows.length, width: FAKE_MODEL.width, values };
}
