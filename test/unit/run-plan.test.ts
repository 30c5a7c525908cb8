import { describe, expect, it } from 'vitest';
import { planRun } from '../../src/application/recategorization/plan-run.ts';
import type { CataloguePage } from '../../src/application/recategorization/ports.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import type { RunSettings } from '../../src/domain/run.ts';
import { FAKE_MODEL } from '../support/fake-predictor.ts';
import {
  catalogueOf,
  cataloguePage,
  createFakePlanSink,
  type PlannedProduct,
  vectorAsHash,
} from '../support/recategorization-plan.ts';
import { runSettings } from '../support/recategorization-settings.ts';

function product(number: number, more: Partial<PlannedProduct> = {}): PlannedProduct {
  return { id: `P${number}`, features: [number, -number], current: 'A', ...more };
}

function decided(number: number, categoryCode: string, more: Partial<PlannedProduct> = {}): PlannedProduct {
  return product(number, { decision: { categoryCode, decidedBy: 'ana' }, ...more });
}

async function plan(pages: readonly CataloguePage[], settings: Partial<RunSettings> = {}) {
  const recorded = createFakePlanSink();
  const counts = await planRun(
    { catalogue: catalogueOf(...pages), sink: recorded.sink, inputHash: vectorAsHash },
    { settings: runSettings(settings), model: FAKE_MODEL, stop: new AbortController().signal },
  );
  return { counts, ...recorded, planned: recorded.slices.map(({ ids }) => ids) };
}

describe('a plan', () => {
  it('has the products whose input changed, and no other', async () => {
    const page = cataloguePage([product(1), product(2, { unchanged: true }), product(3)]);
    const { planned, counts } = await plan([page]);
    expect(planned).toEqual([['P1', 'P3']]);
    expect(counts).toEqual({ products: 3, skipped: 1 });
  });

  it('of a catalogue in which nothing changed is empty', async () => {
    const { slices, decided: decisions, counts } = await plan([cataloguePage([product(1, { unchanged: true })])]);
    expect([...slices, ...decisions]).toEqual([]);
    expect(counts).toEqual({ products: 1, skipped: 1 });
  });

  it('of an empty catalogue is empty', async () => {
    const { slices, counts } = await plan([cataloguePage([])]);
    expect(slices).toEqual([]);
    expect(counts).toEqual({ products: 0, skipped: 0 });
  });

  it('has every product where all are wanted', async () => {
    const page = cataloguePage([product(1, { unchanged: true }), product(2, { unchanged: true })]);
    const { planned, counts } = await plan([page], { full: true });
    expect(planned).toEqual([['P1', 'P2']]);
    expect(counts).toEqual({ products: 2, skipped: 0 });
  });

  it('has a product that is the same but for the last bit of its hash', async () => {
    const page = cataloguePage([product(1, { unchanged: true }), product(2, { unchanged: true })]);
    page.inputHashes[31] ^= 1;
    expect((await plan([page])).planned).toEqual([['P2']]);
  });

  it('cuts pages into slices, of which the last has what is left', async () => {
    const pages = [
      cataloguePage([product(1), product(2), product(3), product(4)]),
      cataloguePage([product(5), product(6), product(7)]),
    ];
    const { slices } = await plan(pages, { sliceSize: 3 });
    expect(slices.map(({ number, ids }) => [number, ids])).toEqual([
      [0, ['P1', 'P2', 'P3']],
      [1, ['P4', 'P5', 'P6']],
      [2, ['P7']],
    ]);
    expect(slices[1]).toMatchObject({ values: [4, -4, 5, -5, 6, -6], currentCategories: ['A', 'A', 'A'] });
    expect(slices[1].inputHashes).toEqual([
      ...vectorAsHash({ rows: 3, width: 2, values: Float32Array.of(4, -4, 5, -5, 6, -6) }),
    ]);
  });

  it('has no empty slice where the last one is full', async () => {
    const { planned } = await plan([cataloguePage([product(1), product(2)])], { sliceSize: 2 });
    expect(planned).toEqual([['P1', 'P2']]);
  });

  it('puts the rejects of all pages aside, and counts them as products', async () => {
    const reject = (productId: string) => ({ productId, code: 'WRONG_WIDTH' as const, message: 'expected 2' });
    const pages = [cataloguePage([product(1)], [reject('X')]), cataloguePage([], [reject('Y')])];
    const { rejects, counts } = await plan(pages);
    expect(rejects.map(({ productId }) => productId)).toEqual(['X', 'Y']);
    expect(counts).toEqual({ products: 3, skipped: 0 });
  });

  it.each([
    { title: 'without a statement of the ERP, what is recorded counts', applySql: undefined, recordCounts: true },
    { title: 'with one, what the source says', applySql: 'UPDATE …', recordCounts: false },
  ])('asks for the present category as it counts: $title', async ({ applySql, recordCounts }) => {
    const asked: unknown[] = [];
    await planRun(
      {
        catalogue: {
          async *read(source, options) {
            asked.push(source, options);
            yield cataloguePage([]);
          },
        },
        sink: createFakePlanSink().sink,
        inputHash: vectorAsHash,
      },
      { settings: runSettings({ applySql }), model: FAKE_MODEL, stop: new AbortController().signal },
    );
    expect(asked).toEqual([runSettings().source, { width: 2, pageRows: 8192, recordCounts }]);
  });
});

