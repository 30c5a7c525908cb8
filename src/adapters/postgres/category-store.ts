import type { CategoryStore } from '../../application/recategorization/ports.ts';
import { createCategoryReverts } from './category-reverts.ts';
import type { Database } from './connection.ts';
import { prepareStatement } from './erp-statement.ts';
import { writeChanges } from './erp-writer.ts';
import { checkOwnColumn } from './own-column.ts';
import { readRun, tooShort, writeInTransaction, writeRows } from './slice-writes.ts';

/** What of the slice ($1) is open and belongs to the part ($2: product ids, or null for all). */
const PART = `s.slice = $1 AND NOT s.settled AND ($2::text[] IS NULL OR s.product_id = ANY ($2))`;

/**
 * A person's word wins: a decision that came after the plan holds the model's category back, and one that was taken back
 * or changed is not applied. The next run looks at those products again.
 */
const STANDS = `CASE WHEN s.decided_by IS NULL
  THEN NOT EXISTS (SELECT FROM categorizer.reviews r WHERE r.product_id = s.product_id AND r.decided_category IS NOT NULL)
  ELSE EXISTS (SELECT FROM categorizer.reviews r WHERE r.product_id = s.product_id AND r.decided_category = s.category_code)
  END`;

const IS_WRITTEN = 'NOT EXISTS (SELECT FROM categorizer_unwritten u WHERE u.product_id = s.product_id)';

const FIND_CHANGES = `
  INSERT INTO categorizer_changes
  SELECT s.product_id, s.category_code, s.current_category, s.confidence, $3, 'apply' FROM categorizer.staged s
  WHERE ${PART} AND s.review_features IS NULL AND s.category_code IS DISTINCT FROM s.current_category AND ${STANDS}`;

/** The category that was overwritten is the one that was there, where it is known to be another than the run saw. */
const REMEMBER_CHANGES = `
  INSERT INTO categorizer.history (product_id, run_id, action, slice, old_category, new_category, old_confidence,
    new_confidence, old_model_id, new_model_id, old_run_id, decided_by)
  SELECT s.product_id, $2, 'apply', $1, CASE WHEN b.product_id IS NULL THEN s.current_category ELSE b.category END,
    s.category_code, p.confidence, s.confidence, p.model_id, CASE WHEN s.decided_by IS NULL THEN $3::integer END, p.run_id,
    s.decided_by
  FROM categorizer_changes c
  JOIN categorizer.staged s ON s.slice = $1 AND s.product_id = c.product_id
  LEFT JOIN categorizer_before b ON b.product_id = c.product_id
  LEFT JOIN categorizer.product_categories p ON p.product_id = c.product_id
  WHERE ${IS_WRITTEN}`;

/** As what it is: nothing that a revert would take back. */
const REMEMBER_UNWRITTEN = `
  INSERT INTO categorizer.history (product_id, run_id, action, slice, old_category, new_category, wanted_category, reason,
    old_confidence, old_model_id, old_run_id, decided_by)
  SELECT s.product_id, $2, 'not_applied', $1, s.current_category,
    CASE u.reason WHEN 'changed' THEN u.found_category WHEN 'untouched' THEN s.current_category END,
    s.category_code, u.reason, p.confidence, p.model_id, p.run_id, s.decided_by
  FROM categorizer_unwritten u
  JOIN categorizer.staged s ON s.slice = $1 AND s.product_id = u.product_id
  LEFT JOIN categorizer.product_categories p ON p.product_id = u.product_id`;

