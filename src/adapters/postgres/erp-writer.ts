/** Writes the changes of a slice to the ERP, and finds out which of them are there afterwards. */
import type { RunSettings } from '../../domain/run.ts';
import type { Client } from './connection.ts';
import { CREATE_CHANGES, explainWrite, OWN_STATEMENT } from './erp-statement.ts';
import { explainOwnWrite, findOwnColumn, updateOf } from './own-column.ts';
import { type CategoryColumn, findCategoryColumn, readSource, relationOf } from './source.ts';

/** What of the changes is not written, and what the ERP had before and has after the write. */
const CREATE_FINDINGS = `
  ${CREATE_CHANGES};
  CREATE TEMPORARY TABLE IF NOT EXISTS categorizer_unwritten (product_id text NOT NULL, reason text, found_category text)
    ON COMMIT DELETE ROWS;
  CREATE TEMPORARY TABLE IF NOT EXISTS categorizer_before (product_id text NOT NULL, category text) ON COMMIT DELETE ROWS;
  CREATE TEMPORARY TABLE IF NOT EXISTS categorizer_after (product_id text NOT NULL, category text) ON COMMIT DELETE ROWS`;

export interface Written {
  /** `short`: fewer rows were touched than there are changes, and only a smaller part shows which: roll back. */
  readonly outcome: 'written' | 'short';
  /** Rows beyond the changes that nobody can explain. */
  readonly excessRows: number;
}

const WRITTEN: Written = { outcome: 'written', excessRows: 0 };
const SHORT: Written = { outcome: 'short', excessRows: 0 };

export async function createFindings(client: Client): Promise<void> {
  await client.query(CREATE_FINDINGS);
}

/**
 * Writes what is in `categorizer_changes`; what is not there afterwards is in `categorizer_unwritten` then.
 *
 * @param changes how many there are
 * @throws CategorizerError `APPLY_SQL_FAILED`, `APPLY_FAILED`, `SOURCE_INVALID`
 */
export async function writeChanges(
  client: Client,
  settings: Pick<RunSettings, 'source' | 'apply' | 'applySql'>,
  { changes, slice }: { readonly changes: number; readonly slice: number },
): Promise<Written> {
  if (settings.apply) return applyColumn(client, settings, slice);
  const { source, applySql } = settings;
  if (applySql === undefined) return WRITTEN;
  const column = source.categoryColumn === undefined ? undefined : await findCategoryColumn(client, source);
  const table = source.table === undefined ? undefined : column;
  if (table) await readColumn(client, table, 'categorizer_before', 'categorizer_changes');
  const touched = rowsOf(await explainWrite(OWN_STATEMENT, `on slice ${slice}`, () => client.query(applySql)));
  const short = touched !== undefined && touched < changes;
  if (table) {
    await readColumn(client, table, 'categorizer_after', 'categorizer_changes');
    // What it touched is not this column, as of a view that is refreshed later: only the number of rows tells.
    if (short && touched > 0 && changes > 1 && !(await isWrittenAnywhere(client))) return SHORT;
    await client.query(compareSql({ knowsBefore: true }), [short]);
    return WRITTEN;
  }
  if (short) {
    if (changes > 1) return SHORT;
    await client.query(`INSERT INTO categorizer_unwritten SELECT product_id, 'untouched' FROM categorizer_changes`);
    if (column) await findReasons(client, column);
    return WRITTEN;
  }
  if (!column) return { outcome: 'written', excessRows: Math.max(0, (touched ?? changes) - changes) };
  if (touched !== changes) {
    await readColumn(client, column, 'categorizer_after', 'categorizer_changes');
    await client.query(compareSql({ knowsBefore: false }), [false]);
  }
  return WRITTEN;
}

async function applyColumn(client: Client, { source }: Pick<RunSettings, 'source'>, slice: number): Promise<Written> {
  const { column, returnsWhatItWrote } = await findOwnColumn(client, source);
  const write = (sql: string) => explainOwnWrite(source, `on slice ${slice}`, () => client.query(sql));
  if (!returnsWhatItWrote) {
    await readColumn(client, column, 'categorizer_before', 'categorizer_changes');
    await write(updateOf(column));
    await readColumn(client, column, 'categorizer_after', 'categorizer_changes');
    await client.query(compareSql({ knowsBefore: true }), [true]);
    return WRITTEN;
  }
  // A trigger may have made something else of it.
  const { rowCount } = await write(`
    WITH written AS (${updateOf(column)} RETURNING c.product_id, ${column.category}::text AS category)
    INSERT INTO categorizer_unwritten
    SELECT c.product_id, 'untouched' FROM categorizer_changes c
    LEFT JOIN written w ON w.product_id = c.product_id AND w.category IS NOT DISTINCT FROM c.category_code
    WHERE w.product_id IS NULL`);
  if (rowCount) await findReasons(client, column);
  return WRITTEN;
}

