// Brings a fresh clone to where everything can run: Node's version, npm packages, redis-server. Only Node's own
// modules here, as it runs before anything is installed.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const STAMP = `${ROOT}node_modules/.installed-lock`;
const OLDEST_NODE = [20, 19];

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(message);
  process.exit(1);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_NODE;
  if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) {
    fail(`Node ${OLDEST_NODE.join('.')} or newer is needed, this is ${process.versions.node}: https://nodejs.org`);
  }
}

/** Installs when the lock file is not the one that was installed last. */
function ensurePackages() {
  const lock = createHash('sha256')
    .update(readFileSync(`${ROOT}package-lock.json`))
    .digest('hex');
  if (existsSync(STAMP) && readFileSync(STAMP, 'utf8') === lock) return;
  console.error('installing npm packages …');
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: ROOT,
    stdio: ['ignore', 2, 2],
    // The package carries the CPU runtime; its install script would download CUDA files.
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' },
  });
  if (npm.status !== 0) fail('npm ci failed: its message is above');
  writeFileSync(STAMP, lock);
}

/** @param {string} command */
function isInstalled(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** What installs redis-server on this machine; the first whose tool is there. */
const INSTALLERS = [
  { tool: 'apt-get', steps: ['apt-get update -qq', 'apt-get install -y -qq --no-install-recommends redis-server'] },
  { tool: 'dnf', steps: ['dnf install -y -q redis'] },
  { tool: 'apk', steps: ['apk add --quiet redis'] },
  { tool: 'brew', steps: ['brew install --quiet redis'], withoutRoot: true },
];

function ensureRedis() {
  if (isInstalled('redis-server')) return;
  const hint =
    'redis-server is not installed and could not be: install Redis 6.2 or newer (package redis-server or redis)';
  const installer = INSTALLERS.find(({ tool }) => isInstalled(tool));
  if (!installer) fail(hint);
  console.error(`installing redis-server with ${installer.tool} …`);
  const isRoot = process.getuid?.() === 0;
  // Never asks for a password: nobody may be there to type it.
  const prefix = isRoot || installer.withoutRoot ? [] : ['sudo', '-n'];
  for (const step of installer.steps) {
    const [command, ...args] = [...prefix, ...step.split(' ')];
    // The package must not start a Redis of its own (policy-rc.d is Debian's way to say so).
    const run = spawnSync(command, args, { stdio: ['ignore', 2, 2], env: { ...process.env, RUNLEVEL: '1' } });
    if (run.status !== 0) fail(hint);
  }
  if (!isInstalled('redis-server')) fail(hint);
}

export function setUp() {
  checkNode();
  ensurePackages();
  ensureRedis();
}

export function build() {
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: ROOT, stdio: ['ignore', 2, 2] });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp();