/** What was written is a change, whatever was decided since. A category that stays as it is keeps the run that set it. */
const SET_CATEGORIES = `
  INSERT INTO categorizer.product_categories AS p
    (product_id, category_code, confidence, model_id, run_id, changed_at, input_hash)
  SELECT s.product_id, s.category_code, s.confidence, CASE WHEN s.decided_by IS NULL THEN $4::integer END,
    CASE WHEN s.category_code IS DISTINCT FROM s.current_category THEN $3 END,
    CASE WHEN s.category_code IS DISTINCT FROM s.current_category THEN now() END, s.input_hash
  FROM categorizer.staged s WHERE ${PART} AND s.review_features IS NULL AND ${IS_WRITTEN}
    AND (s.product_id IN (SELECT product_id FROM categorizer_changes)
      OR s.category_code IS NOT DISTINCT FROM s.current_category AND ${STANDS})
  ON CONFLICT (product_id) DO UPDATE SET
    category_code = excluded.category_code, confidence = excluded.confidence, model_id = excluded.model_id,
    input_hash = excluded.input_hash,
    run_id = CASE WHEN excluded.run_id IS NULL AND p.category_code = excluded.category_code
      THEN p.run_id ELSE excluded.run_id END,
    changed_at = CASE WHEN excluded.run_id IS NULL AND p.category_code = excluded.category_code
      THEN p.changed_at ELSE excluded.changed_at END`;

/**
 * The ERP's own category, which no model and no run of ours has set. Where the ERP changed it, the input counts as
 * categorized: the next run would else propose the same again, and overwrite what a person did. What was not touched for
 * another reason is tried again. What is gone stays as it was.
 */
const SET_UNWRITTEN = `
  INSERT INTO categorizer.product_categories AS p (product_id, category_code, input_hash)
  SELECT s.product_id, CASE u.reason WHEN 'changed' THEN u.found_category ELSE s.current_category END,
    CASE u.reason WHEN 'changed' THEN s.input_hash ELSE '\\x'::bytea END
  FROM categorizer_unwritten u JOIN categorizer.staged s ON s.slice = $1 AND s.product_id = u.product_id
  WHERE u.reason <> 'gone'
  ON CONFLICT (product_id) DO UPDATE SET
    category_code = excluded.category_code, input_hash = excluded.input_hash,
    confidence = CASE WHEN p.category_code IS NOT DISTINCT FROM excluded.category_code THEN p.confidence END,
    model_id = CASE WHEN p.category_code IS NOT DISTINCT FROM excluded.category_code THEN p.model_id END,
    run_id = CASE WHEN p.category_code IS NOT DISTINCT FROM excluded.category_code THEN p.run_id END,
    changed_at = CASE WHEN p.category_code IS NOT DISTINCT FROM excluded.category_code THEN p.changed_at ELSE now() END`;

/** A decision that came before the ERP's own change rests, or it would undo that change in the next run. */
const OVERRULE_DECISIONS = `
  UPDATE categorizer.reviews r SET overruled_at = now(), overruled_category = u.found_category
  FROM categorizer_unwritten u JOIN categorizer.staged s ON s.slice = $1 AND s.product_id = u.product_id
  WHERE u.reason = 'changed' AND s.decided_by IS NOT NULL AND r.product_id = s.product_id
    AND r.decided_category = s.category_code`;

/** What a person is asked about was categorized all the same: with the same input it is not asked about again. */
const REMEMBER_INPUTS = `
  INSERT INTO categorizer.product_categories (product_id, category_code, input_hash)
  SELECT s.product_id, s.current_category, s.input_hash
  FROM categorizer.staged s WHERE ${PART} AND s.review_features IS NOT NULL AND ${STANDS}
  ON CONFLICT (product_id) DO UPDATE SET input_hash = excluded.input_hash`;

const ASK_FOR_REVIEWS = `
  INSERT INTO categorizer.reviews
    (product_id, run_id, model_id, proposed_category, confidence, current_category, features)
  SELECT s.product_id, $3, $4, s.category_code, s.confidence, s.current_category, s.review_features
  FROM categorizer.staged s WHERE ${PART} AND s.review_features IS NOT NULL
  ON CONFLICT (product_id) DO UPDATE SET run_id = excluded.run_id, model_id = excluded.model_id,
    proposed_category = excluded.proposed_category, confidence = excluded.confidence,
    current_category = excluded.current_category, features = excluded.features
  WHERE reviews.decided_category IS NULL`;

