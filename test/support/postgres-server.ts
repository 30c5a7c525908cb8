import { randomUUID } from 'node:crypto';
import pg from 'pg';

export { type PostgresServer, startPostgres } from '../../scripts/private-postgres.mjs';

export interface Database {
  readonly url: string;
  /** Removes it, and ends the connections to it. */
  drop(): Promise<void>;
}

/** A new, empty database on a running server. */
export async function createDatabase(serverUrl: string): Promise<Database> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await query(serverUrl, `CREATE DATABASE ${name}`);
  const url = new URL(serverUrl);
  url.pathname = name;
  return {
    url: url.href,
    drop: async () => void (await query(serverUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)),
  };
}

/** Rows of one query on a connection of its own. */
export async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  // A server that ends fails the query; a connection that it ends besides is nobody's concern.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
