// The main job in one command, on a Redis of its own: start a worker, enqueue the sample catalogue, collect the
// categories into a file, print what happened, stop everything.
import { mkdirSync, rmSync } from 'node:fs';
import { categorizer, endAllAtExit, metric, printTable, startListening, startRedis, stop } from './demo-processes.mjs';
import { build, ROOT, setUp } from './setup.mjs';

const CATALOGUE = `${ROOT}examples/catalogue.csv`;
const OUTPUT = `${ROOT}demo`;
const RUN = 'demo';

async function main() {
  setUp();
  console.error('building …');
  build();
  rmSync(OUTPUT, { recursive: true, force: true });
  mkdirSync(`${OUTPUT}/redis`, { recursive: true });

  console.error('starting a private Redis and a worker …');
  const redis = await startRedis(`${OUTPUT}/redis`);
  const env = { REDIS_URL: redis.url, HTTP_PORT: '0', MODEL_PATH: 'model/model.onnx' };
  const worker = await startListening('worker', env);

  console.error('enqueueing examples/catalogue.csv and collecting its categories …');
  const begun = performance.now();
  const enqueue = ['enqueue', CATALOGUE, '--run', RUN, '--chunk-size', '100', '--rejects', `${OUTPUT}/rejects`];
  const sent = JSON.parse(await categorizer([...enqueue, '--json'], env, [0, 3]));
  const results = ['results', '--run', RUN, '--wait', '--out', `${OUTPUT}/categories.csv`];
  const got = JSON.parse(await categorizer([...results, '--json'], env, [0, 3]));
  const seconds = (performance.now() - begun) / 1000;
  const metrics = await (await fetch(`${worker.url}/metrics`)).text();
  await stop(worker.process);
  await stop(redis.process);
  rmSync(`${OUTPUT}/redis`, { recursive: true });

  if (got.categorized !== sent.products) {
    throw new Error(`${sent.products} products were enqueued and ${got.categorized} categorized`);
  }
  const meanBatch = metric(metrics, 'categorizer_batch_rows_sum') / metric(metrics, 'categorizer_batch_rows_count');
  const reasons = Object.entries(sent.rejectedByCode).map(([code, count]) => `${code} ${count}`);
  console.log();
  printTable([
    ['rows', sent.products + sent.rejected],
    ['categorized', got.categorized],
    ['rejected', `${sent.rejected} (${reasons.join(', ')})`],
    ['products a second', `${Math.round(sent.products / seconds)} (start of the commands included)`],
    ['mean batch', `${meanBatch.toFixed(1)} rows`],
    .../** @type {[string, number][]} */ (Object.entries(got.byCategory)).map(
      ([code, count]) => /** @type {[string, string]} */ ([code, `${((100 * count) / got.categorized).toFixed(1)} %`]),
    ),
    ['output file', 'demo/categories.csv'],
    ['rejects', 'demo/rejects.csv, and why in demo/rejects.jsonl'],
  ]);
}

endAllAtExit();
await main();
