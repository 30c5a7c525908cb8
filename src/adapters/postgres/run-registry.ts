import type { Run, RunRegistry } from '../../application/recategorization/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { isWorking, type RunState } from '../../domain/run.ts';
import { type Client, type Database, violatedBy } from './connection.ts';

const COLUMNS = `r.id, r.name, r.state, r.state_since, r.settings, r.created_at, r.locked_since, r.counts, r.applied, r.holds,
  r.decided_by, r.finished_at, r.revert_started_at, r.reverted_at, r.failed_in, r.error_code, r.error_message,
  m.version AS model_version, m.sha256 AS model_sha256, m.categories AS model_categories`;
const FROM = 'FROM categorizer.runs r JOIN categorizer.models m ON m.id = r.model_id';

/** A row of `categorizer.runs` with its model. */
interface RunRow {
  readonly id: string;
  readonly name: string;
  readonly state: RunState;
  readonly state_since: Date;
  readonly settings: Run['settings'];
  readonly created_at: Date;
  readonly locked_since: Date | null;
  readonly counts: Run['counts'] | null;
  readonly applied: Run['applied'] | null;
  readonly holds: Run['holds'] | null;
  readonly decided_by: string | null;
  readonly finished_at: Date | null;
  readonly revert_started_at: Date | null;
  readonly reverted_at: Date | null;
  readonly failed_in: RunState | null;
  readonly error_code: string | null;
  readonly error_message: string | null;
  readonly model_version: string;
  readonly model_sha256: string;
  readonly model_categories: readonly string[];
}

export function createRunRegistry(database: Database): RunRegistry {
  async function find(where: string, values: readonly unknown[]): Promise<Run[]> {
    const rows = await database.query<RunRow>(`SELECT ${COLUMNS} ${FROM} ${where}`, values);
    return rows.map(toRun);
  }

  const get = async (id: string): Promise<Run | undefined> => (await find('WHERE r.id = $1', [id]))[0];
  const locked = async (): Promise<Run | undefined> => (await find('WHERE r.locked_since IS NOT NULL', []))[0];

  async function takingLock<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const constraint = violatedBy(error);
      if (constraint === 'runs_one_at_a_time') throw runLocked(await locked());
      throw error;
    }
  }

  return {
    get,
    locked,
    list: ({ limit, name }) =>
      find('WHERE $2::text IS NULL OR r.name = $2 ORDER BY r.created_at DESC, r.id LIMIT $1', [limit, name ?? null]),

    async create({ id, name, settings, model }) {
      const { version, sha256, categories } = model;
      const codes = categories.map(({ code }) => code);
      try {
        await takingLock(() =>
          database.transaction(async (client) => {
            const modelId = await findModel(client, version, sha256, codes);
            await client.query(
              `INSERT INTO categorizer.runs (id, name, state, settings, model_id, locked_since)
               VALUES ($1, $2, 'planned', $3, $4, now())`,
              [id, name, settings, modelId],
            );
          }),
        );
      } catch (error) {
        if (violatedBy(error) !== 'runs_pkey') throw error;
        const taken = await get(id);
        const what = taken ? `it is ${taken.state} since ${taken.stateSince.toISOString()}` : 'it was just made';
        throw new CategorizerError('RUN_CONFLICT', `there is a run ${id} already: ${what}; name another with --run`);
      }
      const run = await get(id);
      if (!run) throw new CategorizerError('RUN_NOT_FOUND', `the run ${id} is gone`);
      return run;
    },

    async change(id, from, to, change = {}) {
      const { holds, decidedBy, failure } = change;
      const holdsLock = isWorking(to) || to === 'awaiting_approval';
      const rows = await takingLock(() =>
        database.query(
          `UPDATE categorizer.runs SET state = $3, state_since = now(),
             locked_since = CASE WHEN $4 THEN coalesce(locked_since, now()) END,
             finished_at = CASE WHEN $4 THEN NULL ELSE now() END,
             holds = coalesce($5, holds), decided_by = coalesce($6, decided_by),
             failed_in = $7, error_code = $8, error_message = $9
           WHERE id = $1 AND state = ANY($2) AND revert_started_at IS NULL RETURNING id`,
          [
            ...[id, from, to, holdsLock, holds === undefined ? null : JSON.stringify(holds), decidedBy ?? null],
            ...[failure?.state ?? null, failure?.code ?? null, failure?.message ?? null],
          ],
        ),
      );
      return rows.length > 0;
    },

    async setApplySql(id, applySql) {
      await database.query(
        `UPDATE categorizer.runs SET settings = (settings - 'apply') || jsonb_build_object('applySql', $2::text)
         WHERE id = $1`,
        [id, applySql],
      );
    },
  };
}

/** @returns the id of a model that is known from now on */
async function findModel(client: Client, version: string, sha256: string, codes: readonly string[]): Promise<number> {
  const values = [version, sha256, codes];
  await client.query(
    'INSERT INTO categorizer.models (version, sha256, categories) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING',
    values,
  );
  const { rows } = await client.query<{ id: number }>(
    'SELECT id FROM categorizer.models WHERE version = $1 AND sha256 = $2 AND categories = $3',
    values,
  );
  return rows[0].id;
}

/** Names who holds the lock, since when, and how it is given free. */
export function runLocked(holder: Run | undefined): CategorizerError {
  if (!holder) return new CategorizerError('RUN_LOCKED', 'another run was under way: try again');
  const { id, state, lockedSince } = holder;
  const since = lockedSince?.toISOString() ?? 'just now';
  const holding = `run ${id} holds the lock since ${since}`;
  if (state === 'awaiting_approval') {
    const advice = `look with categorizer runs show ${id}, then runs approve ${id} or runs reject ${id}`;
    return new CategorizerError('RUN_LOCKED', `${holding} and waits for approval: ${advice}`);
  }
  if (isWorking(state)) {
    const advice = `categorizer runs resume ${id} goes on with it, runs cancel ${id} gives it up before it is applied`;
    return new CategorizerError('RUN_LOCKED', `${holding} and is ${state}: ${advice}`);
  }
  return new CategorizerError(
    'RUN_LOCKED',
    `${holding} and is being reverted: finish with categorizer runs revert ${id}`,
  );
}

function toRun(row: RunRow): Run {
  const { failed_in: state, error_code: code, error_message: message } = row;
  return {
    id: row.id,
    name: row.name,
    state: row.state,
    stateSince: row.state_since,
    settings: row.settings,
    model: { version: row.model_version, sha256: row.model_sha256, categories: row.model_categories },
    createdAt: row.created_at,
    lockedSince: row.locked_since ?? undefined,
    counts: row.counts ?? undefined,
    applied: row.applied ?? undefined,
    holds: row.holds ?? undefined,
    decidedBy: row.decided_by ?? undefined,
    finishedAt: row.finished_at ?? undefined,
    revertStartedAt: row.revert_started_at ?? undefined,
    revertedAt: row.reverted_at ?? undefined,
    ...(state !== null && { failure: { state, code: code ?? '', message: message ?? '' } }),
  };
}
