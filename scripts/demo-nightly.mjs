// The nights of an ERP on a PostgreSQL and a Redis of their own: all of the catalogue, then what changed, then a bad
// model that the guard stops. Prints the three reports.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import pg from 'pg';
import { categorizer, endAllAtExit, startListening, startRedis, stop } from './demo-processes.mjs';
import { startPostgres } from './private-postgres.mjs';
import { build, ROOT, setUp } from './setup.mjs';

const OUTPUT = `${ROOT}demo`;
const PRODUCTS = 100_000;
const CHANGED_SHARE = 0.02;
const RUN_OPTIONS = [
  ...['--source-table', 'erp.products', '--category-column', 'category', '--feature-columns', 'vector'],
  '--apply',
];

/** The ERP's table: the vectors of the sample catalogue, each with some noise of its own, many times over. */
const CREATE_CATALOGUE = `
  CREATE SCHEMA erp;
  CREATE TABLE erp.products (product_id text PRIMARY KEY, vector real[] NOT NULL, category text);
  INSERT INTO erp.products
  SELECT 'SKU-' || lpad(n::text, 6, '0'),
    (SELECT array_agg((x + (random() - 0.5) / 2)::real ORDER BY i) FROM unnest(s.vector) WITH ORDINALITY AS v (x, i)), NULL
  FROM generate_series(1, ${PRODUCTS}) n
  JOIN (SELECT vector, row_number() OVER () - 1 AS place, count(*) OVER () AS all FROM sample) s
    ON s.place = n % s.all;
  ANALYZE erp.products`;

/** The vectors of another product each: what happens when descriptions are written anew. */
const CHANGE_SOME = `
  UPDATE erp.products p SET vector = o.vector FROM erp.products o
  WHERE o.product_id = 'SKU-' || lpad((1 + (right(p.product_id, 6)::integer * 7) % ${PRODUCTS})::text, 6, '0')
    AND right(p.product_id, 6)::integer % ${1 / CHANGED_SHARE} = 0`;

/** Good rows of the sample catalogue, as text of SQL arrays. */
function readSample() {
  const [header, ...lines] = readFileSync(`${ROOT}examples/catalogue.csv`, 'utf8').trim().split('\n');
  const width = header.split(',').filter((name) => /^f\d+$/.test(name)).length;
  return lines.flatMap((line) => {
    const features = line.split(',').slice(1, 1 + width);
    return features.length === width && features.every((cell) => cell !== '' && Math.abs(Number(cell)) < 1e6)
      ? [`{${features.join(',')}}`]
      : [];
  });
}

/** The same network with its labels moved on by one: what a mistake in training looks like. */
function makeBadModel() {
  const directory = `${OUTPUT}/bad-model`;
  cpSync(`${ROOT}model`, directory, { recursive: true });
  const manifest = JSON.parse(readFileSync(`${directory}/manifest.json`, 'utf8'));
  const [first, ...rest] = manifest.categories;
  writeFileSync(
    `${directory}/manifest.json`,
    JSON.stringify({ ...manifest, version: 'shuffled', categories: [...rest, first] }),
  );
  return `${directory}/model.onnx`;
}

/** @param {string} title @param {string} text */
function print(title, text) {
  console.log(`\n${title}\n${'-'.repeat(title.length)}\n${text.trimEnd()}`);
}

async function main() {
  setUp({ postgres: true });
  console.error('building …');
  build();
  rmSync(OUTPUT, { recursive: true, force: true });
  mkdirSync(`${OUTPUT}/redis`, { recursive: true });

  console.error('starting a private PostgreSQL and Redis, and a worker …');
  const database = await startPostgres();
  const redis = await startRedis(`${OUTPUT}/redis`);
  const env = {
    DATABASE_URL: database.url,
    REDIS_URL: redis.url,
    HTTP_PORT: '0',
    MODEL_PATH: 'model/model.onnx',
  };
  let worker = await startListening('worker', env);

  console.error(`making a catalogue of ${PRODUCTS} products …`);
  const client = new pg.Client({ connectionString: database.url });
  // Stopping the server at the end ends it.
  client.on('error', () => undefined);
  await client.connect();
  await client.query('CREATE TEMPORARY TABLE sample (vector real[])');
  await client.query('INSERT INTO sample SELECT vector::real[] FROM unnest($1::text[]) AS vector', [readSample()]);
  await client.query(CREATE_CATALOGUE);
  await categorizer(['db', 'migrate'], env, [0]);

  const night = (/** @type {string} */ run, settings = env, expected = [0]) =>
    categorizer(['recategorize', '--run', run, ...RUN_OPTIONS], settings, expected);

  console.error('the first night: all of it …');
  print('First night: all products', await night('night-1'));

  await client.query(CHANGE_SOME);
  console.error('the second night: what changed …');
  print(`Second night: ${100 * CHANGED_SHARE} % have another description`, await night('night-2'));

  console.error('the third night: a model whose labels are shuffled …');
  const bad = { ...env, MODEL_PATH: makeBadModel() };
  await stop(worker.process);
  worker = await startListening('worker', bad);
  print('Third night: a model whose labels are shuffled', await night('night-3', bad, [4]));

  const page = `${OUTPUT}/night-3.html`;
  await categorizer(['runs', 'report', 'night-3', '--html', page], env, [0]);
  await categorizer(['runs', 'reject', 'night-3', '--by', 'demo'], env, [0]);
  const { rows } = await client.query('SELECT count(*)::integer AS count FROM categorizer.history');
  print(
    'Afterwards',
    `the third night was rejected and changed nothing; its report for people: demo/night-3.html
every change since the first night is in categorizer.history: ${rows[0].count} rows
${await categorizer(['runs', 'list'], env, [0])}`,
  );

  await client.end();
  await stop(worker.process);
  await stop(redis.process);
  await database.remove();
  rmSync(`${OUTPUT}/redis`, { recursive: true });
  rmSync(`${OUTPUT}/bad-model`, { recursive: true });
}

endAllAtExit();
await main();
