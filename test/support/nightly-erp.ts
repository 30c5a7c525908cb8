/** An ERP's database: its own table of products, and the tables of this program beside it. */
import pg from 'pg';
import { migrate } from '../../src/adapters/postgres/migrations.ts';
import { createFakeLogger } from './fake-observers.ts';
import { createDatabase, type Database, query } from './postgres-server.ts';
import type { TestProduct } from './products.ts';

/** The test servers trust everybody: whatever password the URL has, it is accepted, and must never be seen. */
export const DATABASE_PASSWORD = 'the-secret-of-the-erp';

/** The options that say where the products are. */
export const SOURCE = ['--source-table', 'erp.products', '--category-column', 'category'];
const UPDATE_SQL = `UPDATE erp.products p SET category = c.category_code FROM categorizer_changes c
  WHERE p.product_id = c.product_id AND p.category IS NOT DISTINCT FROM c.previous_category_code`;
/** Has the program write the ERP's column itself. */
export const APPLY = [...SOURCE, '--apply'];
/** Writes the categories to the ERP's table with a statement. */
export const WRITE_BACK = [...SOURCE, '--apply-sql', UPDATE_SQL];

export interface Erp {
  /** The settings that point a command at it. */
  readonly env: { readonly DATABASE_URL: string };
  /** Rows of one statement. */
  rows<R extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<R[]>;
  /** Adds products, or gives those that are there another vector. */
  put(products: readonly TestProduct[]): Promise<void>;
  /** Product id to category, as the ERP has it. */
  categories(): Promise<Map<string, string | null>>;
  /** Product id to category, as this program has it. */
  recorded(): Promise<Map<string, string | null>>;
  /**
   * All that a run can change but its own line in the record: each row with the transaction that wrote it, so that a
   * row that was written again is another one, though it holds the same.
   */
  written(): Promise<Readonly<Record<string, readonly pg.QueryResultRow[]>>>;
  /** Ends its connection, and leaves the database. */
  close(): Promise<void>;
  drop(): Promise<void>;
}

const WRITTEN = {
  products: 'erp.products',
  categories: 'categorizer.product_categories',
  history: 'categorizer.history',
  reviews: 'categorizer.reviews',
};

/** @param options.migrated whether the tables of this program are there, as they are by default */
export async function createErp(serverUrl: string, options: { readonly migrated?: boolean } = {}): Promise<Erp> {
  const database = await createDatabase(serverUrl);
  const erp = openErp(database);
  await erp.rows('CREATE SCHEMA erp');
  await erp.rows('CREATE TABLE erp.products (product_id text PRIMARY KEY, features real[], category text)');
  if (options.migrated ?? true) await migrate({ url: database.url, dryRun: false, logger: createFakeLogger() });
  return erp;
}

function openErp({ url, drop }: Database): Erp {
  // One connection, and another one when the server was replaced.
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  pool.on('error', () => undefined);
  const rows = async <R extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<R[]> =>
    (await pool.query<R>(sql, [...values])).rows;
  const pairs = async (sql: string) =>
    new Map((await rows<{ id: string; category: string | null }>(sql)).map(({ id, category }) => [id, category]));
  const withPassword = new URL(url);
  withPassword.password = DATABASE_PASSWORD;

  return {
    env: { DATABASE_URL: withPassword.href },
    rows,
    async put(products) {
      await rows(
        `INSERT INTO erp.products (product_id, features)
         SELECT id, features::real[] FROM unnest($1::text[], $2::text[]) AS p (id, features)
         ON CONFLICT (product_id) DO UPDATE SET features = excluded.features`,
        [products.map(({ productId }) => productId), products.map(({ features }) => `{${features.join(',')}}`)],
      );
    },
    categories: () => pairs('SELECT product_id AS id, category FROM erp.products'),
    recorded: () => pairs('SELECT product_id AS id, category_code AS category FROM categorizer.product_categories'),
    async written() {
      const found: Record<string, readonly pg.QueryResultRow[]> = {};
      for (const [name, table] of Object.entries(WRITTEN)) {
        found[name] = await rows(
          `SELECT t.*, t.xmin::text AS written_by FROM ${table} t ORDER BY t.product_id, t::text`,
        );
      }
      return found;
    },
    close: () => pool.end(),
    async drop() {
      await pool.end();
      await drop();
    },
  };
}

export interface ErpTemplate {
  /** A database of a test's own that holds the same. */
  copy(): Promise<Erp>;
  drop(): Promise<void>;
}

/** What many tests begin with is made once, and copied. */
export async function createErpTemplate(serverUrl: string, fill: (erp: Erp) => Promise<void>): Promise<ErpTemplate> {
  const erp = await createErp(serverUrl);
  await fill(erp);
  await erp.close();
  const name = nameOf(erp.env.DATABASE_URL);
  return {
    async copy() {
      const url = new URL(serverUrl);
      url.pathname = `${name}_${++copies}`;
      await query(serverUrl, `CREATE DATABASE ${nameOf(url.href)} TEMPLATE ${name}`);
      return openErp({
        url: url.href,
        drop: async () => void (await query(serverUrl, `DROP DATABASE ${nameOf(url.href)} WITH (FORCE)`)),
      });
    },
    drop: async () => void (await query(serverUrl, `DROP DATABASE ${name} WITH (FORCE)`)),
  };
}

let copies = 0;

function nameOf(url: string): string {
  return new URL(url).pathname.slice(1);
}
