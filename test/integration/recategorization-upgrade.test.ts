import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { expect, inject, it, onTestFinished } from 'vitest';
import { openDatabase } from '../../src/adapters/postgres/connection.ts';
import { migrate } from '../../src/adapters/postgres/migrations.ts';
import { revertRun } from '../../src/application/recategorization/revert-run.ts';
import { createFakeLogger } from '../support/fake-observers.ts';
import { createDatabase } from '../support/postgres-server.ts';
import { createNights } from '../support/recategorization-night.ts';
import { runSettings } from '../support/recategorization-settings.ts';

const FIRST = new URL('../../migrations/0001_recategorization.sql', import.meta.url);

/** A database as the first version left it, in the middle of a run: one slice is applied and one is not. */
async function createOld() {
  const { url, drop } = await createDatabase(inject('postgresUrl'));
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  onTestFinished(async () => {
    await client.end();
    await drop();
  });
  await client.query(`CREATE SCHEMA categorizer;
    CREATE TABLE categorizer.migrations (id serial PRIMARY KEY, name varchar(255) NOT NULL, run_on timestamp NOT NULL);
    INSERT INTO categorizer.migrations (name, run_on) VALUES ('0001_recategorization', now());`);
  await client.query((await readFile(FIRST, 'utf8')).split('-- Down Migration')[0]);
  const settings = JSON.stringify(runSettings());
  await client.query(`
    CREATE SCHEMA erp;
    CREATE TABLE erp.products (product_id text, features real[], category text);
    INSERT INTO categorizer.models (version, sha256, categories) VALUES ('1', repeat('0', 64), '{A,B,C}');
    INSERT INTO categorizer.runs (id, name, state, settings, model_id, counts, locked_since)
      VALUES ('old', 'manual', 'applying', '${settings}', 1, '{"products": 2, "skipped": 0, "rejected": 0}', now());
    INSERT INTO categorizer.slices (run_id, number, products, staged_at, applied_at)
      VALUES ('old', 0, 1, now(), now()), ('old', 1, 1, now(), NULL);
    INSERT INTO categorizer.staged (slice, product_id, category_code, confidence, input_hash)
      VALUES (0, 'P1', 'A', 1, '\\x01'), (1, 'P2', 'B', 1, '\\x02');
    INSERT INTO categorizer.product_categories VALUES ('P1', 'A', 1, 1, 'old', now(), '\\x01');
    INSERT INTO categorizer.history (product_id, run_id, action, slice, new_category, new_confidence, new_model_id)
      VALUES ('P1', 'old', 'apply', 0, 'A', 1, 1);
    INSERT INTO categorizer.reviews (product_id, decided_category, decided_by) VALUES ('P3', 'C', 'ana')`);
  return url;
}

it('a database of the first version is brought to this one, and the run that was under way goes on and is reverted', async () => {
  const url = await createOld();
  const logger = createFakeLogger();
  expect(await migrate({ url, dryRun: false, logger })).toEqual(['0002_not_written']);
  const database = openDatabase({ url, logger });
  onTestFinished(database.close);
  const night = createNights(database);

  await night.apply('old');
  await night.categories.finish('old');
  expect(await night.registry.get('old')).toMatchObject({ state: 'finished', applied: { written: 2, changed: 0 } });
  expect(await night.current()).toEqual({ P1: 'A', P2: 'B' });
  expect(await revertRun(night.categories, 'old', new AbortController().signal)).toEqual({ restored: 2, kept: 0 });
  expect(await night.reviews.list({ decided: true, limit: 9 })).toMatchObject([{ productId: 'P3', decidedBy: 'ana' }]);
});
