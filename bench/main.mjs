// npm run bench: every rung in one run on a private Redis; a table on stdout, everything in bench/results/latest.json.
// `--quick` makes each rung small: to see that the benchmark itself works. Its figures mean nothing.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { configSchema } from '../dist/config.js';
import { describeMachine, say, spread } from './describe.mjs';
import { measureFiles, measureMemory } from './files.mjs';
import { measureLatency } from './latency.mjs';
import { run } from './processes.mjs';
import { FILL, openQueueRung } from './queue-rungs.mjs';

const quick = process.argv.includes('--quick');
const repeat = quick ? 1 : 5;
/** @param {number} products */
const scaled = (products) => (quick ? Math.ceil(products / 20 / 8192) * 8192 : products);

async function measureCeiling() {
  const script = fileURLToPath(new URL('ceiling.mjs', import.meta.url));
  return Number((await run([script, String(scaled(2_048_000) / 8192), '8192'])).output);
}

const none = async () => undefined;
const size = quick ? 0.1 : 1;
/** @type {Record<string, { what: string, open: () => Promise<{ measure(): Promise<number>, close(): Promise<void> }> }>} */
const RATES = {
  a: {
    what: 'one job a product, one run each, concurrency 1',
    open: () => openQueueRung({ products: 2_000 * size, fill: FILL.single(), naiveConcurrency: 1 }),
  },
  b: {
    what: 'the same, concurrency 512',
    open: () => openQueueRung({ products: 20_000 * size, fill: FILL.single(), naiveConcurrency: 512 }),
  },
  c: {
    what: 'this worker, product jobs',
    open: () => openQueueRung({ products: 20_000 * size, fill: FILL.single() }),
  },
  d: {
    what: 'this worker, readable chunks of 1,000',
    open: () => openQueueRung({ products: 300_000 * size, fill: FILL.readable() }),
  },
  e: {
    what: 'this worker, packed chunks of 8,192',
    open: () => openQueueRung({ products: scaled(2_048_000), fill: FILL.packed() }),
  },
  f: {
    what: 'no queue: unpack, check, run, pack',
    open: async () => ({ measure: measureCeiling, close: none }),
  },
};

/**
 * Measures in rounds, each rung once in each: a machine that becomes slower or faster meanwhile does so for all of them.
 *
 * @param {Record<string, () => Promise<{ measure(): Promise<number>, close(): Promise<void> }>>} open
 * @param {number} rounds
 * @returns {Promise<Record<string, number[]>>} the first round warms up and is not among them
 */
async function measureInRounds(open, rounds) {
  const opened = await Promise.all(Object.entries(open).map(async ([name, start]) => ({ name, rung: await start() })));
  /** @type {Record<string, number[]>} */
  const rates = Object.fromEntries(opened.map(({ name }) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`);
    for (const { name, rung } of opened) {
      const rate = await rung.measure();
      if (round > 0) rates[name].push(rate);
    }
  }
  for (const { rung } of opened) await rung.close();
  return rates;
}

say('(a) to (f)');
const rates = await measureInRounds(
  Object.fromEntries(Object.entries(RATES).map(([name, { open }]) => [name, open])),
  repeat,
);
const rungs = Object.fromEntries(
  Object.entries(RATES).map(([name, { what }]) => [name, { what, productsPerSecond: spread(rates[name]) }]),
);

say('(e) with chunks of other sizes');
const sizes = [512, 2048, 4096, 8192, 10_000];
const bySize = await measureInRounds(
  Object.fromEntries(
    sizes.map((chunk) => {
      const products = Math.floor(scaled(1_024_000) / chunk) * chunk;
      return [`chunks of ${chunk}`, () => openQueueRung({ products, fill: FILL.packed(chunk) })];
    }),
  ),
  repeat,
);
/** Why 8,192 is the default. */
const chunkSizes = Object.fromEntries(sizes.map((chunk) => [chunk, spread(bySize[`chunks of ${chunk}`])]));

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
const imports = [200_000, 2_000_000, 10_000_000].map(scaled);
for (const products of imports) {
  say(`peak memory of an import of ${products} products`);
  peakMegabytes[products] = await measureMemory(products);
}
const [least, , most] = imports.map((products) => peakMegabytes[products]);

/** The median over the rounds, of two rungs in the same round. @param {readonly number[]} of @param {readonly number[]} over */
const ratio = (of, over) => spread(of.map((value, round) => value / over[round])).median;
const ratios = {
  packedOverNaive: ratio(rates.e, rates.b),
  packedOverCeiling: ratio(rates.e, rates.f),
  batchedOverNaive: ratio(rates.c, rates.b),
  fileRunOverScript: ratio(files.seconds.run, files.seconds.script),
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
