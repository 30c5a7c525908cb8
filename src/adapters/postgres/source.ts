/** The source of the catalogue, as SQL. */
import pg from 'pg';
import { CategorizerError } from '../../domain/errors.ts';
import type { SourceSettings } from '../../domain/run.ts';
import type { Client } from './connection.ts';
import { quoteIdentifier, quoteTable } from './identifiers.ts';

/** What it can be selected from. */
export function relationOf({ sql, table }: SourceSettings): string {
  // On a line of its own: a comment at the end of the query must not swallow it.
  return table === undefined ? `(${sql}\n)` : quoteTable(table);
}

/** The columns of a query on the source, and the oids of their types, without its rows. @throws `SOURCE_INVALID` */
export async function describeQuery(
  client: Client,
  source: SourceSettings,
  query: string,
): Promise<ReadonlyMap<string, number>> {
  // The extended protocol takes one statement: none can end the query, and the transaction, and begin its own.
  const extended: pg.QueryConfig & { readonly queryMode: 'extended' } = {
    text: `${query} LIMIT 0`,
    queryMode: 'extended',
  };
  try {
    const { fields } = await readSource(source, () => client.query(extended));
    return new Map(fields.map(({ name, dataTypeID }) => [name, dataTypeID]));
  } catch (cause) {
    if (!(cause instanceof pg.DatabaseError) || !/^(42|22|0A|08P01)/.test(cause.code ?? '')) throw cause;
    const message = `the source (${optionOf(source)}) cannot be read: ${cause.message}`;
    throw new CategorizerError('SOURCE_INVALID', message, { cause });
  }
}

/** SQLSTATE of what tries to write in a READ ONLY transaction. */
const WRITES = '25006';

/** Calls what reads rows of the source. @throws CategorizerError `SOURCE_INVALID` where reading it would write */
export async function readSource<T>(source: SourceSettings, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (thrown) {
    throw explainSource(source, thrown);
  }
}

/** @returns `SOURCE_INVALID` for a source that tries to write, and everything else as it is */
export function explainSource(source: SourceSettings, thrown: unknown): unknown {
  if (!(thrown instanceof pg.DatabaseError) || thrown.code !== WRITES) return thrown;
  const message = `the source (${optionOf(source)}) tries to write, and it is only ever read: ${thrown.message}`;
  return new CategorizerError('SOURCE_INVALID', message, { cause: thrown });
}

function optionOf({ table }: SourceSettings): string {
  return table === undefined ? '--source-sql' : '--source-table';
}

/** Where the category of a product stands: the source, its columns, and their types as SQL has them. */
export interface CategoryColumn {
  readonly source: SourceSettings;
  /** An SQL expression of the alias `s`. */
  readonly category: string;
  /** Without a length: a value that is too long must fail, and not be cut. */
  readonly categoryType: string;
  /** A condition that the row of the alias `s` is that of `productId`, an SQL expression; it can use an index. */
  isRowOf(productId: string): string;
}

/** @throws CategorizerError `SOURCE_INVALID` where it is not there */
export async function findCategoryColumn(client: Client, source: SourceSettings): Promise<CategoryColumn> {
  const { idColumn, categoryColumn = '' } = source;
  const columns = await describeQuery(client, source, `SELECT s.* FROM ${relationOf(source)} s`);
  const oids = [idColumn, categoryColumn].map((name) => columnOf(columns, name));
  const { rows } = await client.query<{ id: string; category: string }>(
    'SELECT format_type($1, -1) AS id, format_type($2, -1) AS category',
    oids,
  );
  const id = `s.${quoteIdentifier(idColumn)}`;
  return {
    source,
    category: `s.${quoteIdentifier(categoryColumn)}`,
    categoryType: rows[0].category,
    isRowOf: (productId) => `(${id} = ${productId}::${rows[0].id} AND ${id}::text = ${productId})`,
  };
}

/** @throws CategorizerError `SOURCE_INVALID` */
export function columnOf(columns: ReadonlyMap<string, number>, name: string): number {
  const oid = columns.get(name);
  if (oid !== undefined) return oid;
  throw new CategorizerError(
    'SOURCE_INVALID',
    `the source has no column ${JSON.stringify(name)}; it has ${[...columns.keys()].map((column) => JSON.stringify(column)).join(', ')} (see --id-column, --feature-columns, --category-column)`,
  );
}
