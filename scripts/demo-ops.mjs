// The program in operation, in one command and on a Redis of its own: two workers, the dashboard, and Prometheus with
// the rules where it is installed; a varied load with bad jobs for a minute; then what became of every job.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { categorizer, endAllAtExit, metric, printTable, startListening, startRedis, stop } from './demo-processes.mjs';
import { build, ROOT, setUp } from './setup.mjs';

const HELP = `The program in operation, with a load, for a minute.

  npm run demo:ops [-- options]

  --seconds <n>  how long the load takes (default: DEMO_SECONDS, or 60)
  --keep         leave all of it running after the load, until Ctrl-C
  --no-build     run dist/ as it is
  --help`;

const WHAT_TO_LOOK_AT = `
What to look at:
  dashboard   log in; product-categorization, Failed: four kinds of bad jobs, each with its code; a products.packed job;
              product-categories: the results, which nobody collects here
  Prometheus  Alerts: CategorizerFailureBudgetBurning becomes pending, as more than 1.4 % of the jobs fail, and with
              --keep it fires after a minute
              Graph: categorizer_queue_oldest_waiting_age_seconds, the burst at half time
`;

const PROGRESS_EVERY_MS = 10_000;
const CATALOGUE_RUN = 'demo-catalogue';
const MODEL_PATH = 'model/model.onnx';
const PRODUCT_QUEUE = 'queue="product-categorization"';

function readOptions() {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: process.env.DEMO_SECONDS || '60' },
      keep: { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const seconds = Number(values.seconds);
  if (!(seconds > 0)) throw new Error(`--seconds ${values.seconds}: expected a number above 0`);
  return { ...values, seconds };
}

/** Starts everything. @param {string} directory where it may write */
async function startAll(directory) {
  const { findAlertmanager, hasPrometheus, startAlertmanager, startPrometheus } = await import(
    './demo-ops-monitoring.mjs'
  );
  const redis = await startRedis(directory);
  const env = { REDIS_URL: redis.url, HTTP_PORT: '0', MODEL_PATH };
  const password = randomBytes(12).toString('base64url');
  const [hash, ...workers] = await Promise.all([
    categorizer(['dashboard', 'hash-password'], env, [0], `${password}\n`),
    startListening('worker', env),
    startListening('worker', env),
  ]);
  const dashboard = await startListening('dashboard', {
    ...env,
    DASHBOARD_PORT: '0',
    DASHBOARD_OPERATOR_USER: 'operator',
    DASHBOARD_OPERATOR_PASSWORD_HASH: hash.trim(),
  });
  const command = hasPrometheus() ? findAlertmanager() : undefined;
  const alertmanager = command && (await startAlertmanager(command, directory));
  const urls = workers.map(({ url }) => url);
  const prometheus = hasPrometheus() ? await startPrometheus(directory, urls, alertmanager?.url) : undefined;
  return { env, redis, workers, dashboard, password, prometheus, alertmanager };
}

/** @typedef {Awaited<ReturnType<typeof startAll>>} Demo */

/** @param {Demo} demo */
function printAddresses({ redis, workers, dashboard, password, prometheus, alertmanager }) {
  const debian = (/** @type {string} */ name) => `not installed (Debian: apt-get install ${name})`;
  printTable([
    ['dashboard', `${dashboard.url}/  (user operator, password ${password})`],
    ...workers.map(({ url }, i) => /** @type {[string, string]} */ ([`worker ${i + 1}`, `${url}/metrics`])),
    ['Prometheus', prometheus ? `${prometheus.url}/` : debian('prometheus')],
    // Without Prometheus it would have nothing to show.
    ...(prometheus
      ? [/** @type {[string, string]} */ (['Alertmanager', alertmanager?.url ?? debian('prometheus-alertmanager')])]
      : []),
    ['Redis', redis.url],
  ]);
  console.log();
}