describe('a product that a person decided', () => {
  it('gets that category without the model', async () => {
    const { planned, decided: decisions, counts } = await plan([cataloguePage([product(1), decided(2, 'B')])]);
    expect(planned).toEqual([['P1']]);
    const inputHash = vectorAsHash({ rows: 1, width: 2, values: Float32Array.of(2, -2) });
    expect(decisions).toEqual([
      {
        number: 1,
        products: [{ productId: 'P2', categoryCode: 'B', decidedBy: 'ana', currentCategory: 'A', inputHash }],
      },
    ]);
    expect(counts).toEqual({ products: 2, skipped: 0 });
  });

  it('is planned though its input did not change', async () => {
    const { decided: decisions } = await plan([cataloguePage([decided(1, 'B', { unchanged: true })])]);
    expect(decisions[0].products).toMatchObject([{ productId: 'P1', categoryCode: 'B' }]);
  });

  it('is skipped where it has that category, also where all are wanted', async () => {
    const page = cataloguePage([decided(1, 'A')]);
    for (const full of [false, true]) {
      const { slices, decided: decisions, counts } = await plan([page], { full });
      expect([...slices, ...decisions]).toEqual([]);
      expect(counts).toEqual({ products: 1, skipped: 1 });
    }
  });

  it('is rejected where the model does not know the category, with who decided and what is known', async () => {
    const { slices, decided: decisions, rejects, counts } = await plan([cataloguePage([decided(1, 'Z')])]);
    expect([...slices, ...decisions]).toEqual([]);
    expect(rejects).toEqual([
      {
        productId: 'P1',
        code: 'UNKNOWN_CATEGORY',
        message: `ana decided on "Z", which is none of the model's categories: A, B, C`,
      },
    ]);
    expect(counts).toEqual({ products: 1, skipped: 0 });
  });

  it('is skipped where it has a category that the model does not know, and was decided on', async () => {
    const { rejects, counts } = await plan([cataloguePage([decided(1, 'Z', { current: 'Z' })])]);
    expect(rejects).toEqual([]);
    expect(counts).toEqual({ products: 1, skipped: 1 });
  });

  it('is a slice after all those of the model, in as many as it takes', async () => {
    const pages = [
      cataloguePage([decided(1, 'B'), product(2), decided(3, 'C')]),
      cataloguePage([product(4), decided(5, 'B'), product(6)]),
    ];
    const { slices, decided: decisions } = await plan(pages, { sliceSize: 2 });
    expect(slices.map(({ number, ids }) => [number, ids])).toEqual([
      [0, ['P2', 'P4']],
      [1, ['P6']],
    ]);
    expect(decisions.map(({ number, products }) => [number, products.map(({ productId }) => productId)])).toEqual([
      [2, ['P1', 'P3']],
      [3, ['P5']],
    ]);
  });

  it('has its vector remembered where it is not known yet, whatever becomes of it', async () => {
    const decision = (categoryCode: string, lacksFeatures: boolean) => ({
      decision: { categoryCode, decidedBy: 'ana', lacksFeatures },
    });
    const page = cataloguePage([
      product(1, decision('B', true)),
      product(2, decision('B', false)),
      product(3, decision('A', true)),
      product(4, decision('Z', true)),
      product(5),
    ]);
    expect((await plan([page])).decidedFeatures).toEqual({ P1: [1, -1], P3: [3, -3], P4: [4, -4] });
  });
});

describe('a plan that is stopped', () => {
  it('ends before the next page with INTERRUPTED, which is worth another try', async () => {
    const stopper = new AbortController();
    const { sink, slices } = createFakePlanSink();
    let pages = 0;
    const planning = planRun(
      {
        catalogue: {
          async *read() {
            for (; pages < 9; pages++) {
              if (pages === 2) stopper.abort();
              yield cataloguePage([product(pages)]);
            }
          },
        },
        sink,
        inputHash: vectorAsHash,
      },
      { settings: runSettings({ sliceSize: 1 }), model: FAKE_MODEL, stop: stopper.signal },
    );
    const error = await planning.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(CategorizerError);
    expect(error).toMatchObject({ code: 'INTERRUPTED', retryable: true });
    expect(pages).toBe(2);
    expect(slices.map(({ ids }) => ids)).toEqual([['P0'], ['P1']]);
  });
});
