import { beforeEach, describe, expect, it } from 'vitest';
import type { TrainingRow } from '../../src/application/recategorization/ports.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { createNights } from '../support/recategorization-night.ts';

const { database, sql } = useRecategorizationDatabase();

let night: ReturnType<typeof createNights>;
beforeEach(() => {
  night = createNights(database());
});

const decide = (id: string, categoryCode: string, decidedBy = 'ana') =>
  night.reviews.decide(id, { categoryCode, decidedBy });

/** Products for review, each since another day. */
async function ask(...ids: string[]): Promise<void> {
  for (const [i, id] of ids.entries()) {
    await sql(
      `INSERT INTO categorizer.reviews (product_id, run_id, proposed_category, confidence, current_category, features,
         created_at) VALUES ($1, 'night-1', 'B', 0.25, 'A', '{1,2}', timestamptz '2026-11-01' + $2 * interval '1 day')`,
      id,
      i,
    );
  }
}

async function listed(decided: boolean, limit = 10): Promise<string[]> {
  return (await night.reviews.list({ decided, limit })).map(({ productId }) => productId);
}

async function rowOf(id: string) {
  return (await sql<Record<string, unknown>>('SELECT * FROM categorizer.reviews WHERE product_id = $1', id))[0];
}

async function sessionUser(): Promise<string> {
  return (await sql<{ name: string }>('SELECT session_user AS name'))[0].name;
}

describe('reviews', () => {
  it('are listed, the oldest first, apart from those that are decided', async () => {
    await ask('P3', 'P1', 'P2', 'P4');
    await decide('P1', 'B');
    expect(await listed(false)).toEqual(['P3', 'P2', 'P4']);
    expect(await listed(false, 2)).toEqual(['P3', 'P2']);
    expect(await listed(true)).toEqual(['P1']);
  });

  it('say what is proposed and what is so', async () => {
    await ask('P1');
    expect(await night.reviews.list({ decided: false, limit: 1 })).toEqual([
      {
        productId: 'P1',
        runId: 'night-1',
        proposedCategory: 'B',
        confidence: 0.25,
        currentCategory: 'A',
        createdAt: expect.any(Date),
        decidedCategory: null,
        decidedBy: null,
        decidedAt: null,
      },
    ]);
  });
});

describe('a decision', () => {
  it('on a review keeps what was proposed, and says who decided and when', async () => {
    await ask('P1');
    const before = await rowOf('P1');
    expect(await decide('P1', 'C')).toBe(true);
    expect(await rowOf('P1')).toEqual({
      ...before,
      decided_category: 'C',
      decided_by: 'ana',
      decided_at: expect.any(Date),
    });
  });

  it('may be made on any product that was categorized', async () => {
    await night.offer(['P1']);
    await night.run('night-1');
    expect(await decide('P1', 'C')).toBe(true);
    expect(await rowOf('P1')).toMatchObject({ decided_category: 'C', proposed_category: null, run_id: null });
  });

  it('on a product that nobody knows is none: it is a slip', async () => {
    expect(await decide('P1', 'C')).toBe(false);
    expect(await sql('SELECT FROM categorizer.reviews')).toEqual([]);
  });

  it('takes the place of another, of whoever made that', async () => {
    await ask('P1');
    await decide('P1', 'C', 'ana');
    await sql(`UPDATE categorizer.reviews SET decided_at = '2026-11-01'`);
    await decide('P1', 'A', 'rui');
    const { decided_category, decided_by, decided_at } = await rowOf('P1');
    expect([decided_category, decided_by]).toEqual(['A', 'rui']);
    expect((decided_at as Date).getTime()).toBeGreaterThan(Date.now() - 60_000);
  });
});

describe('a decision that is taken back', () => {
  beforeEach(async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1');
    await decide('P1', 'C');
    await night.run('night-2');
  });

  it('leaves the product to the model: it is asked again, though nothing has changed', async () => {
    expect(await night.reviews.withdraw('P1')).toBe(true);
    expect(await rowOf('P1')).toBeUndefined();
    expect(await night.run('night-3', { P1: ['B', 0.75] })).toMatchObject({ changed: 1, skipped: 1 });
    expect(await night.current()).toEqual({ P1: 'B', P2: 'A' });
  });

  it.each([
    ['deletes', `DELETE FROM categorizer.reviews WHERE product_id = 'P1'`],
    ['sets to null', `UPDATE categorizer.reviews SET decided_category = NULL WHERE product_id = 'P1'`],
  ])('leaves it to the model too where the ERP %s it by plain SQL', async (_how, statement) => {
    await sql(statement);
    expect(await night.run('night-3', { P1: ['B', 0.75] })).toMatchObject({ changed: 1, skipped: 1 });
    expect(await night.current()).toEqual({ P1: 'B', P2: 'A' });
  });

  it('is none where there was none, and then nothing is asked again', async () => {
    await ask('P2');
    expect(await night.reviews.withdraw('P2')).toBe(false);
    expect(await night.reviews.withdraw('P9')).toBe(false);
    expect(await listed(false)).toEqual(['P2']);
    expect(await night.run('night-3')).toMatchObject({ skipped: 2 });
  });
});

