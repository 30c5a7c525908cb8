/** The program's own write of the ERP's category column (--apply): compare and set. */
import pg from 'pg';
import { CategorizerError } from '../../domain/errors.ts';
import type { SourceSettings } from '../../domain/run.ts';
import type { Client } from './connection.ts';
import { CREATE_CHANGES, explainWrite } from './erp-statement.ts';
import { quoteIdentifier, quoteTable } from './identifiers.ts';
import { type CategoryColumn, findCategoryColumn } from './source.ts';

/** How the rows that an update touched become known. */
export interface OwnColumn {
  readonly column: CategoryColumn;
  /**
   * Of a view, or a table with rules, what an update returns is what those make of it, if it returns anything: there the
   * column must be read before and after it.
   */
  readonly returnsWhatItWrote: boolean;
}

export async function findOwnColumn(client: Client, source: SourceSettings): Promise<OwnColumn> {
  const column = await findCategoryColumn(client, source);
  const { rows } = await client.query<{ plain: boolean }>(
    `SELECT c.relkind <> 'v' AND NOT EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '2') AS plain
     FROM pg_class c WHERE c.oid = to_regclass($1)`,
    [quoteTable(source.table ?? '')],
  );
  return { column, returnsWhatItWrote: rows[0]?.plain ?? false };
}

/** Sets the column for the changes whose category is still the one that the run saw, as text has it. */
export function updateOf({ source, category, categoryType, isRowOf }: CategoryColumn): string {
  return `UPDATE ${quoteTable(source.table ?? '')} s SET ${quoteIdentifier(source.categoryColumn ?? '')} = c.category_code::${categoryType}
    FROM categorizer_changes c
    WHERE ${isRowOf('c.product_id')} AND ${category}::text IS NOT DISTINCT FROM c.previous_category_code`;
}

function writeOf({ table, categoryColumn }: SourceSettings) {
  const name = `writing column ${JSON.stringify(categoryColumn)} of ${table} (--apply)`;
  return { code: 'APPLY_FAILED', name } as const;
}

/** @param where a place for the sentence, as `on slice 3`, if there is one. @throws CategorizerError `APPLY_FAILED` */
export function explainOwnWrite<T>(
  source: SourceSettings,
  where: string | undefined,
  run: () => Promise<T>,
): Promise<T> {
  return explainWrite(writeOf(source), where, run);
}

/**
 * Looks whether the role may write the column, and whether each category comes out of it as it went in.
 *
 * @throws CategorizerError `APPLY_FAILED`, `SOURCE_INVALID`
 */
export async function checkOwnColumn(
  client: Client,
  source: SourceSettings,
  categories: readonly string[],
): Promise<void> {
  const { column } = await findOwnColumn(client, source);
  await client.query(CREATE_CHANGES);
  // Plans it, and so looks at the rights, without running it.
  await explainOwnWrite(source, undefined, () => client.query(`EXPLAIN ${updateOf(column)}`));
  const { rows } = await client.query<{ type: string }>(
    `SELECT format_type(atttypid, atttypmod) AS type FROM pg_attribute
     WHERE attrelid = to_regclass($1) AND attname = $2 AND attnum > 0 AND NOT attisdropped`,
    [quoteTable(source.table ?? ''), source.categoryColumn],
  );
  const { type } = rows[0];
  for (const code of categories) {
    const kept = await client.query<{ kept: boolean }>(`SELECT $1::text::${type}::text = $1 AS kept`, [code]).then(
      (found) => found.rows[0].kept,
      (error: unknown) => explainUnfit(error),
    );
    if (kept === true) continue;
    const why = kept === false ? 'it would come out as another text' : kept;
    const message = `column ${JSON.stringify(source.categoryColumn)} of ${source.table} (${type}) cannot hold the category ${JSON.stringify(code)}: ${why}`;
    throw new CategorizerError('APPLY_FAILED', message);
  }
}

function explainUnfit(error: unknown): string {
  if (error instanceof pg.DatabaseError && /^(22|23|42846)/.test(error.code ?? '')) return error.message;
  throw error;
}