/** Rows that one UPDATE or MERGE touched; of anything else the number says nothing. */
function rowsOf(result: unknown): number | undefined {
  if (Array.isArray(result)) return undefined;
  const { command, rowCount } = result as { command: string; rowCount: number | null };
  return command === 'UPDATE' || command === 'MERGE' ? (rowCount ?? undefined) : undefined;
}

/** Reads the categories of these products as they are now. READ ONLY, as every look at the source. */
async function readColumn(
  client: Client,
  { source, category, isRowOf }: CategoryColumn,
  into: 'categorizer_before' | 'categorizer_after',
  of: 'categorizer_changes' | 'categorizer_unwritten',
): Promise<void> {
  await client.query('SAVEPOINT categorizer_read; SET TRANSACTION READ ONLY');
  await readSource(source, () =>
    client.query(`INSERT INTO ${into} SELECT DISTINCT ON (c.product_id) c.product_id, ${category}::text
      FROM ${of} c JOIN ${relationOf(source)} s ON ${isRowOf('c.product_id')}`),
  );
  await client.query('RELEASE categorizer_read');
}

async function isWrittenAnywhere(client: Client): Promise<boolean> {
  const { rowCount } = await client.query(`
    SELECT FROM categorizer_changes c JOIN categorizer_after a ON a.product_id = c.product_id
    JOIN categorizer_before b ON b.product_id = c.product_id
    WHERE a.category IS NOT DISTINCT FROM c.category_code AND b.category IS DISTINCT FROM c.category_code LIMIT 1`);
  return rowCount === 1;
}

/** For what is known to be unwritten: why, and what the ERP has. */
async function findReasons(client: Client, column: CategoryColumn): Promise<void> {
  await readColumn(client, column, 'categorizer_after', 'categorizer_unwritten');
  await client.query(`
    UPDATE categorizer_unwritten u SET found_category = a.category, reason = CASE
      WHEN a.product_id IS NULL THEN 'gone'
      WHEN a.category IS DISTINCT FROM c.previous_category_code THEN 'changed'
      ELSE 'untouched' END
    FROM categorizer_changes c LEFT JOIN categorizer_after a ON a.product_id = c.product_id
    WHERE u.product_id = c.product_id`);
}

/**
 * Compares the column with what was to be written ($1: whether something is known to be missing). What has neither the new
 * nor the former category was changed by somebody else, and so was what had the new one before. What still has the former
 * one is unwritten where the statement does write this column, be it for another product of the slice: one that only puts
 * the changes into an inbox of the ERP is believed. A product that was there before and is not any more left the source by
 * what was written ("WHERE category IS NULL").
 */
function compareSql({ knowsBefore }: { readonly knowsBefore: boolean }): string {
  const before = knowsBefore
    ? 'categorizer_before'
    : '(SELECT product_id, previous_category_code AS category FROM categorizer_changes)';
  return `
    WITH found AS (
      SELECT c.product_id, c.category_code AS wanted, c.previous_category_code AS seen, b.product_id IS NOT NULL AS was_there,
        a.product_id IS NOT NULL AS is_there, b.category AS before, a.category AS after
      FROM categorizer_changes c
      LEFT JOIN ${before} b ON b.product_id = c.product_id
      LEFT JOIN categorizer_after a ON a.product_id = c.product_id
    ), unwritten AS (
      SELECT product_id, after, CASE
        WHEN NOT was_there THEN 'gone'
        WHEN before IS NOT DISTINCT FROM wanted THEN 'changed'
        WHEN NOT is_there OR after IS NOT DISTINCT FROM wanted THEN NULL
        WHEN after IS DISTINCT FROM seen THEN 'changed'
        WHEN $1::boolean OR (SELECT bool_or(is_there AND after IS NOT DISTINCT FROM wanted
          AND before IS DISTINCT FROM wanted) FROM found) THEN 'untouched' END AS reason
      FROM found
    )
    INSERT INTO categorizer_unwritten SELECT product_id, reason, after FROM unwritten WHERE reason IS NOT NULL`;
}