describe('a decision that the ERP writes by plain SQL', () => {
  it('is signed with the user of the database, and wins the next night over the model', async () => {
    await night.offer(['P1']);
    await sql(`INSERT INTO categorizer.reviews (product_id, decided_category) VALUES ('P1', 'C')`);
    expect(await rowOf('P1')).toMatchObject({ decided_by: await sessionUser(), decided_at: expect.any(Date) });
    await night.run('night-1', { P1: ['B', 1] });
    expect(await night.current()).toEqual({ P1: 'C' });
    const [{ decided_by }] = await sql<{ decided_by: string }>('SELECT decided_by FROM categorizer.history');
    expect(decided_by).toBe(await sessionUser());
  });

  it('keeps the name and the time that it says', async () => {
    await sql(`INSERT INTO categorizer.reviews (product_id, decided_category, decided_by, decided_at)
      VALUES ('P1', 'C', 'rui', '2026-11-01T00:00:00Z')`);
    expect(await rowOf('P1')).toMatchObject({ decided_by: 'rui', decided_at: new Date('2026-11-01T00:00:00Z') });
  });

  it('on an open review is signed as well', async () => {
    await ask('P1');
    await sql(`UPDATE categorizer.reviews SET decided_category = 'C' WHERE product_id = 'P1'`);
    expect(await rowOf('P1')).toMatchObject({ decided_by: await sessionUser(), decided_at: expect.any(Date) });
  });

  it('and takes back is not signed any more', async () => {
    await ask('P1');
    await decide('P1', 'C');
    await sql(`UPDATE categorizer.reviews SET decided_category = NULL WHERE product_id = 'P1'`);
    expect(await rowOf('P1')).toMatchObject({ decided_by: null, decided_at: null });
  });

  it('and that is none has no signature, whatever it says', async () => {
    await sql(`INSERT INTO categorizer.reviews (product_id, decided_by, decided_at) VALUES ('P1', 'rui', now())`);
    expect(await rowOf('P1')).toMatchObject({ decided_by: null, decided_at: null });
  });

  it('in the place of another has a time of its own, and keeps the name where the same person says it again', async () => {
    await ask('P1');
    await decide('P1', 'C', 'ana');
    await sql(`UPDATE categorizer.reviews SET decided_at = '2026-11-01'`);
    await sql(`UPDATE categorizer.reviews SET decided_category = 'B', decided_by = 'ana' WHERE product_id = 'P1'`);
    const { decided_by, decided_at } = await rowOf('P1');
    expect(decided_by).toBe('ana');
    expect((decided_at as Date).getTime()).toBeGreaterThan(Date.now() - 60_000);
  });
});

describe('training data', () => {
  async function exported(): Promise<{ pages: number[]; rows: TrainingRow[] }> {
    const pages: number[] = [];
    const rows: TrainingRow[] = [];
    for await (const page of night.reviews.training()) {
      pages.push(page.length);
      rows.push(...page);
    }
    return { pages, rows };
  }

  it('is what people decided, with the vector that they were asked about', async () => {
    await night.offer(['P1', 'P2']);
    await night.run('night-1', { P1: ['B', 0.25], P2: ['B', 0.25] });
    await decide('P1', 'C');
    await night.offer(['P1'], { version: 2 });
    expect((await exported()).rows).toEqual([{ productId: 'P1', features: [1, 1], category: 'C' }]);
  });

  it('has the vector of a decision that nobody was asked for from the next run on', async () => {
    await night.offer(['P1'], { version: 3 });
    await sql(`INSERT INTO categorizer.reviews (product_id, decided_category) VALUES ('P1', 'C'), ('gone', 'C')`);
    expect((await exported()).rows).toEqual([]);
    expect(await night.reviews.withoutFeatures()).toBe(2);
    await night.run('night-1');
    expect((await exported()).rows).toEqual([{ productId: 'P1', features: [3, 3], category: 'C' }]);
    expect(await night.reviews.withoutFeatures()).toBe(1);
  });

  it('comes in pages, each product once, in the order of their ids', async () => {
    await sql(`INSERT INTO categorizer.reviews (product_id, decided_category, features)
      SELECT 'P' || lpad(i::text, 5, '0'), CASE WHEN i % 2 = 0 THEN 'B' END, CASE WHEN i % 3 > 0 THEN ARRAY[i] END
      FROM generate_series(1, 7500) i`);
    const { pages, rows } = await exported();
    expect(pages).toEqual([1000, 1000, 500]);
    const expected = Array.from({ length: 7500 }, (_, i) => i + 1).filter((i) => i % 2 === 0 && i % 3 > 0);
    expect(rows.map(({ features }) => features[0])).toEqual(expected);
    expect(await night.reviews.withoutFeatures()).toBe(1250);
  });

  it('is none where nobody decided', async () => {
    await ask('P1');
    expect(await exported()).toEqual({ pages: [], rows: [] });
  });
});
