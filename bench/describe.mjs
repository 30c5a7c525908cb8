// What every benchmark says of itself, and of its figures.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';

/** @typedef {{ median: number, min: number, max: number, runs: readonly number[] }} Spread */

/** @param {readonly number[]} runs @returns {Spread} */
export function spread(runs) {
  const sorted = [...runs].sort((a, b) => a - b);
  return { median: sorted[Math.floor(sorted.length / 2)], min: sorted[0], max: sorted[sorted.length - 1], runs };
}

/** @param {string} what */
export function say(what) {
  console.error(`${new Date().toISOString().slice(11, 19)} ${what}`);
}

/** @param {string} command @param {readonly string[]} args */
function output(command, args) {
  return execFileSync(command, args, { encoding: 'utf8', cwd: fileURLToPath(new URL('..', import.meta.url)) }).trim();
}

export function describeMachine() {
  const { dependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return {
    machine: { cpu: cpus()[0].model, cores: cpus().length, memoryGB: Math.round(totalmem() / 1e9) },
    commit: output('git', ['rev-parse', 'HEAD']),
    changed: output('git', ['status', '--porcelain', '--', 'src', 'bench', 'package.json']) !== '',
    versions: { node: process.version, redis: output('redis-server', ['--version']).split(' ')[2], ...dependencies },
  };
}
