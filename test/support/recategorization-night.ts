import { createInputHash } from '../../src/adapters/crypto/input-hash.ts';
import { createCategoryStore } from '../../src/adapters/postgres/category-store.ts';
import type { Database } from '../../src/adapters/postgres/connection.ts';
import { createReviews } from '../../src/adapters/postgres/reviews.ts';
import { createRunPlan } from '../../src/adapters/postgres/run-plan.ts';
import { createRunRegistry } from '../../src/adapters/postgres/run-registry.ts';
import { createRunReports } from '../../src/adapters/postgres/run-reports.ts';
import { applyRun } from '../../src/application/recategorization/apply-run.ts';
import { planRun } from '../../src/application/recategorization/plan-run.ts';
import type { PlannedSlice, StagedSlice } from '../../src/application/recategorization/ports.ts';
import { type ModelInfo, NO_CATEGORY } from '../../src/domain/category.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import type { Reject } from '../../src/domain/product.ts';
import type { RunCounts, RunSettings } from '../../src/domain/run.ts';
import { createFakeLogger } from './fake-observers.ts';
import { FAKE_MODEL } from './fake-predictor.ts';
import { runSettings } from './recategorization-settings.ts';

/** What the model says of each product by its id: category and confidence; null where it rejects it. */
export type Answers = Readonly<Record<string, readonly [category: string, confidence: number] | null>>;

/** Of a product that no answer names. */
const OTHERWISE = ['A', 0.75] as const;

/** The result of the chunk of a slice. */
export function resultOf(
  { products }: PlannedSlice,
  answers: Answers,
  model: ModelInfo = FAKE_MODEL,
): StagedSlice['result'] {
  const categories = model.categories.map(({ code }) => code);
  const { rows } = products.features;
  const categoryIndexes = new Uint16Array(rows).fill(NO_CATEGORY);
  const confidences = new Float32Array(rows).fill(Number.NaN);
  const rejects: Reject[] = [];
  unpackIds(products.ids, rows).forEach((id, row) => {
    const answer = id in answers ? answers[id] : OTHERWISE;
    if (answer === null) {
      rejects.push({ row, code: 'PREDICTION_FAILED', message: 'the output is not finite' });
      return;
    }
    categoryIndexes[row] = categories.indexOf(answer[0]);
    confidences[row] = answer[1];
  });
  return { categories, categoryIndexes, confidences, rejects };
}

/** Runs step by step on a real database, with answers in the place of queue and model. */
export function createNights(database: Database) {
  const registry = createRunRegistry(database);
  const plan = createRunPlan(database);
  const reports = createRunReports(database);
  const categories = createCategoryStore(database);
  const reviews = createReviews(database);

  async function begin(id: string, settings: Partial<RunSettings> = {}, model: ModelInfo = FAKE_MODEL): Promise<void> {
    await registry.create({ id, name: 'manual', settings: runSettings(settings), model });
  }

  async function makePlan(id: string, model: ModelInfo = FAKE_MODEL): Promise<void> {
    const settings = (await registry.get(id))?.settings ?? runSettings();
    const inputHash = createInputHash(model);
    const stop = new AbortController().signal;
    await plan.create(id, (catalogue, sink) => planRun({ catalogue, sink, inputHash }, { settings, model, stop }));
  }

  /** @returns the counts of its report */
  async function stage(id: string, answers: Answers = {}, model: ModelInfo = FAKE_MODEL): Promise<RunCounts> {
    const { settings } = (await registry.get(id)) ?? { settings: runSettings() };
    for (const { number, staged } of await plan.slices(id)) {
      if (staged) continue;
      const slice = await plan.read(id, number);
      const result = resultOf(slice, answers, model);
      await plan.stage(id, { slice, result, reviewBelow: settings.reviewBelow });
    }
    return reports.create(id);
  }

  async function apply(id: string): Promise<void> {
    await registry.change(id, ['running', 'awaiting_approval'], 'applying');
    await applyRun({ categories, logger: createFakeLogger() }, id, new AbortController().signal);
  }

  /** All up to the report: what is left is to apply it. */
  async function prepare(id: string, answers: Answers = {}, settings: Partial<RunSettings> = {}): Promise<RunCounts> {
    await begin(id, settings);
    await makePlan(id);
    return stage(id, answers);
  }

  async function run(id: string, answers: Answers = {}, settings: Partial<RunSettings> = {}): Promise<RunCounts> {
    const counts = await prepare(id, answers, settings);
    await apply(id);
    await categories.finish(id);
    return counts;
  }

  /** Puts products into erp.products: all numbers of each vector are its `version`. */
  async function offer(ids: readonly string[], options: { version?: number; category?: string } = {}): Promise<void> {
    const { version = 1, category = null } = options;
    await database.query(
      `WITH gone AS (DELETE FROM erp.products WHERE product_id = ANY($1))
       INSERT INTO erp.products SELECT id, ARRAY[$2, $2]::real[], $3 FROM unnest($1::text[]) id`,
      [ids, version, category],
    );
  }

  /** Every product with its category, in the order of their ids. */
  async function current(): Promise<Record<string, string | null>> {
    const rows = await database.query<{ product_id: string; category_code: string | null }>(
      'SELECT product_id, category_code FROM categorizer.product_categories ORDER BY product_id',
    );
    return Object.fromEntries(rows.map((row) => [row.product_id, row.category_code]));
  }

  /** Every change, as `night-1 apply P1: - -> A`. */
  async function history(): Promise<string[]> {
    const rows = await database.query<{ line: string }>(
      `SELECT format('%s %s %s: %s -> %s', run_id, action, product_id, coalesce(old_category, '-'),
         coalesce(new_category, '-')) AS line
       FROM categorizer.history ORDER BY at, run_id, action, product_id`,
    );
    return rows.map(({ line }) => line);
  }

  return {
    ...{ registry, plan, reports, categories, reviews, model: FAKE_MODEL },
    ...{ begin, makePlan, stage, apply, prepare, run, offer, current, history },
  };
}
