/** What applying and reverting have in common: one transaction for a part of a slice. */
import pg from 'pg';
import type { SlicePart, WriteOutcome } from '../../application/recategorization/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { DEFAULT_LOCK_TIMEOUT_MS, type RunSettings } from '../../domain/run.ts';
import type { Client, Database } from './connection.ts';
import { createFindings } from './erp-writer.ts';
import { CANCELLED, withLockTimeout } from './lock-watch.ts';

export interface RunRow {
  readonly settings: RunSettings;
  readonly modelId: number;
}

/** Its row stays as it is until the transaction ends. @throws CategorizerError `RUN_STATE` where it is not `condition` */
export async function readRun(
  client: Client,
  runId: string,
  condition: string,
  lock: 'SHARE' | 'NO KEY UPDATE',
): Promise<RunRow> {
  const { rows } = await client.query<{ settings: RunSettings; modelId: number }>(
    `SELECT settings, model_id AS "modelId" FROM categorizer.runs WHERE id = $1 AND ${condition} FOR ${lock}`,
    [runId],
  );
  if (rows.length > 0) return rows[0];
  throw new CategorizerError('RUN_STATE', `the state of run ${runId} was changed meanwhile`, { retryable: true });
}

/** Rolls a transaction back whose statement touched fewer rows than it should. */
class ShortWrite extends Error {}

/** @param work throws what `tooShort` makes to take everything back */
export async function writeInTransaction(
  database: Database,
  work: (client: Client) => Promise<void>,
): Promise<WriteOutcome> {
  try {
    await database.transaction(work);
    return 'written';
  } catch (error) {
    if (error instanceof ShortWrite) return 'short';
    if (isLocked(error)) return 'locked';
    throw error;
  }
}

export function tooShort(): Error {
  return new ShortWrite();
}

/** Does what may wait for rows of others: the transaction has the tables that a write needs, and waits only so long. */
export async function writeRows(
  database: Database,
  client: Client,
  { settings, part }: { readonly settings: RunSettings; readonly part: SlicePart | undefined },
  work: () => Promise<void>,
): Promise<void> {
  await createFindings(client);
  const timeout = settings.lockTimeoutMs ?? DEFAULT_LOCK_TIMEOUT_MS;
  const ms = part?.hasty ? Math.min(timeout, Math.max(LEAST_TIMEOUT_MS, timeout / 20)) : timeout;
  await withLockTimeout(database, client, ms, work);
}

const LEAST_TIMEOUT_MS = 50;
/** lock_not_available, and deadlock_detected: smaller steps get past both. */
const LOCKED = new Set(['55P03', '40P01', CANCELLED]);

function isLocked(error: unknown): boolean {
  const cause = error instanceof CategorizerError ? error.options.cause : undefined;
  return cause instanceof pg.DatabaseError && LOCKED.has(cause.code ?? '');
}
