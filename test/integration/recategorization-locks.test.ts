import pg from 'pg';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { revertRun } from '../../src/application/recategorization/revert-run.ts';
import type { RunSettings } from '../../src/domain/run.ts';
import { useRecategorizationDatabase } from '../support/recategorization-database.ts';
import { createNights } from '../support/recategorization-night.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const { database, sql, url } = useRecategorizationDatabase();

let night: ReturnType<typeof createNights>;
beforeEach(() => {
  night = createNights(database());
});

const source = { ...runSettings().source, categoryColumn: 'category' };
const TIMEOUT_MS = 200;
const APPLY: Partial<RunSettings> = { source, apply: true, sliceSize: 100, lockTimeoutMs: TIMEOUT_MS };
const IDS = Array.from({ length: 40 }, (_, i) => `P${10 + i}`);
const ALL_B = Object.fromEntries(IDS.map((id) => [id, ['B', 0.9] as const]));

/** A transaction of somebody else. */
async function openTransaction() {
  const client = new pg.Client({ connectionString: url() });
  await client.connect();
  let ended: Promise<unknown> | undefined;
  const end = () => {
    ended ??= client.query('COMMIT').finally(() => client.end());
    return ended;
  };
  onTestFinished(async () => void (await end()));
  await client.query('BEGIN');
  return { query: (text: string) => client.query(text), end };
}

/** Holds the rows of these products. */
async function hold(...ids: string[]) {
  const transaction = await openTransaction();
  await transaction.query(`SELECT FROM erp.products WHERE product_id IN ('${ids.join(`', '`)}') FOR UPDATE`);
  return transaction;
}

async function prepare(settings: Partial<RunSettings> = APPLY): Promise<void> {
  await night.offer(IDS, { category: 'A' });
  await night.prepare('night-1', ALL_B, settings);
}

async function finish(): Promise<void> {
  await night.apply('night-1');
  await night.categories.finish('night-1');
}

async function erpCounts(): Promise<Record<string, number>> {
  const rows = await sql<{ category: string; products: number }>(
    'SELECT category, count(*)::integer AS products FROM erp.products GROUP BY 1 ORDER BY 1',
  );
  return Object.fromEntries(rows.map(({ category, products }) => [category, products]));
}

const appliedOf = async () => (await night.registry.get('night-1'))?.applied;

describe('a row that the ERP holds all the time', () => {
  it.each([
    { title: 'the program writes', settings: APPLY },
    {
      title: 'a statement writes',
      settings: {
        ...APPLY,
        apply: false,
        applySql: `UPDATE erp.products p SET category = c.category_code FROM categorizer_changes c
          WHERE c.product_id = p.product_id AND p.category = c.previous_category_code`,
      },
    },
  ])('does not hold up the others, is counted, and is looked at in the next night: $title', async ({ settings }) => {
    await prepare(settings);
    const holder = await hold('P23', 'P41');
    await finish();
    expect(await erpCounts()).toEqual({ A: 2, B: 38 });
    expect(await appliedOf()).toMatchObject({
      written: 38,
      locked: 2,
      samples: [{ productId: 'P23' }, { productId: 'P41' }],
    });
    expect((await night.registry.get('night-1'))?.state).toBe('finished_with_rejects');
    expect((await night.history()).filter((line) => line.includes('not_applied'))).toEqual([
      'night-1 not_applied P23: A -> A',
      'night-1 not_applied P41: A -> A',
    ]);
    await holder.end();
    expect(await night.run('night-2', ALL_B, { ...settings, full: false })).toMatchObject({ skipped: 38, changed: 2 });
    expect(await erpCounts()).toEqual({ B: 40 });
  });

  it('is looked at again, though its input was known: where --full had asked for it', async () => {
    await night.offer(IDS, { category: 'A' });
    await night.run('night-0', {}, APPLY);
    await night.prepare('night-1', ALL_B, { ...APPLY, full: true });
    const holder = await hold('P23');
    await finish();
    await holder.end();
    expect(await night.run('night-2', ALL_B, APPLY)).toMatchObject({ skipped: 39, changed: 1 });
  });

  it('is written when it comes free while the rest was written', async () => {
    // It is tried for six seconds more: time enough to see that the rest is there.
    await prepare({ ...APPLY, lockTimeoutMs: 2000 });
    const holder = await hold('P23');
    const finished = finish();
    await vi.waitFor(async () => expect((await erpCounts()).B).toBe(39), { timeout: 50_000 });
    await holder.end();
    await finished;
    expect(await appliedOf()).toMatchObject({ written: 40, locked: 0 });
  });

  it('makes nobody else wait for much longer than the lock timeout', async () => {
    await prepare();
    await hold('P49');
    const finished = finish();
    let longest = 0;
    let over = false;
    const other = await openTransaction();
    await other.query('COMMIT');
    const probing = (async () => {
      while (!over) {
        for (const id of ['P10', 'P30', 'P48']) {
          const start = performance.now();
          await other.query(`UPDATE erp.products SET features = features WHERE product_id = '${id}'`);
          longest = Math.max(longest, performance.now() - start);
        }
      }
    })();
    await finished;
    over = true;
    await probing;
    expect(await appliedOf()).toMatchObject({ locked: 1 });
    // A machine that is busy makes all of it slower, but the holder holds on to the end.
    expect(longest).toBeLessThan(20 * TIMEOUT_MS);
  });
});