/** What the workers say together. @param {Demo} demo */
async function readFigures({ workers }) {
  const texts = await Promise.all(workers.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
  /** @param {string} name @param {string} [label] */
  const sum = (name, label) => texts.reduce((total, text) => total + metric(text, name, label), 0);
  // Every worker tells the same of the queue.
  const largest = (/** @type {string} */ name, /** @type {string} */ label) =>
    Math.max(...texts.map((text) => metric(text, name, label)));
  return {
    lag: largest('categorizer_queue_oldest_waiting_age_seconds', PRODUCT_QUEUE),
    waiting: largest('categorizer_queue_jobs', `${PRODUCT_QUEUE},state="waiting"`),
    categorized: sum('categorizer_products_total', 'outcome="categorized"'),
    rejected: sum('categorizer_products_total', 'outcome="rejected"'),
    failed: sum('categorizer_jobs_finished_total', 'outcome="failed"'),
  };
}

/** A line every ten seconds. @param {Demo} demo @param {AbortSignal} signal */
async function reportProgress(demo, signal) {
  const begun = performance.now();
  let last = 0;
  for (;;) {
    await pause(PROGRESS_EVERY_MS, undefined, { signal });
    const { lag, waiting, categorized, failed } = await readFigures(demo);
    const rate = Math.round(((categorized - last) * 1000) / PROGRESS_EVERY_MS).toLocaleString('en');
    last = categorized;
    const seconds = Math.round((performance.now() - begun) / 1000);
    console.error(`${seconds} s: lag ${lag.toFixed(1)} s, ${waiting} waiting, ${rate} products/s, ${failed} failed`);
  }
}

/** @param {Demo} demo @param {number} seconds @param {string} directory where it may write */
async function feed(demo, seconds, directory) {
  const { createLoad } = await import('./demo-ops-load.mjs');
  const { width } = JSON.parse(readFileSync(`${ROOT}model/manifest.json`, 'utf8'));
  const load = createLoad({ redisUrl: demo.redis.url, width });
  const loadEnded = new AbortController();
  const reporting = reportProgress(demo, loadEnded.signal).catch((error) => {
    if (error.name !== 'AbortError') throw error;
  });
  console.error(`${seconds} s of load: products one by one, chunks, a burst at half time, and jobs that must fail …`);
  const enqueue = ['enqueue', 'examples/catalogue.csv', '--run', CATALOGUE_RUN, '--chunk-size', '100'];
  const rejects = ['--rejects', `${directory}/rejects`, '--json'];
  await Promise.all([
    load.run(seconds),
    categorizer([...enqueue, ...rejects], demo.env, [0, 3]).then((summary) =>
      load.addRun(CATALOGUE_RUN, JSON.parse(summary).jobs),
    ),
  ]);
  const outcome = await load.outcome();
  loadEnded.abort();
  await reporting;
  load.close();
  return { sent: load.sent, outcome };
}

/**
 * @param {Demo} demo
 * @param {Awaited<ReturnType<typeof feed>>} fed
 */
async function printSummary(demo, { sent, outcome }) {
  const { activeAlerts } = await import('./demo-ops-monitoring.mjs');
  const { categorized, rejected } = await readFigures(demo);
  const { failedByCode, completed, resultsWaiting, lost } = outcome;
  const total = (/** @type {Map<string, number>} */ counts) => [...counts.values()].reduce((sum, n) => sum + n, 0);
  const withParts = (/** @type {Map<string, number>} */ counts) =>
    `${total(counts)} (${[...counts].map(([name, count]) => `${name} ${count}`).join(', ')})`;
  const alerts = demo.prometheus && (await activeAlerts(demo.prometheus.url));
  printTable([
    ['jobs sent', withParts(sent)],
    ['jobs completed', completed],
    ['jobs failed', withParts(failedByCode)],
    ['jobs lost', lost.length],
    ['products categorized', categorized],
    ['products rejected', rejected],
    ['results waiting', resultsWaiting],
    ['alerts', alerts ? alerts.join(', ') || 'none' : 'Prometheus is not installed'],
  ]);
  for (const line of lost.slice(0, 10)) console.error(`lost: ${line}`);
}

/** @param {Demo} demo */
async function stopAll({ workers, dashboard, prometheus, alertmanager, redis }) {
  for (const worker of workers) {
    const { code, stderr } = await stop(worker.process);
    if (code !== 0) throw new Error(`a worker ended with ${code}:\n${stderr}`);
  }
  for (const server of [dashboard, prometheus, alertmanager, redis]) if (server) await stop(server.process);
}

async function main() {
  const { seconds, keep, help, 'no-build': noBuild } = readOptions();
  if (help) return console.log(HELP);
  setUp();
  if (!noBuild) {
    console.error('building …');
    build();
  }
  const directory = mkdtempSync(join(tmpdir(), 'categorizer-demo-ops-'));
  endAllAtExit(() => rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
  console.error('starting a private Redis, two workers, the dashboard and what there is of Prometheus …');
  const demo = await startAll(directory);
  printAddresses(demo);
  console.error(WHAT_TO_LOOK_AT);
  if (!keep) console.error('All of it ends after the load; with --keep it stays until Ctrl-C.');
  const fed = await feed(demo, seconds, directory);
  await printSummary(demo, fed);
  process.exitCode = fed.outcome.lost.length === 0 ? 0 : 1;
  if (keep) {
    console.error('Everything stays as it is until Ctrl-C.');
    await new Promise(() => undefined);
  }
  await stopAll(demo);
}

await main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
