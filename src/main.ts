#!/usr/bin/env node
import { constants } from 'node:os';
import type { CommandContext } from './cli/context.ts';
import { CategorizerError, messageOf } from './domain/errors.ts';
import { printable } from './domain/printable.ts';

/** After the work is done nothing should keep the process; what does gets so long. */
const LINGER_MS = 1000;
const LINGER_AFTER_SIGNAL_MS = 100;
const SIGNAL_BASE = 128;

const stop = new AbortController();
let signalNumber = 0;
// Everything else is loaded after this: a signal that comes meanwhile must not kill what has just begun.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    const number = constants.signals[signal];
    // The second one means: at once.
    if (stop.signal.aborted) process.exit(SIGNAL_BASE + number);
    signalNumber = number;
    stop.abort(new CategorizerError('INTERRUPTED', 'stopped by a signal'));
    void endInTime();
  });
}
// A reader that goes away (`| head`) is told by the write that fails.
process.stdout.on('error', () => undefined);

const { CommanderError } = await import('commander');
const { EXIT } = await import('./cli/context.ts');
const { createProgram } = await import('./cli/program.ts');
const { ConfigError, readConfig } = await import('./config.ts');

const context: CommandContext = {
  config: readConfig,
  command: ['categorizer', ...process.argv.slice(2)].map(quoteForShell).join(' '),
  stop: stop.signal,
  print: (text) => process.stdout.write(`${printable(text)}\n`),
  note: (text) => process.stderr.write(`${printable(text)}\n`),
  exitWith: (code) => {
    process.exitCode = code;
  },
};

try {
  await createProgram(context).parseAsync();
} catch (error) {
  process.exitCode = explain(error);
}
process.stdin.destroy();
setTimeout(() => process.exit(), stop.signal.aborted ? LINGER_AFTER_SIGNAL_MS : LINGER_MS).unref();

/** A word as a POSIX shell reads it. */
function quoteForShell(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Says what went wrong. @returns the exit code */
function explain(error: unknown): number {
  // Commander has printed its own message already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.DONE : EXIT.USAGE;
  if (error instanceof ConfigError) {
    context.note(`${error.code}: ${error.message}`);
    return EXIT.CONFIG;
  }
  if (error instanceof CategorizerError) {
    context.note(`${error.code}: ${error.message}`);
    return error.code === 'INTERRUPTED' ? EXIT.SIGNAL + signalNumber : EXIT.FAILED;
  }
  context.note(error instanceof Error ? (error.stack ?? error.message) : messageOf(error));
  return EXIT.FAILED;
}

/** Whatever hangs after a signal: the process ends in the time that is given for it. */
async function endInTime(): Promise<void> {
  const timeoutMs = await shutdownTimeout();
  setTimeout(() => process.exit(process.exitCode ?? SIGNAL_BASE + signalNumber), 0.95 * timeoutMs).unref();
}

async function shutdownTimeout(): Promise<number> {
  const config = await import('./config.ts');
  try {
    return config.readConfig().SHUTDOWN_TIMEOUT_MS;
  } catch (error) {
    if (!(error instanceof config.ConfigError)) throw error;
    return config.DEFAULT_SHUTDOWN_TIMEOUT_MS;
  }
}
