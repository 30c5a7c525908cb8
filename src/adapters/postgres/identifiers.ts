import pg from 'pg';

export const quoteIdentifier = pg.escapeIdentifier;

/** @param name `name` or `schema.name`, as it stands in the database */
export function quoteTable(name: string): string {
  return name.split('.').map(quoteIdentifier).join('.');
}
