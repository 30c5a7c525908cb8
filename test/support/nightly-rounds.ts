/** A catalogue whose every change is a function of its product ids and of a number: the same in two databases. */
import type { Erp } from './nightly-erp.ts';

/**
 * The ERP's table and its functions. Of the products most are near a centre of the shipped model, some lie between two,
 * where the model is unsure, and some have no vector that can be categorized.
 */
const CREATE = `
  CREATE FUNCTION erp.dice(id text, round integer, sides integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    $$ SELECT abs(hashtextextended(id, round) % sides) $$;
  CREATE FUNCTION erp.vector(id text, round integer) RETURNS real[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
      WHEN erp.dice(id, round, 400) = 0 THEN NULL
      WHEN erp.dice(id, round, 400) = 1 THEN ARRAY[1, 2]::real[]
      WHEN erp.dice(id, round, 400) = 2 THEN array_fill('NaN'::real, ARRAY[16])
      WHEN erp.dice(id, round, 400) = 3 THEN array_fill(3e38::real, ARRAY[16])
      ELSE (
        SELECT array_agg((
          (ARRAY[0, 3, -3, 1.1])[CASE WHEN erp.dice(id, round, 40) = 0 THEN 4 ELSE 1 + erp.dice(id, -round, 3) END]
          + (hashint8extended(hashtextextended(id, round), i) & 65535) / 65535.0 - 0.5
        )::real ORDER BY i) FROM generate_series(0, 15) i
      )
    END
  $$;
  -- What the statement of --apply-sql was told: done twice it would stand here twice.
  CREATE TABLE erp.told (product_id text, category text, previous text, run_id text, action text);
`;

/** Updates the ERP's table, and writes down that it did. */
export const TELLING_SQL = `
  WITH written AS (
    UPDATE erp.products p SET category = c.category_code FROM categorizer_changes c
    WHERE p.product_id = c.product_id RETURNING p.product_id
  )
  INSERT INTO erp.told SELECT c.product_id, c.category_code, c.previous_category_code, c.run_id, c.action
  FROM categorizer_changes c JOIN written USING (product_id)`;

export async function createCatalogue(erp: Erp, products: number): Promise<void> {
  await erp.rows(CREATE);
  await erp.rows(`
    INSERT INTO erp.products SELECT id, erp.vector(id, 0) FROM (
      SELECT 'P-' || n AS id FROM generate_series(1, ${products}) n
    ) p`);
  await erp.rows('ANALYZE erp.products');
}

/** What happens on a day: two products in three get another vector, and people decide, or take a decision back. */
export async function changeCatalogue(erp: Erp, day: number): Promise<void> {
  await erp.rows(`
    UPDATE erp.products SET features = erp.vector(product_id, ${day}) WHERE erp.dice(product_id, ${1000 + day}, 3) > 0`);
  // As `review withdraw` does it.
  await erp.rows(`
    WITH withdrawn AS (
      DELETE FROM categorizer.reviews WHERE decided_category IS NOT NULL AND erp.dice(product_id, ${2000 + day}, 10) = 0
      RETURNING product_id
    )
    UPDATE categorizer.product_categories SET input_hash = decode(repeat('00', 16), 'hex')
    WHERE product_id IN (SELECT product_id FROM withdrawn)`);
  await erp.rows(`
    INSERT INTO categorizer.reviews (product_id, decided_category, decided_by)
    SELECT id, (ARRAY['AUTOPECAS', 'INFORMATICA', 'MATERIAL_CONSTRUCAO'])[1 + erp.dice(id, ${day}, 3)], 'ana'
    FROM (
      SELECT product_id AS id FROM categorizer.reviews WHERE erp.dice(product_id, ${3000 + day}, 3) = 0
      UNION SELECT product_id FROM erp.products WHERE erp.dice(product_id, ${4000 + day}, 200) = 0
    ) p
    ON CONFLICT (product_id) DO UPDATE SET decided_category = excluded.decided_category, decided_by = 'ana'`);
}

/** All that must be the same in two databases that saw the same days, however often one was interrupted. */
const RECORDS = {
  products: 'SELECT product_id, category FROM erp.products',
  told: 'SELECT run_id, product_id, action, previous, category FROM erp.told',
  categories: `SELECT product_id, category_code, model_id, run_id, encode(input_hash, 'hex')
    FROM categorizer.product_categories`,
  history: `SELECT run_id, product_id, action, old_category, new_category, old_model_id, new_model_id, old_run_id, decided_by
    FROM categorizer.history`,
  reviews: `SELECT product_id, run_id, proposed_category, current_category, features, decided_category, decided_by
    FROM categorizer.reviews`,
  rejects: 'SELECT product_id, code, message FROM categorizer.rejects',
  runs: `SELECT id, state, counts, decided_by, locked_since, error_code, reverted_at IS NOT NULL FROM categorizer.runs`,
};

/** Lines of table, colon and row: what one has and the other has not, either way; a few of them. */
export async function findDifferences(one: Erp, other: Erp): Promise<string[]> {
  const differences: string[] = [];
  for (const [name, sql] of Object.entries(RECORDS)) {
    const [lines, others] = await Promise.all([one, other].map((erp) => linesOf(erp, sql)));
    const [known, knownToOther] = [new Set(lines), new Set(others)];
    differences.push(
      ...others
        .filter((line) => !known.has(line))
        .map((line) => `- ${name}: ${line}`)
        .slice(0, 5),
    );
    differences.push(
      ...lines
        .filter((line) => !knownToOther.has(line))
        .map((line) => `+ ${name}: ${line}`)
        .slice(0, 5),
    );
    if (lines.length !== others.length) differences.push(`${name}: ${lines.length} and ${others.length} rows`);
  }
  return differences;
}

async function linesOf(erp: Erp, sql: string): Promise<string[]> {
  const rows = await erp.rows<{ line: string }>(`SELECT r::text AS line FROM (${sql}) r`);
  return rows.map(({ line }) => line);
}

/** Products with a vector of the right width that the model is asked about. */
export function findUndecided(erp: Erp): Promise<{ productId: string; features: number[] }[]> {
  return erp.rows(`
    SELECT product_id AS "productId", features FROM erp.products
    WHERE cardinality(features) = 16 AND NOT 'NaN' = ANY (features)
      AND product_id NOT IN (SELECT product_id FROM categorizer.reviews WHERE decided_category IS NOT NULL)`);
}

/** Changes whose old category is not what the change before left, and products that have not what the last one says. */
export async function findGaps(erp: Erp): Promise<string[]> {
  const rows = await erp.rows<{ line: string }>(`
    WITH changes AS (
      SELECT h.product_id, h.run_id, h.old_category, h.new_category,
        lag(h.new_category) OVER product AS before, lead(h.run_id) OVER product IS NULL AS last
      FROM categorizer.history h JOIN categorizer.runs r ON r.id = h.run_id
      WINDOW product AS (PARTITION BY h.product_id ORDER BY r.created_at, h.action)
    )
    SELECT c::text AS line FROM changes c WHERE old_category IS DISTINCT FROM before OR old_category = new_category
    UNION ALL
    SELECT p::text FROM (
      SELECT product_id, c.category_code, e.category, l.new_category FROM categorizer.product_categories c
      FULL JOIN erp.products e USING (product_id) LEFT JOIN changes l USING (product_id) 
      WHERE coalesce(l.last, true)
    ) p WHERE category IS DISTINCT FROM new_category OR category_code IS DISTINCT FROM category`);
  return rows.map(({ line }) => line);
}
