// The nightly recategorization as one would write it in an afternoon, with no queue: reads 10,000 products at a time, runs
// the model on them, and updates their categories in one statement.
// node plain-nightly.mjs <database url>
import pg from 'pg';
import { loadModel } from './model.mjs';

const ROWS = 10_000;
const model = await loadModel();
const { width, categories } = model;
const client = new pg.Client({ connectionString: process.argv[2] });
await client.connect();

for (let last = ''; ; ) {
  const { rows } = await client.query({
    name: 'read',
    text: 'SELECT product_id, vector FROM erp.products WHERE product_id > $1 ORDER BY product_id LIMIT $2',
    values: [last, ROWS],
  });
  if (rows.length === 0) break;
  const values = new Float32Array(rows.length * width);
  rows.forEach(({ vector }, row) => {
    values.set(vector, row * width);
  });
  const logits = await model.run(values, rows.length);
  const codes = rows.map((_, row) => {
    const own = logits.subarray(row * categories.length, (row + 1) * categories.length);
    return categories[own.indexOf(Math.max(...own))].code;
  });
  await client.query({
    name: 'write',
    text: `UPDATE erp.products p SET category = v.category
           FROM unnest($1::text[], $2::text[]) AS v (product_id, category) WHERE p.product_id = v.product_id`,
    values: [rows.map(({ product_id }) => product_id), codes],
  });
  last = rows[rows.length - 1].product_id;
}
await client.end();
