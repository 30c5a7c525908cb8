// A PostgreSQL of one's own for demos, benchmarks and tests: in a temporary directory, on a free port, gone with
// whoever started it.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chown, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './demo-processes.mjs';
import { findPostgres } from './setup.mjs';

export { findPostgres };

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  // Nothing here is worth keeping through a crash of the machine, so nothing waits for the disk. synchronous_commit is
  // left on: without it a killed server forgets what it had committed last, and with fsync off it costs nothing.
  fsync: 'off',
  full_page_writes: 'off',
};

/**
 * Ends the server and removes its directory when standard input closes: when it is let go, and when whoever started it
 * ends, be it by SIGKILL. Each line says which process is to be ended, an empty one that none is. SIGQUIT is PostgreSQL's
 * immediate shutdown, which frees its shared memory as SIGKILL does not. The wait is bounded, as in a container without an
 * init nobody may reap what has ended.
 */
const GUARD = `
trap '' HUP INT TERM
while read -r line; do pid=$line; done
if [ -n "$pid" ] && kill -QUIT "$pid"; then
  tries=0
  while kill -0 "$pid" && [ $tries -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
fi
rm -rf "$1"
`;

/** @param {string} directory */
function startGuard(directory) {
  // In a session of its own: what ends its starter's whole group leaves it alone.
  const child = spawn('sh', ['-c', GUARD, 'sh', directory], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  child.stdin.on('error', () => undefined);
  const ended = once(child, 'close');
  return {
    /** @param {number | undefined} pid */
    watch: (pid) => child.stdin.write(`${pid ?? ''}\n`),
    async letGo() {
      child.stdin.end();
      await ended;
    },
  };
}

/** As whom it runs: PostgreSQL refuses to run as root, and its packages make a user for it. */
function serverUser() {
  if (process.getuid?.() !== 0) return undefined;
  /** @param {string} option */
  const id = (option) => Number(execFileSync('id', [option, 'postgres'], { stdio: ['ignore', 'pipe', 'ignore'] }));
  try {
    return { uid: id('-u'), gid: id('-g') };
  } catch (cause) {
    throw new Error('PostgreSQL refuses to run as root, and there is no user "postgres" that it could run as', {
      cause,
    });
  }
}

/**
 * Starts a server with a new, empty data directory.
 *
 * @param {{ settings?: Record<string, string> }} [options] settings as in postgresql.conf
 */
export async function startPostgres({ settings = {} } = {}) {
  const programs = findPostgres();
  if (programs === undefined) throw new Error('PostgreSQL is not installed: `npm run setup` installs it');
  const user = serverUser();
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), 'categorizer-postgres-'));
  const guard = startGuard(directory);
  /** @type {ReturnType<typeof run>} */
  let server;

  /** @param {string} program @param {string[]} args */
  function run(program, args) {
    const child = spawn(join(programs, program), args, {
      cwd: directory,
      // Of the caller's own settings (PGOPTIONS, LANG …) none must change what it does, or says.
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
      stdio: ['ignore', 'ignore', 'pipe'],
      // Ctrl-C does not reach it: it is there until its starter is done with it.
      detached: true,
      ...user,
    });
    guard.watch(child.pid);
    let log = '';
    child.stderr.on('data', (chunk) => {
      log += chunk;
    });
    // Its own children hold the pipe too: "close" says that all of them have ended.
    const ended = once(child, 'close').then(([code, signal]) => {
      guard.watch(undefined);
      return `${program} ended with ${code ?? signal}:\n${log}`;
    });
    return { child, ended, log: () => log };
  }

  async function initialize() {
    if (user) await chown(directory, user.uid, user.gid);
    const options = ['--auth=trust', '--encoding=UTF8', '--no-locale', '-N'];
    const { child, ended } = run('initdb', ['-D', directory, '-U', 'postgres', ...options]);
    const how = await ended;
    if (child.exitCode !== 0) throw new Error(how);
  }

  async function start() {
    const all = Object.entries({ ...SETTINGS, ...settings, port: String(port) });
    server = run('postgres', ['-D', directory, ...all.flatMap(([name, value]) => ['-c', `${name}=${value}`])]);
    const { child, ended, log } = server;
    await new Promise((resolve, reject) => {
      const look = () => {
        if (!log().includes('ready to accept connections')) return;
        child.stderr.off('data', look);
        resolve(undefined);
      };
      child.stderr.on('data', look);
      ended.then((how) => reject(new Error(how)), reject);
    });
  }

  /** Fast shutdown: connections are ended, what was committed is kept. */
  async function stop() {
    server.child.kill('SIGINT');
    await server.ended;
  }

  async function remove() {
    try {
      await stop();
      // A killed server leaves its shared memory behind; the next one on the same data frees it.
      if (existsSync(join(directory, 'postmaster.pid'))) {
        await start();
        await stop();
      }
    } finally {
      await guard.letGo();
    }
  }

  try {
    await initialize();
    await start();
  } catch (error) {
    await guard.letGo();
    throw error;
  }
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    get pid() {
      return server.child.pid;
    },
    /** @param {NodeJS.Signals} signal */
    kill: (signal) => void server.child.kill(signal),
    stop,
    async restart() {
      await stop();
      await start();
    },
    remove,
  };
}
