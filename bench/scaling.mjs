// npm run bench:scaling: 1, 2, 3 and 4 workers on one private Redis; a table on stdout, everything in
// bench/results/scaling.json. `--quick` makes it small: to see that it works; it writes nothing, as its figures mean nothing.
import { mkdirSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { DEFAULT_PREFIX, PRODUCT_QUEUE, RESULT_QUEUE } from '../dist/contract/index.js';
import { describeMachine, spread } from './describe.mjs';
import { startRedis, startWorker } from './processes.mjs';
import { FILL } from './queue-rungs.mjs';

const quick = process.argv.includes('--quick');
const rounds = quick ? 1 : 5;
const WORKERS = [1, 2, 3, 4];
const CHUNK = 8192;

/** @typedef {import('./queue-rungs.mjs').Fill} Fill */
/** @typedef {{ productsPerSecond: number, redisBusy: number, redisMicroseconds: number }} Measure */

/** @type {Record<string, { what: string, products: number, fill: Fill }>} */
const KINDS = {
  packed: { what: 'packed chunks of 8,192', products: (quick ? 20 : 400) * CHUNK, fill: FILL.packed(CHUNK) },
  product: { what: '`product` jobs', products: quick ? 2_000 : 20_000, fill: FILL.single() },
};

/** CPU seconds that this Redis has used. @param {Redis} connection */
async function redisSeconds(connection) {
  const text = await connection.info('cpu');
  return ['used_cpu_sys', 'used_cpu_user'].reduce(
    (sum, name) => sum + Number(new RegExp(`^${name}:(.*)$`, 'm').exec(text)?.[1]),
    0,
  );
}

/**
 * One Redis with so many workers, which live until they are closed.
 *
 * @param {{ workers: number, products: number, fill: Fill }} options
 */
async function open({ workers: count, products, fill }) {
  const redis = await startRedis();
  const connection = new Redis(redis.url, { maxRetriesPerRequest: null });
  const queue = new Queue(PRODUCT_QUEUE, { connection, prefix: DEFAULT_PREFIX });
  const results = new Queue(RESULT_QUEUE, { connection, prefix: DEFAULT_PREFIX });
  const workers = await Promise.all(Array.from({ length: count }, () => startWorker({ REDIS_URL: redis.url })));

  /** Puts all products on the queue, and then lets the workers have them. @returns {Promise<Measure>} */
  async function measure() {
    await queue.pause();
    const jobs = await fill(connection, queue, 'scaling', products);
    const before = await redisSeconds(connection);
    const begin = performance.now();
    await queue.resume();
    for (let looks = 1; (await connection.llen(results.toKey('wait'))) < jobs; looks++) {
      await pause(2);
      if (looks % 100 === 0 && (await queue.getFailedCount()) > 0) throw new Error('a job failed');
    }
    const seconds = (performance.now() - begin) / 1000;
    const busy = (await redisSeconds(connection)) - before;
    await empty();
    return {
      productsPerSecond: products / seconds,
      redisBusy: busy / seconds,
      redisMicroseconds: (busy * 1e6) / products,
    };
  }

  /** The results of a round would be in the way of the next: in memory, and under the same ids. */
  async function empty() {
    while ((await queue.getActiveCount()) > 0) await pause(2);
    await connection.flushdb();
  }

  async function close() {
    for (const worker of workers) await worker.stop();
    await queue.close();
    await results.close();
    connection.disconnect();
    await redis.stop();
  }

  return { measure, close };
}

/**
 * In rounds, each number of workers once in each: a machine that becomes slower or faster meanwhile does so for all.
 *
 * @param {{ what: string, products: number, fill: Fill }} kind
 * @returns {Promise<Record<number, Measure[]>>} the first round warms up and is not among them
 */
async function measureInRounds({ what, products, fill }) {
  /** @type {Record<number, Measure[]>} */
  const measures = Object.fromEntries(WORKERS.map((workers) => [workers, []]));
  const rungs = await Promise.all(
    WORKERS.map(async (workers) => ({ workers, rung: await open({ workers, products, fill }) })),
  );
  for (let round = 0; round <= rounds; round++) {
    console.error(`${what}: ${round === 0 ? 'warming up' : `round ${round} of ${rounds}`}`);
    for (const { workers, rung } of rungs) {
      const measured = await rung.measure();
      if (round > 0) measures[workers].push(measured);
    }
  }
  for (const { rung } of rungs) await rung.close();
  return measures;
}

/** @param {readonly Measure[]} measures @param {readonly Measure[]} alone one worker in the same rounds */
function summary(measures, alone) {
  return {
    productsPerSecond: spread(measures.map(({ productsPerSecond }) => productsPerSecond)),
    overOneWorker: spread(measures.map((measure, i) => measure.productsPerSecond / alone[i].productsPerSecond)).median,
    redisBusy: spread(measures.map(({ redisBusy }) => redisBusy)).median,
    redisMicroseconds: spread(measures.map(({ redisMicroseconds }) => redisMicroseconds)).median,
  };
}

/** @type {Record<string, { what: string, products: number, workers: Record<string, ReturnType<typeof summary>> }>} */
const kinds = {};
for (const [name, kind] of Object.entries(KINDS)) {
  const measures = await measureInRounds(kind);
  const workers = Object.fromEntries(WORKERS.map((count) => [count, summary(measures[count], measures[1])]));
  kinds[name] = { what: kind.what, products: kind.products, workers };
}

const format = (/** @type {number} */ value) => Math.round(value).toLocaleString('en');
console.log('| | workers | products a second | spread | over one worker | Redis busy | Redis, µs a product |');
console.log('| --- | ---: | ---: | --- | ---: | ---: | ---: |');
for (const { what, workers } of Object.values(kinds)) {
  for (const [count, { productsPerSecond, overOneWorker, redisBusy, redisMicroseconds }] of Object.entries(workers)) {
    const { median, min, max } = productsPerSecond;
    const rates = [format(median), `${format(min)} to ${format(max)}`, overOneWorker.toFixed(2)];
    const redis = [`${format(100 * redisBusy)} %`, redisMicroseconds.toFixed(redisMicroseconds < 10 ? 2 : 0)];
    console.log(`| ${[what, count, ...rates, ...redis].join(' | ')} |`);
  }
}

if (!quick) {
  const report = {
    date: new Date().toISOString(),
    ...describeMachine(),
    kinds,
  };
  const directory = new URL('results/', import.meta.url);
  mkdirSync(directory, { recursive: true });
  writeFileSync(new URL('scaling.json', directory), `${JSON.stringify(report, null, 2)}\n`);
}
