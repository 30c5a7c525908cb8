// The processes of the benchmark: a Redis of its own, workers, commands; and how much memory each had at its peak.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, removeStateAtExit, STATE_DIR } from '../scripts/demo-processes.mjs';

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));

removeStateAtExit();

/** A redis-server without persistence on a free port. */
export async function startRedis() {
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'categorizer-bench-'));
  const child = spawn(
    'redis-server',
    ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', '', '--appendonly', 'no'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let log = '';
  await new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      log += chunk;
      if (log.includes('Ready to accept connections')) resolve(undefined);
    });
    child.once('exit', () => reject(new Error(`redis-server did not start:\n${log}`)));
  });
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    pid: Number(child.pid),
    async stop() {
      child.kill('SIGTERM');
      await once(child, 'exit');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Peak resident memory in MB so far. @param {number} pid */
export function peakMegabytes(pid) {
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round(Number(line?.[1]) / 1024);
}

/**
 * A script that says `ready` on stdout when it is.
 *
 * @param {readonly string[]} args
 * @param {Record<string, string>} env
 */
async function start(args, env) {
  const child = spawn(process.execPath, [...args], {
    env: { PATH: process.env.PATH, STATE_DIR, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const ready = new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
        if (/"worker started"|^ready$/m.test(output)) resolve(undefined);
      });
    }
    child.once('exit', (code) => reject(new Error(`${args.join(' ')} ended with ${code}:\n${output}`)));
  });
  await ready;
  return {
    pid: Number(child.pid),
    /** Peak memory in MB, at its end. */
    async stop() {
      const peak = peakMegabytes(Number(child.pid));
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
      return peak;
    },
  };
}

/** @param {Record<string, string>} env @param {readonly string[]} nodeOptions */
export function startWorker(env, nodeOptions = []) {
  return start([...nodeOptions, MAIN, 'worker'], { HTTP_PORT: '0', ...env });
}

/** @param {string} script in this directory @param {readonly string[]} args */
export function startScript(script, args) {
  return start([fileURLToPath(new URL(script, import.meta.url)), ...args], {});
}

/**
 * Runs a command of the program, or a script, to its end.
 *
 * @param {readonly string[]} args
 * @param {Record<string, string>} env
 */
export async function run(args, env = {}) {
  const begin = performance.now();
  const child = spawn(process.execPath, [...args], {
    env: { PATH: process.env.PATH, STATE_DIR, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let peak = 0;
  // The peak can only be read while the process lives.
  const sampling = setInterval(() => {
    try {
      // A process that ends has no figure any more.
      peak = Math.max(peak, peakMegabytes(Number(child.pid)) || 0);
    } catch {
      clearInterval(sampling);
    }
  }, 50);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const [code] = await once(child, 'close');
  clearInterval(sampling);
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}:\n${output}`);
  return { seconds: (performance.now() - begin) / 1000, peak, output };
}

/** @param {readonly string[]} args @param {Record<string, string>} env */
export function categorizer(args, env) {
  return run([MAIN, ...args], env);
}
