import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { type Environment, spawnProgram } from './processes.ts';

/** How long a test polls for what must come: a machine with other work is slow. */
export const PATIENCE = { timeout: 120_000 };

/** A command that a test watches and feeds while it runs. */
export interface LiveCli {
  readonly pid: number;
  /** Stays open until the test ends it, as a terminal's would. */
  readonly stdin: Writable;
  /** What it wrote so far. */
  stdout(): string;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
  /** Undefined while it runs. */
  exit(): { readonly code: number | null; readonly signal: NodeJS.Signals | null } | undefined;
  readonly ended: Promise<number | null>;
}

export function startLive(args: readonly string[], env: Environment): LiveCli {
  const child = spawnProgram(args, env);
  let stdout = '';
  let stderr = '';
  let exit: ReturnType<LiveCli['exit']>;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  // A command that ends early does not read the rest.
  child.stdin.on('error', () => undefined);
  const ended = once(child, 'close').then(([code, signal]): number | null => {
    exit = { code, signal };
    return code;
  });
  return {
    pid: child.pid ?? 0,
    stdin: child.stdin,
    stdout: () => stdout,
    stderr: () => stderr,
    kill: (signal) => void child.kill(signal),
    exit: () => exit,
    ended,
  };
}