/** The model is sure by now. */
const CLOSE_REVIEWS = `
  DELETE FROM categorizer.reviews r USING categorizer.staged s
  WHERE ${PART} AND s.review_features IS NULL AND r.product_id = s.product_id AND r.decided_category IS NULL`;

const SETTLE = `UPDATE categorizer.staged s SET settled = true WHERE ${PART}`;

/** Of what is not a change nothing was wanted. */
const REMEMBER_LOCKED = `
  INSERT INTO categorizer.history (product_id, run_id, action, slice, old_category, new_category, wanted_category, reason,
    old_confidence, old_model_id, old_run_id, decided_by)
  SELECT s.product_id, $3, 'not_applied', $1, s.current_category, s.current_category,
    CASE WHEN s.review_features IS NULL THEN s.category_code ELSE s.current_category END, 'locked',
    p.confidence, p.model_id, p.run_id, s.decided_by
  FROM categorizer.staged s LEFT JOIN categorizer.product_categories p ON p.product_id = s.product_id WHERE ${PART}`;

/** The next run looks at them again. A row that is locked here too is just being marked so by somebody else. */
const FORGET_INPUTS = `
  UPDATE categorizer.product_categories SET input_hash = '\\x' WHERE product_id IN (
    SELECT p.product_id FROM categorizer.product_categories p JOIN categorizer.staged s ON s.product_id = p.product_id
    WHERE ${PART} FOR NO KEY UPDATE OF p SKIP LOCKED)`;

/** What became of the changes, counted from the history, and some of those that were not written. */
const COUNT_APPLIED = `
  SELECT jsonb_build_object(
    'written', count(*) FILTER (WHERE action = 'apply'), 'changed', count(*) FILTER (WHERE reason = 'changed'),
    'gone', count(*) FILTER (WHERE reason = 'gone'), 'locked', count(*) FILTER (WHERE reason = 'locked'),
    'untouched', count(*) FILTER (WHERE reason = 'untouched'),
    'excessRows', (SELECT coalesce(sum(excess_rows), 0) FROM categorizer.slices WHERE run_id = $1),
    'samples', (SELECT coalesce(jsonb_agg(jsonb_build_object('productId', product_id, 'reason', reason,
        'seen', old_category, 'wanted', wanted_category, 'found', new_category)), '[]')
      FROM (SELECT * FROM categorizer.history WHERE run_id = $1 AND action = 'not_applied'
        ORDER BY reason, product_id LIMIT 20) s))
  FROM categorizer.history WHERE run_id = $1 AND action IN ('apply', 'not_applied')`;

const IS_APPLYING = `state = 'applying'`;

