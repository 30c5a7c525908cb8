import { setTimeout as pause } from 'node:timers/promises';
import { startLive } from './cli-live.ts';
import type { Environment } from './processes.ts';

type Line = Readonly<Record<string, unknown>>;

export interface SchedulerProcess {
  /** Where its HTTP port is. */
  readonly url: string;
  kill(signal: NodeJS.Signals): void;
  /** Exit code; null where a signal ended it. */
  readonly ended: Promise<number | null>;
  /** Its log so far: one object a line, and nothing else. */
  log(): Line[];
}

/** Starts a scheduler on a free HTTP port; resolves when it takes runs. */
export async function startScheduler(env: Environment): Promise<SchedulerProcess> {
  const { stderr, exit, ...cli } = startLive(['scheduler'], { SCHEDULER_PORT: '0', ...env });
  const log = () => linesOf(stderr());
  const said = (message: string) => log().find(({ msg }) => msg === message);
  while (!said('scheduler started')) {
    if (exit()) throw new Error(`the scheduler ended:\n${stderr()}`);
    await pause(10);
  }
  return { url: `http://127.0.0.1:${said('http listening')?.port}`, kill: cli.kill, ended: cli.ended, log };
}

function linesOf(text: string): Line[] {
  const complete = text.slice(0, text.lastIndexOf('\n') + 1);
  return complete
    .split('\n')
    .filter((line) => line !== '')
    .map((line): Line => JSON.parse(line));
}
