import pg from 'pg';
import type { Logger } from '../../application/ports.ts';
import { CategorizerError, type ErrorCode, messageOf } from '../../domain/errors.ts';

const CONNECT_TIMEOUT_MS = 10_000;
/** One reads the catalogue while another writes the plan; the rest are for who looks at runs meanwhile. */
const MAX_CONNECTIONS = 5;

export type Client = pg.PoolClient;

export interface Database {
  /** One statement. @throws CategorizerError `DATABASE_…` */
  query<R extends pg.QueryResultRow>(sql: string, values?: readonly unknown[]): Promise<R[]>;
  /** All or nothing. @throws CategorizerError `DATABASE_…`, and what `work` throws */
  transaction<T>(work: (client: Client) => Promise<T>, mode?: string): Promise<T>;
  /** Safe to call twice. */
  close(): Promise<void>;
}

/** @param options.url `postgres://…`; may hold a password, which reaches no message */
export function openDatabase(options: { readonly url: string; readonly logger: Logger }): Database {
  const { url, logger } = options;
  const pool = new pg.Pool({
    connectionString: url,
    max: MAX_CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    application_name: 'categorizer',
    keepAlive: true,
    keepAliveInitialDelayMillis: CONNECT_TIMEOUT_MS,
  });
  // A connection that is lost while nothing is asked on it: whoever asks next gets the error, or a new connection.
  const lost = (error: Error) => logger.debug({ reason: error.message }, 'a database connection was lost');
  pool.on('error', lost);
  pool.on('connect', (client) => client.on('error', lost));
  let closing: Promise<void> | undefined;

  async function transaction<T>(work: (client: Client) => Promise<T>, mode = ''): Promise<T> {
    const client = await askDatabase(() => pool.connect());
    try {
      await askDatabase(() => client.query(`BEGIN ${mode}`));
      const result = await askDatabase(() => work(client));
      await askDatabase(() => client.query('COMMIT'));
      client.release();
      return result;
    } catch (error) {
      // Whatever state it is in (a COPY under way, say): the server rolls back what is not committed.
      client.release(true);
      throw error;
    }
  }

  return {
    query: async (sql, values) => (await askDatabase(() => pool.query(sql, values?.slice()))).rows,
    transaction,
    close() {
      closing ??= pool.end();
      return closing;
    },
  };
}

/**
 * Calls the database and explains what fails there; every other error travels on unchanged.
 *
 * @throws CategorizerError `DATABASE_UNAVAILABLE` (retryable), `DATABASE_REFUSED` or `DATABASE_NOT_MIGRATED`
 */
export async function askDatabase<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw explain(cause);
  }
}

/** Classes of SQLSTATE that pass: connection, resources, operator intervention, system errors, rolled back by others. */
const PASSING = /^(08|53|57|58|40|55P03|25P03)/;
/** A schema or table that is not there. */
const MISSING = /^(3F000|42P01)$/;

function explain(thrown: unknown): unknown {
  if (thrown instanceof CategorizerError || !(thrown instanceof Error)) return thrown;
  if (thrown instanceof pg.DatabaseError) {
    const { code = '', message } = thrown;
    if (PASSING.test(code)) return unavailable(thrown);
    if (MISSING.test(code) && message.includes('categorizer.')) {
      return new CategorizerError('DATABASE_NOT_MIGRATED', `${message}: run categorizer db migrate`, { cause: thrown });
    }
    return new CategorizerError('DATABASE_REFUSED', `PostgreSQL refused: ${sentenceOf(thrown)}`, { cause: thrown });
  }
  return isConnectionError(thrown) ? unavailable(thrown) : thrown;
}

/** What PostgreSQL says of an error, with its place in the statement and its hint; a whole row is not for a log. */
export function sentenceOf(error: pg.DatabaseError): string {
  const { message, code, detail, hint, where } = error;
  const shown = detail?.startsWith('Failing row contains') ? undefined : detail;
  return [`${message} (${code})`, shown, hint, where].filter(Boolean).join('; ');
}

function unavailable(cause: Error): CategorizerError {
  const code: ErrorCode = 'DATABASE_UNAVAILABLE';
  // A refused connection to several addresses has an empty message of its own.
  const inner = cause instanceof AggregateError ? cause.errors.map(messageOf).join('; ') : cause.message;
  const message = `PostgreSQL does not answer: ${inner} (see DATABASE_URL)`;
  return new CategorizerError(code, message, { retryable: true, cause });
}

/** System errors of the socket, and those of pg that have nothing but their message. */
function isConnectionError(error: Error): boolean {
  return (
    'syscall' in error ||
    error instanceof AggregateError ||
    /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed|The server does not support SSL)/i.test(
      error.message,
    )
  );
}

/** The constraint that an error of `askDatabase` says was violated. */
export function violatedBy(error: unknown): string | undefined {
  const cause = error instanceof CategorizerError ? error.options.cause : undefined;
  return cause instanceof pg.DatabaseError ? cause.constraint : undefined;
}
