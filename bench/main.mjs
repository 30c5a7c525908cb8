// npm run bench: every rung in one run on a private Redis; a table on stdout, everything in bench/results/latest.json.
// `--quick` makes each rung small: to see that the benchmark itself works. Its figures mean nothing.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { configSchema } from '../dist/config.js';
import { measureFiles, measureMemory } from './files.mjs';
import { measureLatency } from './latency.mjs';
import { run } from './processes.mjs';
import { FILL, measureQueue } from './queue-rungs.mjs';

const quick = process.argv.includes('--quick');
const repeat = quick ? 1 : 5;
/** @param {number} products */
const scaled = (products) => (quick ? Math.ceil(products / 20 / 8192) * 8192 : products);

/** @typedef {{ median: number, min: number, max: number, runs: readonly number[] }} Spread */

/** @param {readonly number[]} runs @returns {Spread} */
function spread(runs) {
  const sorted = [...runs].sort((a, b) => a - b);
  return { median: sorted[Math.floor(sorted.length / 2)], min: sorted[0], max: sorted[sorted.length - 1], runs };
}

/** @param {string} what */
function say(what) {
  console.error(`${new Date().toISOString().slice(11, 19)} ${what}`);
}

/** @param {string} command @param {readonly string[]} args */
function output(command, args) {
  return execFileSync(command, args, { encoding: 'utf8', cwd: fileURLToPath(new URL('..', import.meta.url)) }).trim();
}

