import type { Client, Database } from './connection.ts';

/** Looks at a transaction so often while it may wait for locks. */
const LOOKS = 8;
const LEAST_INTERVAL_MS = 25;

/**
 * Bounds the waits for locks in the rest of a transaction: each by PostgreSQL's lock_timeout, and all of them together by
 * looking at the connection from another one. Without the second a statement that meets ten rows in ten transactions holds
 * all that it has written for ten times as long.
 *
 * @throws what `work` throws; where its waits were too long, an error with the SQLSTATE 55P03 or `CANCELLED`
 */
export async function withLockTimeout<T>(
  database: Database,
  client: Client,
  ms: number,
  work: () => Promise<T>,
): Promise<T> {
  const { rows } = await client.query<{ pid: number }>(
    `SELECT set_config('lock_timeout', $1, true), pg_backend_pid() AS pid`,
    [`${Math.ceil(ms)}ms`],
  );
  const watch = startWatch(database, rows[0].pid, ms);
  try {
    return await work();
  } finally {
    await watch.end();
  }
}

/** query_canceled: nobody else cancels in the middle of a slice. */
export const CANCELLED = '57014';

function startWatch(database: Database, pid: number, ms: number): { end(): Promise<void> } {
  const interval = Math.max(LEAST_INTERVAL_MS, ms / LOOKS);
  let waited = 0;
  let looking: Promise<void> | undefined;
  const timer = setInterval(() => {
    looking ??= look().finally(() => {
      looking = undefined;
    });
  }, interval);

  async function look(): Promise<void> {
    // A database that is away ends the transaction too; and lock_timeout goes on without a watch.
    const [found] = await database
      .query<{ waits: boolean }>(`SELECT wait_event_type = 'Lock' AS waits FROM pg_stat_activity WHERE pid = $1`, [pid])
      .catch(() => []);
    if (found?.waits) waited += interval;
    if (waited > ms) await database.query('SELECT pg_cancel_backend($1)', [pid]).catch(() => []);
  }

  return {
    async end() {
      clearInterval(timer);
      // A cancellation that is under way must not hit what comes next on this connection.
      await looking;
    },
  };
}
