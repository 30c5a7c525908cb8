// Runs the Python part (ml/) in a virtual environment of its own, which it makes when needed:
//   node scripts/ml.mjs test [pytest arguments]     node scripts/ml.mjs train [training arguments]
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ML = fileURLToPath(new URL('../ml', import.meta.url));
const REQUIREMENTS = join(ML, 'requirements.txt');
const VENV = resolve(process.env.ML_VENV || join(ML, '.venv'));
const VENV_PYTHON = process.platform === 'win32' ? join(VENV, 'Scripts', 'python.exe') : join(VENV, 'bin', 'python');
/** Holds the hash of the installed requirements, or BUILDING: its presence says that the environment is ours. */
const STAMP = join(VENV, '.ml-requirements');
const BUILDING = 'building';
const USAGE = 'usage: node scripts/ml.mjs test [pytest arguments] | train [training arguments]';

/** A reason to stop that the user can act on. */
class SetupError extends Error {}

/**
 * Runs a command with our standard streams, and outlives it: Ctrl-C reaches it by the terminal, SIGTERM by us.
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd?: string, stdout?: 'inherit' | 2 }} [options]
 * @returns {Promise<number>} its exit code, or 128 + the number of the signal that ended it
 */
function run(command, args, { cwd, stdout = 'inherit' } = {}) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd, stdio: ['inherit', stdout, 'inherit'] });
    const wait = () => {};
    const passOn = () => child.kill('SIGTERM');
    process.on('SIGINT', wait).on('SIGTERM', passOn);
    child.once('error', fail);
    child.once('close', (code, signal) => {
      process.off('SIGINT', wait).off('SIGTERM', passOn);
      done(signal ? 128 + constants.signals[signal] : (code ?? 1));
    });
  });
}

/** The first Python that is new enough and can make environments with pip in them. */
function findPython() {
  const probe = 'import sys; sys.exit(3) if sys.version_info < (3, 11) else None; import venv, ensurepip';
  /** @type {string | undefined} */
  let problem;
  for (const name of ['python3', 'python3.13', 'python3.12', 'python3.11', 'python']) {
    const { status } = spawnSync(name, ['-c', probe], { stdio: 'ignore' });
    if (status === 0) return name;
    if (status === 3) problem ??= `${name} is too old: ml/ needs Python 3.11 or newer; install it and run this again`;
    if (status === 1) problem ??= `${name} lacks its venv module; install it (Debian: apt-get install python3-venv)`;
  }
  throw new SetupError(problem ?? 'there is no python3, and ml/ needs Python 3.11 or newer; install it');
}

/** @param {string} hash of the requirements */
function isReady(hash) {
  if (!existsSync(STAMP) || readFileSync(STAMP, 'utf8') !== hash) return false;
  // The Python it was made from may be gone since.
  return spawnSync(VENV_PYTHON, ['-c', ''], { stdio: 'ignore' }).status === 0;
}

/**
 * Makes the environment from scratch. The stamp gets the hash only after the last step, so an interrupted
 * install is made again the next time.
 * @param {string} hash of the requirements
 * @returns {Promise<number>} 0, or the exit code of the step that failed
 */
async function build(hash) {
  const python = findPython();
  if (existsSync(VENV) && !existsSync(STAMP) && readdirSync(VENV).length > 0) {
    throw new SetupError(`${VENV} was not made by this command; delete it, or name another place with ML_VENV`);
  }
  console.error(`installing ml/requirements.txt into ${VENV} (once, some minutes)`);
  if (existsSync(VENV)) {
    writeFileSync(STAMP, BUILDING);
    for (const name of readdirSync(VENV)) {
      if (join(VENV, name) !== STAMP) rmSync(join(VENV, name), { recursive: true, force: true });
    }
  }
  mkdirSync(VENV, { recursive: true });
  writeFileSync(STAMP, BUILDING);
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', REQUIREMENTS];
  const code =
    (await run(python, ['-m', 'venv', VENV], { stdout: 2 })) || (await run(VENV_PYTHON, install, { stdout: 2 }));
  if (code === 0) {
    writeFileSync(`${STAMP}.tmp`, hash);
    renameSync(`${STAMP}.tmp`, STAMP);
  } else if (code < 128) {
    console.error(`ml: cannot install ml/requirements.txt into ${VENV}: see above`);
    return 1;
  }
  return code;
}

/**
 * @param {string[]} args
 * @returns {Promise<number>} the exit code
 */
async function main([command, ...args]) {
  if (command !== 'test' && command !== 'train') {
    console.error(USAGE);
    return 2;
  }
  const hash = createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex');
  const failed = isReady(hash) ? 0 : await build(hash);
  if (failed) return failed;
  if (command === 'train') return run(VENV_PYTHON, [join(ML, 'train_product_category.py'), ...args]);
  return (
    (await run(VENV_PYTHON, ['-m', 'ruff', 'check', '.'], { cwd: ML })) ||
    (await run(VENV_PYTHON, ['-m', 'ruff', 'format', '--check', '.'], { cwd: ML })) ||
    (await run(VENV_PYTHON, ['-m', 'pytest', ...args], { cwd: ML }))
  );
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const known = error instanceof SetupError || (error instanceof Error && 'syscall' in error);
  if (!known) throw error;
  console.error(`ml: ${error.message}`);
  process.exitCode = 1;
}
