import { findRun } from '../../application/recategorization/find-run.ts';
import type { CategoryStore } from '../../application/recategorization/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { type Database, violatedBy } from './connection.ts';
import { writeChanges } from './erp-writer.ts';
import { createRunRegistry, runLocked } from './run-registry.ts';
import { readRun, tooShort, writeInTransaction, writeRows } from './slice-writes.ts';

/**
 * What is still to be restored of a slice ($2): what was not changed since by another run, or by the ERP. What a person
 * decided stays decided, and what a person has found right since: the next run would set it again.
 */
const REVERTIBLE = `
  FROM categorizer.history h JOIN categorizer.product_categories p ON p.product_id = h.product_id
  WHERE h.run_id = $1 AND h.slice = $2 AND h.action = 'apply' AND h.decided_by IS NULL AND p.run_id = $1
    AND NOT EXISTS (SELECT FROM categorizer.reviews r
      WHERE r.product_id = h.product_id AND r.decided_category = h.new_category)
    AND NOT EXISTS (SELECT FROM categorizer.history n
      WHERE n.product_id = h.product_id AND n.run_id = $1 AND n.action IN ('revert', 'not_reverted'))`;

const FIND_REVERTS = `
  INSERT INTO categorizer_changes
  SELECT h.product_id, h.old_category, h.new_category, h.old_confidence, $1, 'revert' ${REVERTIBLE}
    AND ($3::text[] IS NULL OR h.product_id = ANY ($3))`;

const IS_WRITTEN = 'NOT EXISTS (SELECT FROM categorizer_unwritten u WHERE u.product_id = c.product_id)';

const REMEMBER_REVERTS = `
  INSERT INTO categorizer.history (product_id, run_id, action, slice, old_category, new_category, old_confidence,
    new_confidence, old_model_id, new_model_id, old_run_id)
  SELECT h.product_id, $1, 'revert', $2, CASE WHEN b.product_id IS NULL THEN h.new_category ELSE b.category END,
    h.old_category, h.new_confidence, h.old_confidence, h.new_model_id, h.old_model_id, $1
  FROM categorizer_changes c
  JOIN categorizer.history h ON h.product_id = c.product_id AND h.run_id = $1 AND h.action = 'apply'
  LEFT JOIN categorizer_before b ON b.product_id = c.product_id
  WHERE ${IS_WRITTEN}`;

const RESTORE_CATEGORIES = `
  UPDATE categorizer.product_categories p SET category_code = h.old_category, confidence = h.old_confidence,
    model_id = h.old_model_id, run_id = h.old_run_id, changed_at = now()
  FROM categorizer_changes c
  JOIN categorizer.history h ON h.product_id = c.product_id AND h.run_id = $1 AND h.action = 'apply'
  WHERE p.product_id = c.product_id AND ${IS_WRITTEN}`;

const REMEMBER_UNWRITTEN = `
  INSERT INTO categorizer.history (product_id, run_id, action, slice, old_category, new_category, wanted_category, reason,
    old_confidence, old_model_id, old_run_id)
  SELECT h.product_id, $1, 'not_reverted', $2, h.new_category,
    CASE u.reason WHEN 'changed' THEN u.found_category WHEN 'untouched' THEN h.new_category END,
    h.old_category, u.reason, h.new_confidence, h.new_model_id, $1
  FROM categorizer_unwritten u
  JOIN categorizer.history h ON h.product_id = u.product_id AND h.run_id = $1 AND h.action = 'apply'`;

/** The ERP's own category, which no run of ours has set. */
const SET_CHANGED = `
  UPDATE categorizer.product_categories p SET category_code = u.found_category, confidence = NULL, model_id = NULL,
    run_id = NULL, changed_at = now()
  FROM categorizer_unwritten u WHERE u.reason = 'changed' AND p.product_id = u.product_id`;

const IS_REVERTING = 'revert_started_at IS NOT NULL AND reverted_at IS NULL AND locked_since IS NOT NULL';

export function createCategoryReverts(
  database: Database,
): Pick<CategoryStore, 'beginRevert' | 'revertible' | 'revert' | 'endRevert'> {
  const registry = createRunRegistry(database);

  async function revertible(runId: string, slice: number): Promise<readonly string[]> {
    const rows = await database.query<{ id: string }>(`SELECT h.product_id AS id ${REVERTIBLE} ORDER BY 1`, [
      runId,
      slice,
    ]);
    return rows.map(({ id }) => id);
  }

  async function changedSlices(runId: string): Promise<number[]> {
    const rows = await database.query<{ slice: number }>(
      `SELECT DISTINCT slice FROM categorizer.history WHERE run_id = $1 AND action = 'apply' ORDER BY slice`,
      [runId],
    );
    return rows.map(({ slice }) => slice);
  }

  return {
    revertible,

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
      return changedSlices(runId);
    },

    revert(runId, slice, part) {
      return writeInTransaction(database, async (client) => {
        // Whoever reverts it too waits, and finds this slice done.
        const { settings } = await readRun(client, runId, IS_REVERTING, 'NO KEY UPDATE');
        await writeRows(database, client, { settings, part }, async () => {
          const { rowCount } = await client.query(FIND_REVERTS, [runId, slice, part?.productIds ?? null]);
          if (!rowCount) return;
          const { outcome } = await writeChanges(client, settings, { changes: rowCount, slice });
          if (outcome === 'short') throw tooShort();
          await client.query(REMEMBER_REVERTS, [runId, slice]);
          await client.query(RESTORE_CATEGORIES, [runId]);
          await client.query(REMEMBER_UNWRITTEN, [runId, slice]);
          await client.query(SET_CHANGED);
        });
      });
    },

    async endRevert(runId) {
      let locked = 0;
      for (const slice of await changedSlices(runId)) locked += (await revertible(runId, slice)).length;
      const [{ restored, changes, untouched }] = await database.query<
        Record<'restored' | 'changes' | 'untouched', number>
      >(
        `SELECT count(*) FILTER (WHERE action = 'revert')::float8 AS restored,
           count(*) FILTER (WHERE action = 'apply')::float8 AS changes,
           count(*) FILTER (WHERE action = 'not_reverted' AND reason = 'untouched')::float8 AS untouched
         FROM categorizer.history WHERE run_id = $1`,
        [runId],
      );
      await database.query(
        `UPDATE categorizer.runs SET locked_since = NULL, reverted_at = CASE WHEN $2 THEN now() END
         WHERE id = $1 AND reverted_at IS NULL`,
        [runId, locked === 0],
      );
      return {
        restored,
        kept: changes - restored - locked - untouched,
        ...(locked > 0 && { locked }),
        ...(untouched > 0 && { untouched }),
      };
    },
  };

  async function whyNotRevertible(runId: string): Promise<CategorizerError> {
    const run = await findRun(registry, runId);
    const why = run.revertedAt ? `was reverted ${run.revertedAt.toISOString()}` : `is ${run.state}`;
    return new CategorizerError('RUN_STATE', `run ${runId} ${why}: only an ended run can be reverted, and once`);
  }
}
