// The load of the operations demo: products one by one at a changing rate, readable and packed chunks, a burst, and
// jobs that must fail. It remembers what has to become of every job that it sent.
import { setTimeout as pause } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import {
  chunkJobId,
  DEFAULT_PREFIX,
  JOB_OPTIONS,
  PACKED_PRODUCTS_JOB,
  PRODUCT_JOB,
  PRODUCT_QUEUE,
  PRODUCTS_JOB,
  packIds,
  packProducts,
  parseFailedReason,
  payloadKey,
  RESULT_QUEUE,
  resultIdOf,
} from '../dist/contract/index.js';

const RUN = 'demo-load';
const CENTRES = [0, 3, -3];
/** Twice what the alert on the failure budget allows: see categorizer:threshold:failure_burn_rate. */
const BAD_SHARE = 0.03;
const TICK_MS = 200;
/** How many jobs a second hold one product, at least and at most. */
const RATE = { least: 20, most: 200 };
/** At half time so many come at once, for each second that the load takes. */
const BURST_JOBS_PER_SECOND = 100;
const JOBS_AT_ONCE = 1000;
const FINISH_WITHIN_MS = 60_000;

/**
 * @typedef {{ name: string, data: object, opts: { jobId: string } }} DemoJob
 * @typedef {{ failedByCode: Map<string, number>, completed: number, resultsWaiting: number, lost: string[] }} Outcome
 */

