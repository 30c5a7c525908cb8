import type { Reviews, TrainingRow } from '../../application/recategorization/ports.ts';
import type { Database } from './connection.ts';

const EXPORT_PAGE = 1000;

export function createReviews(database: Database): Reviews {
  return {
    list: ({ decided, limit }) =>
      database.query(
        `SELECT product_id AS "productId", run_id AS "runId", proposed_category AS "proposedCategory", confidence,
           current_category AS "currentCategory", created_at AS "createdAt", decided_category AS "decidedCategory",
           decided_by AS "decidedBy", decided_at AS "decidedAt"
         FROM categorizer.reviews WHERE (decided_category IS NOT NULL) = $1
         ORDER BY created_at, product_id LIMIT $2`,
        [decided, limit],
      ),

    async decide(productId, { categoryCode, decidedBy }) {
      const known = await database.query(
        `SELECT FROM categorizer.reviews WHERE product_id = $1
         UNION ALL SELECT FROM categorizer.product_categories WHERE product_id = $1`,
        [productId],
      );
      if (known.length === 0) return false;
      await database.query(
        `INSERT INTO categorizer.reviews (product_id, decided_category, decided_by) VALUES ($1, $2, $3)
         ON CONFLICT (product_id) DO UPDATE SET decided_category = excluded.decided_category,
           decided_by = excluded.decided_by, decided_at = now()`,
        [productId, categoryCode, decidedBy],
      );
      return true;
    },

    async withdraw(productId) {
      // A trigger sees to it that the model is asked again.
      const rows = await database.query(
        'DELETE FROM categorizer.reviews WHERE product_id = $1 AND decided_category IS NOT NULL RETURNING product_id',
        [productId],
      );
      return rows.length > 0;
    },

    async *training() {
      for (let after = ''; ; ) {
        const page = await database.query<TrainingRow & Record<string, unknown>>(
          `SELECT product_id AS "productId", features, decided_category AS category FROM categorizer.reviews
           WHERE decided_category IS NOT NULL AND features IS NOT NULL AND product_id > $1
           ORDER BY product_id LIMIT $2`,
          [after, EXPORT_PAGE],
        );
        if (page.length === 0) return;
        yield page;
        after = page[page.length - 1].productId;
      }
    },

    async withoutFeatures() {
      const rows = await database.query<{ count: number }>(
        `SELECT count(*)::integer AS count FROM categorizer.reviews
         WHERE decided_category IS NOT NULL AND features IS NULL`,
      );
      return rows[0].count;
    },
  };
}
