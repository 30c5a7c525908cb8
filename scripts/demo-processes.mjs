// What the demos share: child processes that never outlive them, free ports, a worker's metrics, a table.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './setup.mjs';

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();

/** What the program notes about imports goes with the demo, not to the home of who runs it. */
export const STATE_DIR = join(tmpdir(), `categorizer-demo-state-${process.pid}`);

/** Removes it when this process ends. */
export function removeStateAtExit() {
  process.on('exit', () => rmSync(STATE_DIR, { recursive: true, force: true }));
}

/**
 * However this process ends (but for SIGKILL), what it started ends with it. Its exit code after a signal is
 * `process.exitCode`, where that is set, or the signal's.
 *
 * @param {() => void} [cleanUp] called after that
 */
export function endAllAtExit(cleanUp) {
  removeStateAtExit();
  process.on('exit', () => {
    for (const child of running) child.kill('SIGKILL');
    cleanUp?.();
  });
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => process.exit(process.exitCode ?? 128 + constants.signals[signal]));
  }
  // A signal to npm alone ends npm and its shell, and does not come through to here.
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) process.exit(128 + constants.signals.SIGTERM);
  }, 500).unref();
}

/**
 * Starts a process; what it writes to stderr is shown only if it fails.
 *
 * @param {string} command @param {string[]} args @param {NodeJS.ProcessEnv} [env] @param {string} [input]
 */
export function start(command, args, env, input = '') {
  // Settings of the caller's own (QUEUE_PREFIX, LOG_LEVEL …) must not change what the demo shows.
  const environment = { PATH: process.env.PATH, STATE_DIR, ...env };
  const child = spawn(command, args, { cwd: ROOT, env: environment, stdio: 'pipe' });
  running.add(child);
  child.stdin.on('error', () => undefined).end(input);
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
  /** @param {RegExp} pattern in either stream @returns {Promise<RegExpExecArray>} */
  const says = (pattern) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(stdout) ?? pattern.exec(stderr);
        if (!match) return;
        child.stdout.off('data', look);
        child.stderr.off('data', look);
        resolve(match);
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      ended.then(() => reject(new Error(`${command} ${args.join(' ')} ended early:\n${stdout}${stderr}`)), reject);
    });
  return { child, ended, says };
}

/** @param {ReturnType<typeof start>} process_ */
export async function stop({ child, ended }) {
  child.kill('SIGTERM');
  return await ended;
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  server.close();
  await once(server, 'close');
  return port;
}

/** A Redis of the demo's own. @param {string} directory where it may write */
export async function startRedis(directory) {
  const port = await freePort();
  const redis = start('redis-server', [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', ''],
    ...['--maxmemory-policy', 'noeviction'],
  ]);
  await redis.says(/Ready to accept connections/);
  return { process: redis, url: `redis://127.0.0.1:${port}` };
}

/** Starts a command of ours that listens. @param {string} command @param {NodeJS.ProcessEnv} env */
export async function startListening(command, env) {
  const server = start(process.execPath, ['dist/main.js', command], env);
  const [, port] = await server.says(/"port":(\d+),"msg":"http listening"/);
  return { process: server, url: `http://127.0.0.1:${port}` };
}

/**
 * Runs a command of ours to its end.
 *
 * @param {string[]} args @param {NodeJS.ProcessEnv} env @param {number[]} expected exit codes @param {string} [input]
 * @returns {Promise<string>} what it wrote to stdout
 */
export async function categorizer(args, env, expected, input) {
  const { code, stdout, stderr } = await start(process.execPath, ['dist/main.js', ...args], env, input).ended;
  if (!expected.includes(code)) throw new Error(`categorizer ${args.join(' ')} ended with ${code}:\n${stderr}`);
  return stdout;
}

/**
 * The sum of all series of a metric.
 *
 * @param {string} metrics what a worker answered @param {string} name @param {string} [label] as `outcome="failed"`
 */
export function metric(metrics, name, label = '') {
  const series = metrics.matchAll(new RegExp(`^${name}(\\{.*\\})? (\\S+)$`, 'gm'));
  return [...series].reduce((sum, [, labels = '', value]) => sum + (labels.includes(label) ? Number(value) : 0), 0);
}

/** @param {[string, string | number][]} rows */
export function printTable(rows) {
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) console.log(`${name.padEnd(width)}  ${value}`);
}