/** @param {{ redisUrl: string, width: number }} options width: numbers in a feature vector of the model */
export function createLoad({ redisUrl, width }) {
  const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
  const [queue, results] = [PRODUCT_QUEUE, RESULT_QUEUE].map(
    (name) => new Queue(name, { connection, prefix: DEFAULT_PREFIX, defaultJobOptions: { ...JOB_OPTIONS } }),
  );
  /** Job id to the code that it has to fail with, or undefined where it has to complete. @type {Map<string, string | undefined>} */
  const expected = new Map();
  /** @type {Map<string, number>} jobs by what they are */
  const sent = new Map();
  let jobsMade = 0;
  let productsMade = 0;

  /** @param {string} what @param {string | undefined} code @param {DemoJob[]} jobs */
  async function send(what, code, jobs) {
    for (const { opts } of jobs) expected.set(opts.jobId, code);
    sent.set(what, (sent.get(what) ?? 0) + jobs.length);
    for (let first = 0; first < jobs.length; first += JOBS_AT_ONCE) {
      await queue.addBulk(jobs.slice(first, first + JOBS_AT_ONCE));
    }
  }

  function makeProduct() {
    productsMade += 1;
    const centre = CENTRES[productsMade % CENTRES.length];
    return {
      productId: `DEMO-${productsMade}`,
      features: Array.from({ length: width }, () => centre + (Math.random() - 0.5) * 2),
    };
  }

  /** @param {number} count */
  const makeProducts = (count) => Array.from({ length: count }, makeProduct);

  /** @param {string} name @param {object} data @returns {DemoJob} */
  function makeJob(name, data) {
    jobsMade += 1;
    return { name, data: { ...data, runId: RUN }, opts: { jobId: `${RUN}-${jobsMade}` } };
  }

  /** @param {number} count */
  const sendOneByOne = (count) =>
    send(
      'product',
      undefined,
      makeProducts(count).map((product) => makeJob(PRODUCT_JOB, product)),
    );

  /** @param {number} count */
  async function sendPacked(count) {
    const products = makeProducts(count);
    const values = Float32Array.from(products.flatMap(({ features }) => features));
    const ids = packIds(products.map(({ productId }) => productId));
    const { payload, ...announced } = packProducts({ ids, features: { rows: count, width, values } });
    const chunk = makeJob(PACKED_PRODUCTS_JOB, { ...announced, width });
    const key = payloadKey(DEFAULT_PREFIX, chunk.opts.jobId, announced.crc32);
    await connection.set(key, payload, 'EX', 3600);
    await send('products.packed', undefined, [{ ...chunk, data: { ...chunk.data, payload: key } }]);
  }

  /** Some of its products are rejected, and it completes all the same. @param {number} count */
  function sendReadable(count) {
    const products = [...makeProducts(count), { ...makeProduct(), features: [1] }, { ...makeProduct(), productId: '' }];
    return send('products', undefined, [makeJob(PRODUCTS_JOB, { products })]);
  }

  const badJobs = [
    () => send('wrong width', 'WRONG_WIDTH', [makeJob(PRODUCT_JOB, { ...makeProduct(), features: [1, 2] })]),
    () => {
      const { productId, features } = makeProduct();
      const data = { productId, features: ['NaN', ...features.slice(1)] };
      return send('NaN as text', 'NON_FINITE_FEATURE', [makeJob(PRODUCT_JOB, data)]);
    },
    () => send('unknown job name', 'INVALID_JOB', [makeJob('produkt', makeProduct())]),
    () => {
      const chunk = makeJob(PACKED_PRODUCTS_JOB, { count: 1, width, bytes: 4 * width + 1, crc32: 1 });
      const payload = payloadKey(DEFAULT_PREFIX, chunk.opts.jobId, 1);
      return send('payload missing', 'PAYLOAD_MISSING', [{ ...chunk, data: { ...chunk.data, payload } }]);
    },
  ];

  /** @param {number} seconds */
  async function run(seconds) {
    // `height` goes from 0 to 1 and back, three times.
    const schedule = [
      { at: 0.2, every: 1, send: (/** @type {number} */ height) => sendReadable(200 + Math.floor(height * 600)) },
      { at: 0.7, every: 1.5, send: (/** @type {number} */ height) => sendPacked(2000 + Math.floor(height * 6000)) },
      { at: seconds / 2, every: seconds, send: () => sendOneByOne(Math.round(BURST_JOBS_PER_SECOND * seconds)) },
    ];
    const begun = performance.now();
    let before = 0;
    let owed = 0;
    let badSent = 0;
    for (let now = 0; now < seconds; now = (performance.now() - begun) / 1000) {
      const height = (1 - Math.cos((now / seconds) * 6 * Math.PI)) / 2;
      // What is less than a job is owed to the next turn.
      owed += (RATE.least + height * (RATE.most - RATE.least)) * (now - before);
      before = now;
      await sendOneByOne(Math.floor(owed));
      owed %= 1;
      for (const item of schedule) {
        if (now < item.at) continue;
        item.at += item.every;
        await item.send(height);
      }
      for (; badSent < expected.size * BAD_SHARE; badSent += 1) await badJobs[badSent % badJobs.length]();
      await pause(TICK_MS);
    }
  }

  /** Jobs that `categorizer enqueue` sent. @param {string} runId @param {number} jobs */
  function addRun(runId, jobs) {
    for (let chunk = 0; chunk < jobs; chunk += 1) expected.set(chunkJobId(runId, chunk), undefined);
    sent.set('products.packed', (sent.get('products.packed') ?? 0) + jobs);
  }

  async function untilFinished() {
    const deadline = performance.now() + FINISH_WITHIN_MS;
    for (;;) {
      const left = await queue.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized');
      if (left === 0 || performance.now() > deadline) return;
      await pause(100);
    }
  }

  /** Waits until all jobs have come to their end, and looks for every one of them. @returns {Promise<Outcome>} */
  async function outcome() {
    await untilFinished();
    const published = new Set(await results.getRanges(['waiting'], 0, -1));
    /** @type {Map<string, string>} */
    const failed = new Map();
    for (const { id = '', failedReason = '' } of await queue.getFailed()) {
      failed.set(id, parseFailedReason(failedReason).code);
    }
    /** @type {Map<string, number>} */
    const failedByCode = new Map();
    for (const code of failed.values()) failedByCode.set(code, (failedByCode.get(code) ?? 0) + 1);
    const isPublished = (/** @type {string} */ id) => published.has(resultIdOf(id, 0));
    const lost = [...expected].filter(
      ([id, code]) => failed.get(id) !== code || isPublished(id) !== (code === undefined),
    );
    return {
      failedByCode,
      completed: [...expected.keys()].filter(isPublished).length,
      resultsWaiting: published.size,
      lost: lost.map(
        ([id, code]) =>
          `${id}: expected ${code ?? 'a result'}, found ${failed.get(id) ?? 'neither a failed job nor a result'}`,
      ),
    };
  }

  return { run, addRun, outcome, sent, close: () => connection.disconnect() };
}
