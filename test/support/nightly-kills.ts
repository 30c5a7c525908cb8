import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import type { RunState } from '../../src/domain/run.ts';
import { startScheduler } from './nightly-scheduler.ts';
import { type PostgresServer, query } from './postgres-server.ts';
import { type Environment, startWorker } from './processes.ts';

/** What is killed: a process, all connections of this program to the database, or the database's server. */
export type Victim = 'scheduler' | 'worker' | 'connections' | 'server';

/** Where a kill hits a run; `approved`: it is to be applied, and nothing of it is yet. */
export type Moment = 'planned' | 'running' | 'approved' | 'applying';

/** About as many milliseconds as a run is planned, and as its chunks are under way. */
const PLANNED_MS = 500;
const UNDER_WAY_MS = 400;

/** The states in the order in which a run is in them. */
const ORDER: readonly RunState[] = ['planned', 'running', 'awaiting_approval', 'applying'];
export const hasEnded = ({ state }: RunProgress) => !ORDER.includes(state);

const POLL_MS = 3;

export interface RunProgress {
  readonly state: RunState;
  /** Of its slices so many; all 0 while it is planned, as only who plans sees them. */
  readonly slices: number;
  readonly staged: number;
  readonly applied: number;
}

/** What a run is at, seen from beside the program, also while the database's server is replaced. */
export interface Watcher {
  look(runId: string): Promise<RunProgress | undefined>;
  /** Products that a revert of it has restored so far. */
  reverted(runId: string): Promise<number>;
  /** Polls until it is so. */
  until(runId: string, wanted: (progress: RunProgress) => boolean): Promise<RunProgress>;
  close(): Promise<void>;
}

export function watchRuns(url: string): Watcher {
  let client: pg.Client | undefined;

  async function ask<R extends pg.QueryResultRow>(sql: string, values: readonly unknown[]): Promise<R[]> {
    for (;;) {
      try {
        client ??= await connect(url);
        return (await client.query<R>(sql, [...values])).rows;
      } catch (error) {
        if (error instanceof pg.DatabaseError && !/^57/.test(error.code ?? '')) throw error;
        client = undefined;
        await pause(50);
      }
    }
  }

  async function look(runId: string): Promise<RunProgress | undefined> {
    const [run] = await ask<{ state: RunState }>('SELECT state FROM categorizer.runs WHERE id = $1', [runId]);
    if (!run) return undefined;
    if (run.state === 'planned') return { ...run, slices: 0, staged: 0, applied: 0 };
    const [slices] = await ask<Omit<RunProgress, 'state'>>(
      `SELECT count(*)::integer AS slices, count(staged_at)::integer AS staged, count(applied_at)::integer AS applied
       FROM categorizer.slices WHERE run_id = $1`,
      [runId],
    );
    return { ...run, ...slices };
  }

  return {
    look,
    async reverted(runId) {
      const [{ count }] = await ask<{ count: number }>(
        `SELECT count(*)::integer AS count FROM categorizer.history WHERE run_id = $1 AND action = 'revert'`,
        [runId],
      );
      return count;
    },
    async until(runId, wanted) {
      for (;;) {
        const progress = await look(runId);
        if (progress && wanted(progress)) return progress;
        await pause(POLL_MS);
      }
    },
    close: async () => void (await client?.end()),
  };
}

/** @param share from 0 to 1: how far into the moment. @returns whether it came, as the run may have been too fast */
export async function waitForMoment(watcher: Watcher, runId: string, moment: Moment, share: number): Promise<boolean> {
  const state = moment === 'approved' ? 'applying' : moment;
  const isOver = (now: RunProgress) => hasEnded(now) || ORDER.indexOf(now.state) > ORDER.indexOf(state);
  const reaches = (wanted: (now: RunProgress) => boolean) =>
    watcher.until(runId, (now) => isOver(now) || (now.state === state && wanted(now)));
  await reaches(() => true);
  if (moment === 'planned') await pause(share * PLANNED_MS);
  if (moment === 'running' && share < 0.3) await pause((share / 0.3) * UNDER_WAY_MS);
  if (moment === 'running' && share >= 0.3) {
    await reaches(({ staged, slices }) => staged >= ((share - 0.3) / 0.7) * slices);
  }
  if (moment === 'applying') await reaches(({ applied, slices }) => applied >= share * slices);
  const now = await watcher.look(runId);
  return now?.state === state && (moment !== 'approved' || (now.slices > 0 && now.applied === 0));
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** A scheduler and two workers, of which any can be killed, and the database beneath them. */
export interface Victims {
  /** Resolves when it is dead; a server is there again then. */
  kill(victim: Victim): Promise<void>;
  /** Starts another process in the place of the one that was killed. */
  replace(victim: Victim): Promise<void>;
  /** Ends all processes as they should end; safe to call twice. @returns their exit codes */
  stop(): Promise<(number | null)[]>;
}

export async function startVictims(postgres: PostgresServer, env: Environment): Promise<Victims> {
  const start = { scheduler: () => startScheduler(env), worker: () => startWorker(env) };
  const steady = await start.worker();
  const processes = { scheduler: await start.scheduler(), worker: await start.worker() };

  async function end(process: { kill(signal: NodeJS.Signals): void; ended: Promise<unknown> }): Promise<void> {
    process.kill('SIGKILL');
    await process.ended;
  }

  const kills: Record<Victim, () => Promise<void>> = {
    scheduler: () => end(processes.scheduler),
    worker: () => end(processes.worker),
    connections: () => endConnections(postgres.url),
    async server() {
      postgres.kill('SIGQUIT');
      await postgres.restart();
    },
  };

  return {
    kill: (victim) => kills[victim](),
    async replace(victim) {
      if (victim === 'scheduler') processes.scheduler = await start.scheduler();
      if (victim === 'worker') processes.worker = await start.worker();
    },
    stop() {
      const all = [processes.scheduler, processes.worker, steady];
      for (const process of all) process.kill('SIGTERM');
      return Promise.all<number | null>(all.map(({ ended }) => ended));
    },
  };
}

/** Those of this program, and of no test. */
export async function endConnections(url: string): Promise<void> {
  const ours = `application_name = 'categorizer'`;
  await query(url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${ours}`);
}
