import pg from 'pg';
import { findRun } from '../../application/recategorization/find-run.ts';
import type { CategoryStore } from '../../application/recategorization/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { askDatabase, type Client, type Database, sentenceOf, violatedBy } from './connection.ts';
import { createRunRegistry, runLocked } from './run-registry.ts';

/**
 * What the ERP's own statement reads: the changes of the slice, in its own transaction. `action` is `apply` or `revert`;
 * the category is null where a revert takes the first one away.
 */
const CREATE_CHANGES = `
  CREATE TEMPORARY TABLE IF NOT EXISTS categorizer_changes (
    product_id text NOT NULL, category_code text, previous_category_code text, confidence real, run_id text NOT NULL,
    action text NOT NULL
  ) ON COMMIT DELETE ROWS`;

/**
 * A person's word wins: a decision that came after the plan holds the model's category back, and one that was taken back
 * or changed is not applied. The next run looks at those products again.
 */
const STANDS = `CASE WHEN s.decided_by IS NULL
  THEN NOT EXISTS (SELECT FROM categorizer.reviews r WHERE r.product_id = s.product_id AND r.decided_category IS NOT NULL)
  ELSE EXISTS (SELECT FROM categorizer.reviews r WHERE r.product_id = s.product_id AND r.decided_category = s.category_code)
  END`;

const FIND_CHANGES = `
  INSERT INTO categorizer_changes
  SELECT s.product_id, s.category_code, s.current_category, s.confidence, $1, 'apply' FROM categorizer.staged s
  WHERE s.slice = $2 AND s.review_features IS NULL AND s.category_code IS DISTINCT FROM s.current_category AND ${STANDS}`;

const REMEMBER_CHANGES = `
  INSERT INTO categorizer.history (product_id, run_id, action, slice, old_category, new_category, old_confidence,
    new_confidence, old_model_id, new_model_id, old_run_id, decided_by)
  SELECT s.product_id, $1, 'apply', $2, s.current_category, s.category_code, p.confidence, s.confidence, p.model_id,
    CASE WHEN s.decided_by IS NULL THEN $3::integer END, p.run_id, s.decided_by
  FROM categorizer_changes c
  JOIN categorizer.staged s ON s.slice = $2 AND s.product_id = c.product_id
  LEFT JOIN categorizer.product_categories p ON p.product_id = c.product_id`;

/** A category that stays as it is keeps the run that set it. */
const SET_CATEGORIES = `
  INSERT INTO categorizer.product_categories AS p
    (product_id, category_code, confidence, model_id, run_id, changed_at, input_hash)
  SELECT s.product_id, s.category_code, s.confidence, CASE WHEN s.decided_by IS NULL THEN $3::integer END,
    CASE WHEN s.category_code IS DISTINCT FROM s.current_category THEN $1 END,
    CASE WHEN s.category_code IS DISTINCT FROM s.current_category THEN now() END, s.input_hash
  FROM categorizer.staged s WHERE s.slice = $2 AND s.review_features IS NULL AND ${STANDS}
  ON CONFLICT (product_id) DO UPDATE SET
    category_code = excluded.category_code, confidence = excluded.confidence, model_id = excluded.model_id,
    input_hash = excluded.input_hash,
    run_id = CASE WHEN excluded.run_id IS NULL AND p.category_code = excluded.category_code
      THEN p.run_id ELSE excluded.run_id END,
    changed_at = CASE WHEN excluded.run_id IS NULL AND p.category_code = excluded.category_code
      THEN p.changed_at ELSE excluded.changed_at END`;

/** What a person is asked about was categorized all the same: with the same input it is not asked about again. */
const REMEMBER_INPUTS = `
  INSERT INTO categorizer.product_categories (product_id, category_code, input_hash)
  SELECT s.product_id, s.current_category, s.input_hash
  FROM categorizer.staged s WHERE s.slice = $1 AND s.review_features IS NOT NULL AND ${STANDS}
  ON CONFLICT (product_id) DO UPDATE SET input_hash = excluded.input_hash`;

const ASK_FOR_REVIEWS = `
  INSERT INTO categorizer.reviews
    (product_id, run_id, model_id, proposed_category, confidence, current_category, features)
  SELECT s.product_id, $1, $3, s.category_code, s.confidence, s.current_category, s.review_features
  FROM categorizer.staged s WHERE s.slice = $2 AND s.review_features IS NOT NULL
  ON CONFLICT (product_id) DO UPDATE SET run_id = excluded.run_id, model_id = excluded.model_id,
    proposed_category = excluded.proposed_category, confidence = excluded.confidence,
    current_category = excluded.current_category, features = excluded.features
  WHERE reviews.decided_category IS NULL`;