export function createCategoryStore(database: Database): CategoryStore {
  return {
    async checkWrites({ source, apply, applySql }, categories) {
      await database.transaction(async (client) => {
        if (apply) await checkOwnColumn(client, source, categories);
        else if (applySql !== undefined) await prepareStatement(client, applySql);
      });
    },

    async checkStatement(applySql) {
      await database.transaction((client) => prepareStatement(client, applySql));
    },

    async unapplied(runId) {
      const rows = await database.query<{ number: number }>(
        `SELECT number FROM categorizer.slices
         WHERE run_id = $1 AND staged_at IS NOT NULL AND applied_at IS NULL ORDER BY number`,
        [runId],
      );
      return rows.map(({ number }) => number);
    },

    async open(runId, slice) {
      const rows = await database.query<{ id: string }>(
        `SELECT s.product_id AS id FROM categorizer.staged s
         JOIN categorizer.slices l ON l.run_id = $1 AND l.number = s.slice AND l.applied_at IS NULL
         WHERE s.slice = $2 AND NOT s.settled ORDER BY 1`,
        [runId, slice],
      );
      return rows.map(({ id }) => id);
    },

    apply(runId, slice, part) {
      return writeInTransaction(database, async (client) => {
        const { settings, modelId } = await readRun(client, runId, IS_APPLYING, 'SHARE');
        // Whoever applies it too waits, and finds done what is done.
        const mine = await client.query(
          `SELECT FROM categorizer.slices
           WHERE run_id = $1 AND number = $2 AND staged_at IS NOT NULL AND applied_at IS NULL FOR NO KEY UPDATE`,
          [runId, slice],
        );
        if (mine.rowCount === 0) return;
        await writeRows(database, client, { settings, part }, async () => {
          const which = [slice, part?.productIds ?? null];
          // First what waits for nobody but people's decisions: rows of the ERP are held as short as can be.
          await client.query(REMEMBER_INPUTS, which);
          await client.query(ASK_FOR_REVIEWS, [...which, runId, modelId]);
          await client.query(CLOSE_REVIEWS, which);
          const changes = (await client.query(FIND_CHANGES, [...which, runId])).rowCount ?? 0;
          const written = changes > 0 ? await writeChanges(client, settings, { changes, slice }) : undefined;
          if (written?.outcome === 'short') throw tooShort();
          if (changes > 0) await client.query(REMEMBER_CHANGES, [slice, runId, modelId]);
          await client.query(SET_CATEGORIES, [...which, runId, modelId]);
          const unwritten = await client.query<{ any: boolean }>(
            'SELECT EXISTS (SELECT FROM categorizer_unwritten) AS any',
          );
          if (unwritten.rows[0].any) {
            await client.query(REMEMBER_UNWRITTEN, [slice, runId]);
            await client.query(SET_UNWRITTEN, [slice]);
            await client.query(OVERRULE_DECISIONS, [slice]);
          }
          if (part?.productIds) await client.query(SETTLE, which);
          await client.query(
            `UPDATE categorizer.slices SET excess_rows = excess_rows + $3, applied_at = CASE WHEN $4 THEN now() END
           WHERE run_id = $1 AND number = $2`,
            [runId, slice, written?.excessRows ?? 0, part?.productIds === undefined],
          );
        });
      });
    },

    async giveUp(runId, slice, productIds) {
      await database.transaction(async (client) => {
        await readRun(client, runId, IS_APPLYING, 'SHARE');
        const which = [slice, productIds];
        await client.query('SELECT FROM categorizer.slices WHERE run_id = $1 AND number = $2 FOR NO KEY UPDATE', [
          runId,
          slice,
        ]);
        await client.query(REMEMBER_LOCKED, [...which, runId]);
        await client.query(FORGET_INPUTS, which);
        await client.query(SETTLE, which);
      });
    },

    async finish(runId) {
      await database.transaction(async (client) => {
        const ended = await client.query<{ dry_run: boolean }>(
          `WITH found (counts) AS MATERIALIZED (${COUNT_APPLIED})
           UPDATE categorizer.runs SET state_since = now(), finished_at = now(), locked_since = NULL,
             applied = CASE WHEN NOT (settings->>'dryRun')::boolean THEN found.counts END,
             state = CASE WHEN (runs.counts->>'rejected')::bigint > 0
               OR (found.counts->>'locked')::bigint + (found.counts->>'untouched')::bigint
                 + (found.counts->>'excessRows')::bigint > 0 THEN 'finished_with_rejects' ELSE 'finished' END
           FROM found
           WHERE id = $1 AND state IN ('running', 'applying') RETURNING (settings->>'dryRun')::boolean AS dry_run`,
          [runId],
        );
        if (ended.rowCount === 0) return;
        // What a dry run would do can be looked at until the next run begins.
        await client.query(`TRUNCATE categorizer.slices${ended.rows[0].dry_run ? '' : ', categorizer.staged'}`);
      });
    },

    ...createCategoryReverts(database),
  };
}
