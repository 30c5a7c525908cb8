import { setTimeout as pause } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { LiveCli } from './cli-live.ts';
import { type Environment, startWorker, type WorkerProcess } from './processes.ts';

/** Chunks of a run that its producer knows to have arrived. */
export function sentChunks(redis: Redis, prefix: string, runId: string): Promise<number> {
  return redis.hlen(`${prefix}:chunks:${runId}`);
}

/** Kills a command after so many milliseconds. @returns whether it was still running */
export async function killAfter(cli: LiveCli, ms: number): Promise<boolean> {
  await Promise.race([pause(ms), cli.ended]);
  return kill(cli);
}

/** Kills a command when so much more than now was counted, and a moment later. @returns whether it was still running */
export async function killWhenGrown(
  cli: LiveCli,
  count: () => Promise<number>,
  growth: number,
  moment: number,
): Promise<boolean> {
  const enough = (await count()) + growth;
  while (cli.exit() === undefined && (await count()) < enough) await pause(1);
  return killAfter(cli, moment);
}

async function kill(cli: LiveCli): Promise<boolean> {
  cli.kill('SIGKILL');
  await cli.ended;
  return cli.exit()?.signal === 'SIGKILL';
}

/** Two workers, one of which is killed when it is said, and replaced. */
export interface MortalWorkers {
  killOne(): Promise<void>;
  /** Ends both as they should end. @returns their exit codes */
  stop(): Promise<(number | null)[]>;
}

export async function startMortalWorkers(env: Environment): Promise<MortalWorkers> {
  const steady = await startWorker(env);
  let victim: WorkerProcess = await startWorker(env);
  return {
    async killOne() {
      victim.kill('SIGKILL');
      await victim.ended;
      victim = await startWorker(env);
    },
    stop() {
      const all = [steady, victim];
      for (const worker of all) worker.kill('SIGTERM');
      return Promise.all(all.map(({ ended }) => ended));
    },
  };
}
