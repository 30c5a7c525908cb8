/** What writes to the ERP, looked at before it is run, and explained where it fails. */
import pg from 'pg';
import { CategorizerError, type ErrorCode } from '../../domain/errors.ts';
import { askDatabase, type Client, sentenceOf } from './connection.ts';

/**
 * What the ERP's own statement reads: the changes of the slice, in its own transaction. `action` is `apply` or `revert`;
 * the category is null where a revert takes the first one away.
 */
export const CREATE_CHANGES = `
  CREATE TEMPORARY TABLE IF NOT EXISTS categorizer_changes (
    product_id text NOT NULL, category_code text, previous_category_code text, confidence real, run_id text NOT NULL,
    action text NOT NULL
  ) ON COMMIT DELETE ROWS`;

/** What PostgreSQL can read without running it; anything else (a CALL, several statements) is seen when it is run. */
const PREPARABLE = /^(\s|--.*\n|\/\*([^*]|\*(?!\/))*\*\/)*(with|select|insert|update|delete|merge)\b[^;]*$/i;

/** @throws CategorizerError `APPLY_SQL_FAILED` */
export async function prepareStatement(client: Client, applySql: string): Promise<void> {
  if (!PREPARABLE.test(applySql)) return;
  await client.query(CREATE_CHANGES);
  await explainWrite(OWN_STATEMENT, 'as it is', () => client.query(`PREPARE categorizer_check AS ${applySql}`));
  await client.query('DEALLOCATE categorizer_check');
}

interface Write {
  readonly code: ErrorCode;
  /** For a sentence that goes on with "failed". */
  readonly name: string;
}

export const OWN_STATEMENT: Write = { code: 'APPLY_SQL_FAILED', name: 'the statement of --apply-sql' };

/** @throws what the write says, in our words where PostgreSQL refused it; a lock or an outage as what it is */
export async function explainWrite<T>(
  { code, name }: Write,
  where: string | undefined,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } catch (thrown) {
    const explained = await askDatabase(() => Promise.reject(thrown)).catch((error: unknown) => error);
    if (!(thrown instanceof pg.DatabaseError)) throw explained;
    if (explained instanceof CategorizerError && explained.retryable) throw explained;
    throw new CategorizerError(code, `${name} failed${where === undefined ? '' : ` ${where}`}: ${sentenceOf(thrown)}`, {
      cause: thrown,
    });
  }
}
