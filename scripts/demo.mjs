// The main job in one command, on a Redis of its own: start a worker, enqueue the sample catalogue, collect the
// categories into a file, print what happened, stop everything.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { build, ROOT, setUp } from './setup.mjs';

const CATALOGUE = `${ROOT}examples/catalogue.csv`;
const OUTPUT = `${ROOT}demo`;
const RUN = 'demo';

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/**
 * Starts a process; what it writes to stderr is shown only if it fails.
 * @param {string} command @param {string[]} args @param {NodeJS.ProcessEnv} [env]
 */
function start(command, args, env) {
  // Settings of the caller's own (QUEUE_PREFIX, LOG_LEVEL …) must not change what the demo shows.
  const environment = { PATH: process.env.PATH, ...env };
  const child = spawn(command, args, { cwd: ROOT, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = once(child, 'close').then(([code]) => {
    running.delete(child);
    return { code, stdout, stderr };
  });
  /** @param {RegExp} pattern in either stream */
  const says = (pattern) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(stdout) ?? pattern.exec(stderr);
        if (match) resolve(match);
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      ended.then(() => reject(new Error(`${command} ${args.join(' ')} ended early:\n${stdout}${stderr}`)));
    });
  return { child, ended, says };
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  server.close();
  await once(server, 'close');
  return port;
}

/** @param {string[]} args @param {NodeJS.ProcessEnv} env @param {number[]} expected exit codes */
async function categorizer(args, env, expected) {
  const { code, stdout, stderr } = await start(process.execPath, ['dist/main.js', ...args], env).ended;
  if (!expected.includes(code)) throw new Error(`categorizer ${args.join(' ')} ended with ${code}:\n${stderr}`);
  return JSON.parse(stdout);
}

/** @param {ReturnType<typeof start>} process_ */
async function stop({ child, ended }) {
  child.kill('SIGTERM');
  await ended;
}

/** @param {string} metrics @param {string} name */
function metric(metrics, name) {
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(metrics)?.[1]);
}

/** @param {[string, string | number][]} rows */
function printTable(rows) {
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) console.log(`${name.padEnd(width)}  ${value}`);
}

async function main() {
  setUp();
  console.error('building …');
  build();
  rmSync(OUTPUT, { recursive: true, force: true });
  mkdirSync(`${OUTPUT}/redis`, { recursive: true });

  const port = await freePort();
  console.error(`starting a private Redis on port ${port} and a worker …`);
  const redis = start('redis-server', [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', `${OUTPUT}/redis`, '--save', ''],
    ...['--maxmemory-policy', 'noeviction'],
  ]);
  await redis.says(/Ready to accept connections/);
  const env = { REDIS_URL: `redis://127.0.0.1:${port}`, HTTP_PORT: '0', MODEL_PATH: 'model/model.onnx' };
  const worker = start(process.execPath, ['dist/main.js', 'worker'], env);
  const [, httpPort] = await worker.says(/"port":(\d+),"msg":"http listening"/);

  console.error('enqueueing examples/catalogue.csv and collecting its categories …');
  const begun = performance.now();
  const enqueue = ['enqueue', CATALOGUE, '--run', RUN, '--chunk-size', '100', '--rejects', `${OUTPUT}/rejects`];
  const sent = await categorizer([...enqueue, '--json'], env, [0, 3]);
  const results = ['results', '--run', RUN, '--wait', '--out', `${OUTPUT}/categories.csv`];
  const got = await categorizer([...results, '--json'], env, [0, 3]);
  const seconds = (performance.now() - begun) / 1000;
  const metrics = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
  await stop(worker);
  await stop(redis);
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

await main();