/** The model is sure by now. */
const CLOSE_REVIEWS = `
  DELETE FROM categorizer.reviews r USING categorizer.staged s
  WHERE s.slice = $1 AND s.review_features IS NULL AND r.product_id = s.product_id AND r.decided_category IS NULL`;

/**
 * What was not changed since by another run. What a person decided stays decided, and what a person has found right since:
 * the next run would set it again.
 */
const FIND_REVERTS = `
  INSERT INTO categorizer_changes
  SELECT h.product_id, h.old_category, h.new_category, h.old_confidence, $1, 'revert'
  FROM categorizer.history h JOIN categorizer.product_categories p ON p.product_id = h.product_id
  WHERE h.run_id = $1 AND h.slice = $2 AND h.action = 'apply' AND h.decided_by IS NULL AND p.run_id = $1
    AND NOT EXISTS (SELECT FROM categorizer.reviews r
      WHERE r.product_id = h.product_id AND r.decided_category = h.new_category)`;

const REMEMBER_REVERTS = `
  INSERT INTO categorizer.history (product_id, run_id, action, slice, old_category, new_category, old_confidence,
    new_confidence, old_model_id, new_model_id, old_run_id)
  SELECT h.product_id, $1, 'revert', $2, h.new_category, h.old_category, h.new_confidence, h.old_confidence,
    h.new_model_id, h.old_model_id, $1
  FROM categorizer_changes c
  JOIN categorizer.history h ON h.product_id = c.product_id AND h.run_id = $1 AND h.action = 'apply'`;

const RESTORE_CATEGORIES = `
  UPDATE categorizer.product_categories p SET category_code = h.old_category, confidence = h.old_confidence,
    model_id = h.old_model_id, run_id = h.old_run_id, changed_at = now()
  FROM categorizer_changes c
  JOIN categorizer.history h ON h.product_id = c.product_id AND h.run_id = $1 AND h.action = 'apply'
  WHERE p.product_id = c.product_id`;

/** What PostgreSQL can read without running it; anything else (a CALL, several statements) is seen when it is run. */
const PREPARABLE = /^(\s|--.*\n|\/\*([^*]|\*(?!\/))*\*\/)*(with|select|insert|update|delete|merge)\b[^;]*$/i;