it('many rows that others hold one after the other do not add up: all waits of a slice count together', async () => {
  await prepare({ ...APPLY, lockTimeoutMs: 2000 });
  const holders = await Promise.all(IDS.slice(20, 30).map((id) => hold(id)));
  const started = performance.now();
  const first = night.registry
    .change('night-1', ['running'], 'applying')
    .then(() => night.categories.apply('night-1', 0))
    .then((outcome) => ({ outcome, seconds: (performance.now() - started) / 1000 }));
  // Each is free before its own two seconds are over; one after the other they would take eight.
  for (const holder of holders) {
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 800)), first]);
    await holder.end();
  }
  expect((await first).outcome).toBe('locked');
  await finish();
  expect(await erpCounts()).toEqual({ B: 40 });
});

describe('a table that is locked as a whole', () => {
  it('is given up after a while: everything is counted, nothing is half done', async () => {
    await night.offer(IDS.slice(0, 10), { category: 'A' });
    await night.prepare('night-1', ALL_B, { ...APPLY, lockTimeoutMs: 50 });
    const holder = await openTransaction();
    await holder.query('LOCK TABLE erp.products IN EXCLUSIVE MODE');
    await finish();
    expect(await appliedOf()).toMatchObject({ written: 0, locked: 10 });
    expect(await night.plan.slices('night-1')).toEqual([]);
    await holder.end();
    expect(await night.run('night-2', ALL_B, APPLY)).toMatchObject({ changed: 10 });
  });
});

it('a review that somebody is deciding at the moment holds up only itself', async () => {
  await night.offer(IDS, { category: 'A' });
  await night.run('night-0', { P23: ['B', 0.25] }, APPLY);
  await night.offer(IDS, { version: 2, category: 'A' });
  await night.prepare('night-1', { ...ALL_B, P23: ['B', 0.3] }, APPLY);
  const screen = await openTransaction();
  await screen.query(`UPDATE categorizer.reviews SET decided_category = 'C' WHERE product_id = 'P23'`);
  await finish();
  expect(await erpCounts()).toEqual({ A: 1, B: 39 });
  expect(await appliedOf()).toMatchObject({ written: 39, locked: 1 });
  await screen.end();
  expect(await night.run('night-2', {}, APPLY)).toMatchObject({ decided: 1, skipped: 39 });
});

describe('a slice that is written in parts', () => {
  it('is written once, though it is interrupted after any of them and begun again', async () => {
    await prepare();
    const holder = await hold('P23');
    await night.registry.change('night-1', ['running'], 'applying');
    expect(await night.categories.apply('night-1', 0)).toBe('locked');
    const part = { productIds: IDS.slice(0, 10), hasty: true };
    expect(await night.categories.apply('night-1', 0, part)).toBe('written');
    expect(await night.categories.apply('night-1', 0, part)).toBe('written');
    expect(await night.categories.open('night-1', 0)).toEqual(IDS.slice(10));
    expect(await night.categories.unapplied('night-1')).toEqual([0]);
    await holder.end();
    await finish();
    expect(await night.history()).toHaveLength(40);
    expect(await appliedOf()).toMatchObject({ written: 40 });
  });
});

describe('a revert', () => {
  it('leaves locked rows for the next call of the same command, and restores all others', async () => {
    await prepare();
    await finish();
    const holder = await hold('P23');
    const revert = () => revertRun(night.categories, 'night-1', new AbortController().signal);
    expect(await revert()).toEqual({ restored: 39, kept: 0, locked: 1 });
    expect(await erpCounts()).toEqual({ A: 39, B: 1 });
    expect(await night.registry.locked()).toBeUndefined();
    await holder.end();
    expect(await revert()).toEqual({ restored: 40, kept: 0 });
    expect(await erpCounts()).toEqual({ A: 40 });
    await expect(revert()).rejects.toMatchObject({ code: 'RUN_STATE' });
  });
});
