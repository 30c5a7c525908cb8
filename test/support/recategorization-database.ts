import { beforeAll, beforeEach, inject } from 'vitest';
import { type Database, openDatabase } from '../../src/adapters/postgres/connection.ts';
import { migrate } from '../../src/adapters/postgres/migrations.ts';
import { createFakeLogger } from './fake-observers.ts';
import { createDatabase } from './postgres-server.ts';

const TABLES = [
  'runs',
  'models',
  'slices',
  'staged',
  'rejects',
  'product_categories',
  'history',
  'reviews',
  'schedules',
];

/**
 * As a replica nothing is refused: not even that the history is emptied. DELETE, as TRUNCATE makes new files for each
 * table and index: 5 ms against 45 ms.
 */
const EMPTY = `
  SET LOCAL session_replication_role = replica;
  ${TABLES.map((table) => `DELETE FROM categorizer.${table};`).join('\n')}
  DROP SCHEMA IF EXISTS erp CASCADE;
  CREATE SCHEMA erp;
  CREATE TABLE erp.products (product_id text, features real[], category text)`;

/** Gives a file of tests a migrated database of its own; each test finds it empty but for the table erp.products. */
export function useRecategorizationDatabase() {
  let database: Database;
  let databaseUrl: string;

  const open = () => openDatabase({ url: databaseUrl, logger: createFakeLogger() });

  beforeAll(async () => {
    const created = await createDatabase(inject('postgresUrl'));
    databaseUrl = created.url;
    await migrate({ url: databaseUrl, dryRun: false, logger: createFakeLogger() });
    database = open();
    return async () => {
      await database.close();
      await created.drop();
    };
  });

  beforeEach(async () => {
    await database.transaction(async (client) => void (await client.query(EMPTY)));
  });

  return {
    database: () => database,
    url: () => databaseUrl,
    /** Connections of another process. */
    open,
    sql<T>(text: string, ...values: unknown[]): Promise<T[]> {
      return database.query<T & Record<string, unknown>>(text, values.length > 0 ? values : undefined);
    },
  };
}
