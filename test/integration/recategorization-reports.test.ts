import { beforeEach, describe, expect, it } from 'vitest';
import { createRunStatistics } from '../../src/adapters/postgres/run-statistics.ts';
import type { RunReport } from '../../src/application/recategorization/ports.ts';
import type { RunState } from '../../src/domain/run.ts';
import { FAKE_MODEL } from '../support/fake-predictor.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { type Answers, createNights } from '../support/recategorization-night.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const { database, sql } = useRecategorizationDatabase();

let night: ReturnType<typeof createNights>;
beforeEach(() => {
  night = createNights(database());
});

function numbered(count: number, prefix = 'P'): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i + 1}`);
}

async function reportOf(id: string): Promise<RunReport> {
  const report = await night.reports.get(id);
  if (!report) throw new Error(`no report of ${id}`);
  return report;
}

/** A night over these products, each with the category that it has in the ERP. */
async function report(products: Record<string, string | null>, answers: Answers): Promise<RunReport> {
  for (const [id, category] of Object.entries(products)) {
    await sql(`INSERT INTO erp.products VALUES ($1, '{1,2}', $2)`, id, category);
  }
  const source = { ...runSettings().source, categoryColumn: 'category' };
  await night.prepare('night-1', answers, { source });
  return reportOf('night-1');
}

describe('the counts of a run', () => {
  it('tell for each product of the source what became of it, and add up', async () => {
    await night.offer(['same1', 'same2', 'kept', 'changed', 'decided']);
    await night.run('night-1');
    await night.offer(['kept', 'changed', 'review', 'added', 'failed'], { version: 2 });
    await sql(
      `INSERT INTO erp.products VALUES ('width', '{1}'), (NULL, '{1,2}'), ('twice', '{1,2}'), ('twice', '{1,2}')`,
    );
    await night.reviews.decide('decided', { categoryCode: 'C', decidedBy: 'ana' });
    await night.reviews.decide('same2', { categoryCode: 'A', decidedBy: 'ana' });
    await sql(`INSERT INTO categorizer.reviews (product_id, decided_category) VALUES ('same1', 'Z')`);

    const counts = await night.prepare('night-2', {
      changed: ['B', 0.9],
      review: ['B', 0.4],
      added: ['C', 0.9],
      failed: null,
    });

    expect(counts).toEqual({
      products: 12,
      skipped: 1,
      kept: 1,
      changed: 2,
      added: 1,
      review: 1,
      // Of them one as the model does not know the category that was decided.
      rejected: 6,
      decided: 1,
    });
    const { skipped, kept, changed, added, review, rejected } = counts;
    expect(skipped + kept + changed + added + review + rejected).toBe(counts.products);
    expect((await night.registry.get('night-2'))?.counts).toEqual(counts);
  });

  it('of a run that has nothing to do are those that it skipped', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1');
    expect(await night.prepare('night-2')).toEqual({
      ...{ products: 2, skipped: 2, kept: 0, changed: 0, added: 0, review: 0, rejected: 0, decided: 0 },
    });
  });

  it('of an empty catalogue are all 0', async () => {
    const counts = await night.prepare('night-1');
    expect(Object.values(counts)).toEqual(Array.from({ length: 8 }, () => 0));
    expect(await reportOf('night-1')).toEqual({
      matrix: [],
      confidence: Array.from({ length: 10 }, () => 0),
      rejectedByCode: {},
      samples: [],
      rejectSamples: [],
      reviewSamples: [],
    });
  });

  it('count a product whose category the model does not know any more as changed', async () => {
    const report1 = await report({ P1: 'OLD' }, { P1: ['A', 0.9] });
    expect(report1.matrix).toMatchObject([{ from: 'OLD', to: 'A', products: 1 }]);
  });

  it('are the same when the report is made again, by a process that goes on', async () => {
    await night.offer(numbered(5));
    const counts = await night.prepare('night-1', { P1: null, P2: ['B', 0.1] });
    const first = await reportOf('night-1');
    expect(await night.reports.create('night-1')).toEqual(counts);
    expect(await reportOf('night-1')).toEqual(first);
  });
});

describe('the matrix of a report', () => {
  it('tells from which category to which, the most frequent first, and how confident on average', async () => {
    const { matrix } = await report(
      { P1: 'A', P2: 'A', P3: 'A', P4: 'B', P5: null, P6: 'B', P7: 'C' },
      {
        P1: ['B', 0.5],
        P2: ['B', 0.75],
        P3: ['B', 1],
        P4: ['B', 0.75],
        P5: ['A', 0.625],
        P6: ['A', 0.4],
        P7: ['C', 0.875],
      },
    );
    expect(matrix).toEqual([
      { from: 'A', to: 'B', products: 3, meanConfidence: 0.75 },
      { from: 'B', to: 'B', products: 1, meanConfidence: 0.75 },
      { from: 'C', to: 'C', products: 1, meanConfidence: 0.875 },
      // P6 is for review: it would not be changed.
      { from: null, to: 'A', products: 1, meanConfidence: 0.625 },
    ]);
  });

  it('has no confidence where people decided all of it', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await night.reviews.decide('P1', { categoryCode: 'C', decidedBy: 'ana' });
    await night.prepare('night-2');
    expect((await reportOf('night-2')).matrix).toEqual([{ from: 'A', to: 'C', products: 1, meanConfidence: null }]);
  });
});

describe('the histogram of confidences', () => {
  it('has ten steps, each from its lower bound on, and what is certain in the last', async () => {
    const confidences = [0, 0.0999, 0.125, 0.25, 0.5, 0.5001, 0.75, 0.8999, 0.90001, 0.9999, 1];
    const ids = numbered(confidences.length);
    const { confidence } = await report(
      Object.fromEntries(ids.map((id) => [id, 'A'])),
      Object.fromEntries(ids.map((id, i) => [id, ['A', confidences[i]] as const])),
    );
    // Those for review are among them.
    expect(confidence).toEqual([2, 1, 1, 0, 0, 2, 0, 1, 1, 3]);
  });

  it('leaves out what people decided, and what was rejected', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1');
    await night.offer(['P2'], { version: 2 });
    await night.reviews.decide('P1', { categoryCode: 'C', decidedBy: 'ana' });
    await night.prepare('night-2', { P2: null });
    expect((await reportOf('night-2')).confidence).toEqual(Array.from({ length: 10 }, () => 0));
  });
});

describe('the samples of a report', () => {
  it('are some products of each change, and none of what stays', async () => {
    const products = Object.fromEntries([...numbered(7).map((id) => [id, 'A']), ['Q1', null], ['Q2', 'C']]);
    const answers = Object.fromEntries(numbered(7).map((id) => [id, ['B', 0.75] as const]));
    const { samples } = await report(products, { ...answers, Q1: ['C', 0.5], Q2: ['C', 0.75] });
    expect(samples.map(({ from, to, products: { length } }) => [from, to, length])).toEqual([
      ['A', 'B', 5],
      [null, 'C', 1],
    ]);
    for (const { productId } of samples[0].products) expect(productId).toMatch(/^P[1-7]$/);
    expect(new Set(samples[0].products.map(({ productId }) => productId)).size).toBe(5);
    expect(samples[1].products).toEqual([{ productId: 'Q1', confidence: 0.5 }]);
  });

  it('say who decided', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    await night.reviews.decide('P1', { categoryCode: 'C', decidedBy: 'ana' });
    await night.prepare('night-2');
    expect((await reportOf('night-2')).samples).toEqual([
      { from: 'A', to: 'C', products: [{ productId: 'P1', confidence: null, decidedBy: 'ana' }] },
    ]);
  });

  it('of rejects have the id as it came and the reason, with how many each reason has', async () => {
    await sql(`INSERT INTO erp.products VALUES ('b', '{1}'), (NULL, '{1,2}'), ('a', '{1,2,3}'), ('failed', '{1,2}')`);
    await night.prepare('night-1', { failed: null });
    const { rejectedByCode, rejectSamples } = await reportOf('night-1');
    expect(rejectedByCode).toEqual({ WRONG_WIDTH: 2, INVALID_PRODUCT_ID: 1, PREDICTION_FAILED: 1 });
    expect(rejectSamples.map(({ productId, code }) => [productId, code])).toEqual([
      [null, 'INVALID_PRODUCT_ID'],
      ['failed', 'PREDICTION_FAILED'],
      ['a', 'WRONG_WIDTH'],
      ['b', 'WRONG_WIDTH'],
    ]);
    expect(rejectSamples[2].message).toBe('expected 2 features, got 3');
  });

  it('of what is for review are the least confident first', async () => {
    const ids = numbered(25);
    const { reviewSamples } = await report(
      Object.fromEntries(ids.map((id) => [id, 'A'])),
      Object.fromEntries(ids.map((id, i) => [id, ['B', (25 - i) / 64] as const])),
    );
    expect(reviewSamples).toHaveLength(20);
    expect(reviewSamples[0]).toEqual({ productId: 'P25', from: 'A', to: 'B', confidence: 1 / 64 });
    expect(reviewSamples[19]).toMatchObject({ productId: 'P6' });
  });
});

describe('a report', () => {
  it('stays with its run when the next one begins', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    const before = await reportOf('night-1');
    await night.offer(['P1'], { version: 2 });
    await night.run('night-2', { P1: ['B', 0.9] });
    expect(await reportOf('night-1')).toEqual(before);
    expect((await reportOf('night-2')).matrix).toMatchObject([{ from: 'A', to: 'B', products: 1 }]);
  });

  it('is none before the run was categorized, and none of a run that is not there', async () => {
    await night.begin('night-1');
    expect(await night.reports.get('night-1')).toBeUndefined();
    expect(await night.reports.get('night-0')).toBeUndefined();
  });
});

describe('the statistics of runs', () => {
  const statistics = () => createRunStatistics(database()).read();

  async function ended(id: string, name: string, state: RunState, at: string, dryRun = false): Promise<void> {
    await night.registry.create({ id, name, settings: runSettings({ dryRun }), model: FAKE_MODEL });
    await night.registry.change(id, ['planned'], state);
    await sql(
      `UPDATE categorizer.runs SET created_at = $2, finished_at = $2::timestamptz + interval '90 seconds' WHERE id = $1`,
      id,
      at,
    );
  }

  it('are of the newest run of each name, with when one of that name last ended well', async () => {
    await ended('n-1', 'nightly', 'finished', '2026-11-21T05:00:00Z');
    await ended('n-2', 'nightly', 'finished_with_rejects', '2026-11-22T05:00:00Z');
    await ended('n-3', 'nightly', 'failed', '2026-11-23T05:00:00Z');
    await ended('m-1', 'manual', 'finished', '2026-11-20T05:00:00Z');
    expect(await statistics()).toMatchObject([
      { name: 'manual', state: 'finished', lastSuccessAt: new Date('2026-11-20T05:01:30Z'), durationSeconds: 90 },
      {
        name: 'nightly',
        state: 'failed',
        durationSeconds: 90,
        lastSuccessAt: new Date('2026-11-21T05:01:30Z'),
        lastEndAt: new Date('2026-11-22T05:01:30Z'),
      },
    ]);
  });

  it('know of no success where there was none', async () => {
    await ended('n-1', 'nightly', 'cancelled', '2026-11-21T05:00:00Z');
    const [{ lastSuccessAt, lastEndAt }] = await statistics();
    expect([lastSuccessAt, lastEndAt]).toEqual([undefined, undefined]);
  });

  it('are not touched by a dry run, however it ended', async () => {
    await ended('n-1', 'nightly', 'failed', '2026-11-21T05:00:00Z');
    await ended('n-2', 'nightly', 'finished', '2026-11-22T05:00:00Z', true);
    expect(await statistics()).toMatchObject([{ name: 'nightly', state: 'failed' }]);
    expect((await statistics())[0].lastSuccessAt).toBeUndefined();
  });

  it('of a run that goes on count its time until now', async () => {
    await night.begin('n-1');
    await sql(`UPDATE categorizer.runs SET created_at = now() - interval '1 hour'`);
    const [{ durationSeconds }] = await statistics();
    expect(durationSeconds).toBeGreaterThanOrEqual(3600);
    expect(durationSeconds).toBeLessThan(3700);
  });
});
