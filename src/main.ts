#!/usr/bin/env node
import { constants } from 'node:os';
import { CommanderError } from 'commander';
import { type CommandContext, EXIT } from './cli/context.ts';
import { createProgram } from './cli/program.ts';
import { ConfigError, readConfig } from './config.ts';
import { CategorizerError, messageOf } from './domain/errors.ts';
import { printable } from './domain/printable.ts';

/** After the work is done nothing should keep the process; what does gets so long. */
const LINGER_MS = 1000;

const stop = new AbortController();
let signalNumber = 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    const number = constants.signals[signal];
    // The second one means: at once.
    if (stop.signal.aborted) process.exit(EXIT.SIGNAL + number);
    signalNumber = number;
    stop.abort(new CategorizerError('INTERRUPTED', 'stopped by a signal'));
  });
}
// A reader that goes away (`| head`) is told by the write that fails.
process.stdout.on('error', () => undefined);

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
setTimeout(() => process.exit(), LINGER_MS).unref();

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