function describeMachine() {
  const { dependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return {
    machine: { cpu: cpus()[0].model, cores: cpus().length, memoryGB: Math.round(totalmem() / 1e9) },
    commit: output('git', ['rev-parse', 'HEAD']),
    changed: output('git', ['status', '--porcelain', '--', 'src', 'bench', 'package.json']) !== '',
    versions: { node: process.version, redis: output('redis-server', ['--version']).split(' ')[2], ...dependencies },
  };
}

async function measureCeiling() {
  const rates = [];
  for (let i = 0; i < repeat; i++) {
    const script = fileURLToPath(new URL('ceiling.mjs', import.meta.url));
    rates.push(Number((await run([script, String(scaled(2_048_000) / 8192), '8192'])).output));
  }
  return rates;
}

const rungs = {};
/** @type {[string, string, () => Promise<readonly number[]>][]} */
const RATES = [
  ['a', 'one job a product, one run each, concurrency 1', () => naive(2_000, 1)],
  ['b', 'the same, concurrency 512', () => naive(20_000, 512)],
  ['c', 'this worker, product jobs', () => queued(30_000, FILL.single())],
  ['d', 'this worker, readable chunks of 1,000', () => queued(300_000, FILL.readable())],
  ['e', 'this worker, packed chunks of 8,192', () => queued(2_048_000, FILL.packed())],
  ['f', 'no queue: unpack, check, run, pack', measureCeiling],
];

/** @param {number} products @param {number} concurrency */
async function naive(products, concurrency) {
  const size = quick ? products / 20 : products;
  return (await measureQueue({ products: size, repeat, fill: FILL.single(), naiveConcurrency: concurrency })).rates;
}

/** @param {number} products @param {import('./queue-rungs.mjs').Fill} fill */
async function queued(products, fill) {
  const size = products < 2_000_000 ? (quick ? products / 10 : products) : scaled(products);
  return (await measureQueue({ products: size, repeat, fill })).rates;
}

for (const [name, what, measure] of RATES) {
  say(`(${name}) ${what}`);
  rungs[name] = { what, productsPerSecond: spread(await measure()) };
}

/** Rung e with other sizes: why 8,192 is the default. @type {Record<string, Spread>} */
const chunkSizes = {};
for (const size of [512, 2048, 4096, 8192, 10_000]) {
  say(`(e) with packed chunks of ${size}`);
  const products = Math.floor(scaled(1_024_000) / size) * size;
  chunkSizes[size] = spread(
    (await measureQueue({ products, repeat: Math.min(repeat, 3), fill: FILL.packed(size) })).rates,
  );
}

say('(g) categorizer run, (h) a plain script');
const fileProducts = scaled(2_000_000);
const files = await measureFiles({ products: fileProducts, repeat: quick ? 1 : 3 });
rungs.g = { what: 'categorizer run, Parquet to Parquet, one worker running', seconds: spread(files.seconds.run) };
rungs.gLocal = { what: 'categorizer run --local', seconds: spread(files.seconds.runLocal) };
rungs.h = { what: 'a plain script: DuckDB and onnxruntime, no queue', seconds: spread(files.seconds.script) };
for (const rung of [rungs.g, rungs.gLocal, rungs.h]) {
  rung.products = fileProducts;
  rung.productsPerSecond = spread(rung.seconds.runs.map((/** @type {number} */ seconds) => fileProducts / seconds));
}

say('latency at half of the throughput of (c)');
const rate = rungs.c.productsPerSecond.median / 2;
const latencies = await measureLatency({ productsPerSecond: rate, seconds: quick ? 2 : 10 });
/** @param {number} q */
const quantile = (q) => latencies[Math.floor(q * (latencies.length - 1))];
const latency = {
  productsPerSecond: rate,
  products: latencies.length,
  batchMaxWaitMs: configSchema.shape.BATCH_MAX_WAIT_MS.parse(undefined),
  milliseconds: { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max: quantile(1) },
};

/** @type {Record<string, Awaited<ReturnType<typeof measureMemory>>>} */
const peakMegabytes = {};
const sizes = [200_000, 2_000_000, 10_000_000].map(scaled);
for (const products of sizes) {
  say(`peak memory of an import of ${products} products`);
  peakMegabytes[products] = await measureMemory(products);
}
const [least, , most] = sizes.map((products) => peakMegabytes[products]);

const per = (/** @type {string} */ name) => rungs[name].productsPerSecond.median;
const ratios = {
  packedOverNaive: per('e') / per('b'),
  packedOverCeiling: per('e') / per('f'),
  batchedOverNaive: per('c') / per('b'),
  fileRunOverScript: rungs.g.seconds.median / rungs.h.seconds.median,
  enqueuePeakGrowth: most.enqueue / least.enqueue,
  workerPeakGrowth: most.worker / least.worker,
};

const report = {
  date: new Date().toISOString(),
  quick,
  ...describeMachine(),
  rungs,
  chunkSizes,
  latency,
  peakMegabytes,
  ratios,
};
const directory = new URL('results/', import.meta.url);
mkdirSync(directory, { recursive: true });
const file = new URL(quick ? 'quick.json' : 'latest.json', directory);
writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);

const format = (/** @type {number} */ value) =>
  value >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
const rows = Object.entries(rungs).map(
  ([
    name,
    {
      what,
      productsPerSecond: { median, min, max },
    },
  ]) => [name, what, format(median), `${format(min)} to ${format(max)}`],
);
console.log(`\n| | products a second | median | spread |\n| --- | --- | ---: | --- |`);
for (const row of rows) console.log(`| ${row.join(' | ')} |`);
console.log('\n| products in a chunk | products a second |\n| ---: | ---: |');
for (const [size, { median }] of Object.entries(chunkSizes)) console.log(`| ${size} | ${format(median)} |`);
console.log(`\n| ratio | |\n| --- | ---: |`);
for (const [name, value] of Object.entries(ratios)) console.log(`| ${name} | ${format(value)} |`);
const { p50, p95, p99 } = latency.milliseconds;
console.log(`\nlatency at ${format(rate)} products a second: p50 ${p50} ms, p95 ${p95} ms, p99 ${p99} ms`);
console.log('\n| products | enqueue MB | worker MB | results MB | Redis MB |\n| ---: | ---: | ---: | ---: | ---: |');
for (const [products, { enqueue, worker, results, redis }] of Object.entries(peakMegabytes)) {
  console.log(`| ${format(Number(products))} | ${enqueue} | ${worker} | ${results} | ${redis} |`);
}
