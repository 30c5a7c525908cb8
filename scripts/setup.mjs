// Brings a fresh clone to where everything can run: Node's version, npm packages, redis-server, PostgreSQL. Only Node's
// own modules here, as it runs before anything is installed.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
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

/** Where PostgreSQL's packages put its programs; most of them not on the PATH. */
const POSTGRES_PLACES = [
  '/usr/lib/postgresql/*/bin',
  '/usr/pgsql-*/bin',
  '/opt/homebrew/opt/postgresql@*/bin',
  '/usr/local/opt/postgresql@*/bin',
  '/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin',
  '/usr/libexec/postgresql*',
];

/** The directories that a pattern with one `*` for a version means, the newest first. @param {string} pattern */
function newestFirst(pattern) {
  const [before, after] = pattern.split('*');
  const parent = dirname(`${before}*`);
  /** @param {string} name */
  const version = (name) => Number.parseFloat(join(parent, name).slice(before.length)) || 0;
  const names = existsSync(parent) ? readdirSync(parent) : [];
  return names
    .filter((name) => join(parent, name).startsWith(before))
    .sort((a, b) => version(b) - version(a))
    .map((name) => join(parent, `${name}${after}`));
}

/** The directory of `initdb` and `postgres`, where PostgreSQL is installed. @returns {string | undefined} */
export function findPostgres() {
  const path = (process.env.PATH ?? '').split(delimiter).filter((directory) => directory !== '');
  const found = [...path, ...POSTGRES_PLACES.flatMap(newestFirst)].find((directory) =>
    ['initdb', 'postgres'].every((program) => existsSync(join(directory, program))),
  );
  // A link on the PATH leads to where the other files of its installation lie.
  return found && dirname(realpathSync(join(found, 'initdb')));
}

const REDIS = {
  name: 'redis-server',
  isThere: () => isInstalled('redis-server'),
  packages: { 'apt-get': 'redis-server', dnf: 'redis', apk: 'redis', brew: 'redis' },
  byHand: 'Redis 6.2 or newer (package redis-server or redis)',
};

const POSTGRES = {
  name: 'PostgreSQL',
  isThere: () => findPostgres() !== undefined,
  packages: { 'apt-get': 'postgresql', dnf: 'postgresql-server', apk: 'postgresql', brew: 'postgresql@17' },
  byHand: 'PostgreSQL with its server (package postgresql or postgresql-server)',
};

/** What installs packages on this machine; the first whose tool is there. */
const INSTALLERS = [
  { tool: 'apt-get', steps: ['apt-get update -qq', 'apt-get install -y -qq --no-install-recommends PACKAGE'] },
  { tool: 'dnf', steps: ['dnf install -y -q PACKAGE'] },
  { tool: 'apk', steps: ['apk add --quiet PACKAGE'] },
  { tool: 'brew', steps: ['brew install --quiet PACKAGE'], withoutRoot: true },
];

/**
 * Debian's packages must neither start a service (the first says so without systemd, the second with it) nor ask a
 * question. By env, as sudo drops variables.
 */
const QUIETLY = ['env', 'RUNLEVEL=1', 'SYSTEMD_OFFLINE=1', 'DEBIAN_FRONTEND=noninteractive'];

/** @param {typeof REDIS} program */
function ensureProgram({ name, isThere, packages, byHand }) {
  if (isThere()) return;
  const hint = `${name} is not installed and could not be: install ${byHand}`;
  const installer = INSTALLERS.find(({ tool }) => isInstalled(tool));
  if (!installer) fail(hint);
  console.error(`installing ${name} with ${installer.tool} …`);
  const isRoot = process.getuid?.() === 0;
  // Never asks for a password: nobody may be there to type it.
  const asRoot = isRoot || installer.withoutRoot ? [] : ['sudo', '-n'];
  for (const step of installer.steps) {
    const [command, ...args] = [...asRoot, ...QUIETLY, ...step.replace('PACKAGE', packages[installer.tool]).split(' ')];
    if (spawnSync(command, args, { stdio: ['ignore', 2, 2] }).status !== 0) fail(hint);
  }
  if (!isThere()) fail(hint);
}

/** @param {{ postgres?: boolean }} [needs] what is needed besides Redis */
export function setUp({ postgres = false } = {}) {
  checkNode();
  ensurePackages();
  ensureProgram(REDIS);
  if (postgres) ensureProgram(POSTGRES);
}

export function build() {
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: ROOT, stdio: ['ignore', 2, 2] });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setUp({ postgres: true });
