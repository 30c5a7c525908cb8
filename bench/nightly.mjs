// npm run bench:nightly: the recategorization of a catalogue in PostgreSQL against a plain script without a queue, on a
// private PostgreSQL and Redis; a table on stdout, every figure in bench/results/nightly.json.
// `--quick` takes few products: to see that the benchmark itself works. Its figures mean nothing.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { startPostgres } from '../scripts/private-postgres.mjs';
import { describeMachine, say, spread } from './describe.mjs';
import { categorizer, run, startRedis, startWorker } from './processes.mjs';
import { WIDTH } from './products.mjs';

const quick = process.argv.includes('--quick');
const PRODUCTS = quick ? 20_000 : 1_000_000;
const ROUNDS = quick ? 1 : 3;
const CHANGED_SHARE = 0.02;
const PLAIN_SCRIPT = fileURLToPath(new URL('plain-nightly.mjs', import.meta.url));

const NIGHT = [
  ...['recategorize', '--source-table', 'erp.products', '--feature-columns', 'vector', '--category-column', 'category'],
  // Half of these products are nothing that the model knows: no night of this benchmark is to be held back for them.
  ...['--review-below', '0', '--max-change-ratio', '1'],
  '--apply',
];

const MAKE_TEMPLATE = `
  CREATE SCHEMA erp;
  CREATE UNLOGGED TABLE erp.template AS
  SELECT 'SKU-' || lpad(n::text, 9, '0') AS product_id,
    ARRAY[${Array.from({ length: WIDTH }, (_, f) => `(hashint4(n * ${WIDTH} + ${f}) & 65535) / 6553.6 - 5`).join(', ')}]::real[]
      AS vector, NULL::text AS category
  FROM generate_series(1, ${PRODUCTS}) n`;

/** As new: what a round before wrote must not slow down, or speed up, the next. */
const NEW_CATALOGUE = `
  DROP TABLE IF EXISTS erp.products;
  CREATE TABLE erp.products AS TABLE erp.template;
  ALTER TABLE erp.products ADD PRIMARY KEY (product_id);
  DROP SCHEMA IF EXISTS categorizer CASCADE`;

const CHANGE_SOME = `
  UPDATE erp.products p SET vector = t.vector FROM erp.template t
  WHERE t.product_id = 'SKU-' || lpad((${PRODUCTS + 1} - right(p.product_id, 9)::integer)::text, 9, '0')
    AND right(p.product_id, 9)::integer % ${1 / CHANGED_SHARE} = 0`;

const database = await startPostgres({ settings: { shared_buffers: '512MB', max_wal_size: '8GB' } });
const client = new pg.Client({ connectionString: database.url });
await client.connect();
say(`making a catalogue of ${PRODUCTS} products`);
await client.query(MAKE_TEMPLATE);

/** @type {Record<'plain' | 'first' | 'second' | 'unchanged', number[]>} */
const seconds = { plain: [], first: [], second: [], unchanged: [] };
const peaks = { plain: 0, recategorize: 0, worker: 0 };

async function newCatalogue() {
  await client.query(NEW_CATALOGUE);
  await client.query('VACUUM ANALYZE erp.products');
  await client.query('CHECKPOINT');
}

for (let round = 1; round <= ROUNDS; round++) {
  say(`round ${round}: the plain script`);
  await newCatalogue();
  const plain = await run([PLAIN_SCRIPT, database.url]);
  seconds.plain.push(plain.seconds);
  peaks.plain = Math.max(peaks.plain, plain.peak);

  say(`round ${round}: the nights`);
  await newCatalogue();
  const redis = await startRedis();
  const env = { DATABASE_URL: database.url, REDIS_URL: redis.url };
  await categorizer(['db', 'migrate'], env);
  const worker = await startWorker(env);
  const first = await categorizer([...NIGHT, '--run', 'first'], env);
  await client.query(CHANGE_SOME);
  const second = await categorizer([...NIGHT, '--run', 'second'], env);
  const unchanged = await categorizer([...NIGHT, '--run', 'unchanged'], env);
  seconds.first.push(first.seconds);
  seconds.second.push(second.seconds);
  seconds.unchanged.push(unchanged.seconds);
  peaks.recategorize = Math.max(peaks.recategorize, first.peak);
  peaks.worker = Math.max(peaks.worker, await worker.stop());
  await redis.stop();
}
await client.end();
await database.remove();

const ratios = seconds.first.map((value, round) => value / seconds.plain[round]);
const results = {
  ...describeMachine(),
  products: PRODUCTS,
  seconds: Object.fromEntries(Object.entries(seconds).map(([name, runs]) => [name, spread(runs)])),
  ratio: { 'first night / plain script': spread(ratios), goal: 2.5 },
  peakMegabytes: peaks,
};
const file = fileURLToPath(new URL(`results/${quick ? 'quick' : 'nightly'}.json`, import.meta.url));
mkdirSync(fileURLToPath(new URL('results/', import.meta.url)), { recursive: true });
writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);

const names = {
  plain: 'the plain script',
  first: 'the first night: all products',
  second: `the second night: ${100 * CHANGED_SHARE} % changed`,
  unchanged: 'a night in which nothing changed',
};
console.log(`| ${PRODUCTS.toLocaleString('en')} products | seconds | spread |\n| --- | ---: | --- |`);
for (const [name, { median, min, max }] of Object.entries(results.seconds)) {
  console.log(
    `| ${names[/** @type {keyof typeof names} */ (name)]} | ${median.toFixed(1)} | ${min.toFixed(1)} to ${max.toFixed(1)} |`,
  );
}
const { median, min, max } = spread(ratios);
console.log(
  `\nfirst night / plain script: ${median.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)}), the goal is at most 2.5`,
);
console.log(
  `peak memory in MB: recategorize ${peaks.recategorize}, worker ${peaks.worker}, plain script ${peaks.plain}`,
);
console.log(`written to ${file}`);
