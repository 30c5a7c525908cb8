import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { inject } from 'vitest';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** Settings of the tests' own: nothing of the caller's environment reaches the program. */
export type Environment = Readonly<Record<string, string>>;

/** Starts the program. What it notes goes to the directory of the tests, where nothing else is said. */
export function spawnProgram(args: readonly string[], environment: Environment): ChildProcessWithoutNullStreams {
  const STATE_DIR = inject('stateDirectory');
  return spawn(process.execPath, [MAIN, ...args], { env: { PATH: process.env.PATH, STATE_DIR, ...environment } });
}

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
export async function runCli(
  args: readonly string[],
  options: { readonly env?: Environment; readonly input?: string } = {},
): Promise<CliResult> {
  const child = spawnProgram(args, options.env ?? {});
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  child.stdin.on('error', () => undefined).end(options.input ?? '');
  const [code] = await once(child, 'close');
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}

export interface RunningCli {
  kill(signal: NodeJS.Signals): void;
  /** What it ends with. */
  readonly ended: Promise<CliResult & { readonly signal: NodeJS.Signals | null }>;
}

/** Starts a command that is to be interrupted. */
export function startCli(args: readonly string[], env: Environment): RunningCli {
  const child = spawnProgram(args, env);
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  return {
    kill: (signal) => void child.kill(signal),
    ended: once(child, 'close').then(([code, signal]) => ({
      code,
      signal,
      stdout: stdout.text(),
      stderr: stderr.text(),
    })),
  };
}

export interface WorkerProcess {
  readonly pid: number;
  /** Where its HTTP port is. */
  readonly url: string;
  kill(signal: NodeJS.Signals): void;
  /** Exit code; null where a signal ended it. */
  readonly ended: Promise<number | null>;
  /** Its log so far: one object a line. */
  log(): Record<string, unknown>[];
}

/** Starts a worker on a free HTTP port; resolves when that listens. */
export async function startWorker(env: Environment): Promise<WorkerProcess> {
  const child = spawnProgram(['worker'], { HTTP_PORT: '0', ...env });
  const stderr = collect(child.stderr);
  const log = () =>
    stderr
      .text()
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line): Record<string, unknown> => JSON.parse(line));
  const ended = once(child, 'close').then(([code]): number | null => code);
  const port = await new Promise<unknown>((resolve, reject) => {
    child.stderr.on('data', () => {
      const line = log().find(({ msg }) => msg === 'http listening');
      if (line) resolve(line.port);
    });
    void ended.then((code) => reject(new Error(`the worker ended with ${code}:\n${stderr.text()}`)));
  });
  return {
    pid: child.pid ?? 0,
    url: `http://127.0.0.1:${port}`,
    kill: (signal) => void child.kill(signal),
    ended,
    log,
  };
}

function collect(stream: NodeJS.ReadableStream): { text(): string } {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return { text: () => Buffer.concat(chunks).toString('utf8') };
}
