import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import type { Logger } from '../../application/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { askDatabase, type Database, openDatabase } from './connection.ts';

/** The same depth below the package's root in src and in dist. */
const DIRECTORY = fileURLToPath(new URL('../../../migrations/', import.meta.url));
const SCHEMA = 'categorizer';
const TABLE = 'migrations';

/**
 * Brings the tables of this program to this version, in one transaction. Others that migrate meanwhile wait.
 *
 * @param options.dryRun changes nothing
 * @returns the names of the migrations that were, or would be, applied
 */
export async function migrate(options: {
  readonly url: string;
  readonly dryRun: boolean;
  readonly logger: Logger;
}): Promise<readonly string[]> {
  const { url, dryRun, logger } = options;
  const database = openDatabase({ url, logger });
  const [missing, schemaExists] = await Promise.all([findMissing(database), hasSchema(database)]).finally(
    database.close,
  );
  // With nothing to do it needs no right to make a schema, and every start of a container may ask for it.
  if (dryRun || missing.length === 0) return missing;
  const applied = await askDatabase(() =>
    runner({
      databaseUrl: { connectionString: url, application_name: 'categorizer db migrate' },
      dir: DIRECTORY,
      direction: 'up',
      schema: SCHEMA,
      // Where somebody made it for the owner of the tables, that role needs no right to make schemas.
      createSchema: !schemaExists,
      migrationsSchema: SCHEMA,
      createMigrationsSchema: !schemaExists,
      migrationsTable: TABLE,
      singleTransaction: true,
      advisoryLockMode: 'wait',
      logger: {
        debug: () => undefined,
        info: () => undefined,
        warn: (message) => logger.warn({}, message),
        // The error that is thrown says the same.
        error: (message) => logger.debug({}, message),
      },
    }),
  );
  return applied.map(({ name }) => name);
}

/** @throws CategorizerError `DATABASE_NOT_MIGRATED` */
export async function checkMigrated(database: Database): Promise<void> {
  const missing = await findMissing(database);
  if (missing.length === 0) return;
  const message = `the database lacks ${missing.join(', ')} of this program's tables: run categorizer db migrate`;
  throw new CategorizerError('DATABASE_NOT_MIGRATED', message);
}

async function hasSchema(database: Database): Promise<boolean> {
  const [{ exists }] = await database.query<{ exists: boolean }>('SELECT to_regnamespace($1) IS NOT NULL AS exists', [
    SCHEMA,
  ]);
  return exists;
}

/** Migrations of this version that were not applied, in their order. */
async function findMissing(database: Database): Promise<string[]> {
  const files = await readdir(DIRECTORY);
  const names = files.map((file) => file.replace(/\.sql$/, '')).sort();
  const [{ exists }] = await database.query<{ exists: boolean }>('SELECT to_regclass($1) IS NOT NULL AS exists', [
    `${SCHEMA}.${TABLE}`,
  ]);
  if (!exists) return names;
  const applied = await database.query<{ name: string }>(`SELECT name FROM ${SCHEMA}.${TABLE}`);
  return names.filter((name) => !applied.some((row) => row.name === name));
}