export function createCategoryStore(database: Database): CategoryStore {
  const registry = createRunRegistry(database);

  return {
    async checkStatement(applySql) {
      if (!PREPARABLE.test(applySql)) return;
      await database.transaction(async (client) => {
        await client.query(CREATE_CHANGES);
        await explainStatement(() => client.query(`PREPARE categorizer_check AS ${applySql}`), 'as it is');
        await client.query('DEALLOCATE categorizer_check');
      });
    },

    async unapplied(runId) {
      const rows = await database.query<{ number: number }>(
        `SELECT number FROM categorizer.slices
         WHERE run_id = $1 AND staged_at IS NOT NULL AND applied_at IS NULL ORDER BY number`,
        [runId],
      );
      return rows.map(({ number }) => number);
    },

    async apply(runId, slice) {
      await database.transaction(async (client) => {
        const { applySql, modelId } = await readRun(client, runId, `state = 'applying'`);
        const mine = await client.query(
          `UPDATE categorizer.slices SET applied_at = now()
           WHERE run_id = $1 AND number = $2 AND staged_at IS NOT NULL AND applied_at IS NULL`,
          [runId, slice],
        );
        if (mine.rowCount === 0) return;
        await client.query(CREATE_CHANGES);
        const changes = await client.query(FIND_CHANGES, [runId, slice]);
        await client.query(REMEMBER_CHANGES, [runId, slice, modelId]);
        await client.query(SET_CATEGORIES, [runId, slice, modelId]);
        await client.query(REMEMBER_INPUTS, [slice]);
        await client.query(ASK_FOR_REVIEWS, [runId, slice, modelId]);
        await client.query(CLOSE_REVIEWS, [slice]);
        if (changes.rowCount) await runStatement(client, applySql, slice);
      });
    },

    async finish(runId) {
      await database.transaction(async (client) => {
        const ended = await client.query<{ dry_run: boolean }>(
          `UPDATE categorizer.runs SET state_since = now(), finished_at = now(), locked_since = NULL,
             state = CASE WHEN (counts->>'rejected')::bigint > 0 THEN 'finished_with_rejects' ELSE 'finished' END
           WHERE id = $1 AND state IN ('running', 'applying') RETURNING (settings->>'dryRun')::boolean AS dry_run`,
          [runId],
        );
        if (ended.rowCount === 0) return;
        // What a dry run would do can be looked at until the next run begins.
        await client.query(`TRUNCATE categorizer.slices${ended.rows[0].dry_run ? '' : ', categorizer.staged'}`);
      });
    },

    async beginRevert(runId) {
      try {
        const begun = await database.query(
          `UPDATE categorizer.runs SET locked_since = coalesce(locked_since, now()), revert_started_at = now()
           WHERE id = $1 AND state IN ('finished', 'finished_with_rejects', 'failed', 'cancelled')
             AND reverted_at IS NULL RETURNING id`,
          [runId],
        );
        if (begun.length === 0) throw await whyNotRevertible(runId);
      } catch (error) {
        if (violatedBy(error) === 'runs_one_at_a_time') throw runLocked(await registry.locked());
        throw error;
      }
      // The planner may not know yet what the run has written.
      await database.query('ANALYZE categorizer.history, categorizer.product_categories');
      const rows = await database.query<{ slice: number }>(
        `SELECT DISTINCT slice FROM categorizer.history WHERE run_id = $1 AND action = 'apply' ORDER BY slice`,
        [runId],
      );
      return rows.map(({ slice }) => slice);
    },

    async revert(runId, slice) {
      await database.transaction(async (client) => {
        const reverting = 'revert_started_at IS NOT NULL AND reverted_at IS NULL';
        // Whoever reverts it too waits, and finds this slice done.
        const { applySql } = await readRun(client, runId, reverting, 'NO KEY UPDATE');
        await client.query(CREATE_CHANGES);
        const { rowCount } = await client.query(FIND_REVERTS, [runId, slice]);
        if (!rowCount) return;
        await client.query(REMEMBER_REVERTS, [runId, slice]);
        await client.query(RESTORE_CATEGORIES, [runId]);
        await runStatement(client, applySql, slice);
      });
    },

    async endRevert(runId) {
      const [{ restored, changes }] = await database.query<{ restored: number; changes: number }>(
        `SELECT count(*) FILTER (WHERE action = 'revert')::float8 AS restored,
           count(*) FILTER (WHERE action = 'apply')::float8 AS changes
         FROM categorizer.history WHERE run_id = $1`,
        [runId],
      );
      await database.query(
        'UPDATE categorizer.runs SET locked_since = NULL, reverted_at = now() WHERE id = $1 AND reverted_at IS NULL',
        [runId],
      );
      return { restored, kept: changes - restored };
    },
  };

  async function whyNotRevertible(runId: string): Promise<CategorizerError> {
    const run = await findRun(registry, runId);
    const why = run.revertedAt ? `was reverted ${run.revertedAt.toISOString()}` : `is ${run.state}`;
    return new CategorizerError('RUN_STATE', `run ${runId} ${why}: only an ended run can be reverted, and once`);
  }
}

/** Its row stays as it is until the transaction ends. @throws CategorizerError `RUN_STATE` where it is not `condition` */
async function readRun(
  client: Client,
  runId: string,
  condition: string,
  lock: 'SHARE' | 'NO KEY UPDATE' = 'SHARE',
): Promise<{ applySql: string | null; modelId: number }> {
  const { rows } = await client.query<{ applySql: string | null; modelId: number }>(
    `SELECT settings->>'applySql' AS "applySql", model_id AS "modelId" FROM categorizer.runs
     WHERE id = $1 AND ${condition} FOR ${lock}`,
    [runId],
  );
  if (rows.length > 0) return rows[0];
  throw new CategorizerError('RUN_STATE', `the state of run ${runId} was changed meanwhile`, { retryable: true });
}

async function runStatement(client: Client, applySql: string | null, slice: number): Promise<void> {
  if (applySql !== null) await explainStatement(() => client.query(applySql), `on slice ${slice}`);
}

async function explainStatement(run: () => Promise<unknown>, where: string): Promise<void> {
  try {
    await run();
  } catch (thrown) {
    const explained = await askDatabase(() => Promise.reject(thrown)).catch((error: unknown) => error);
    if (!(thrown instanceof pg.DatabaseError)) throw explained;
    if (explained instanceof CategorizerError && explained.retryable) throw explained;
    const message = `the statement of --apply-sql failed ${where}: ${sentenceOf(thrown)}`;
    throw new CategorizerError('APPLY_SQL_FAILED', message, { cause: thrown });
  }
}
