import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { killAfter } from '../support/bulk-kills.ts';
import { type LiveCli, startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import type { Environment } from '../support/processes.ts';
import { seededRandom } from '../support/products.ts';
import { keysWithoutOwner } from '../support/redis-leftovers.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { startStorm } from '../support/storm-faults.ts';
import { makeStormImport, type StormImport } from '../support/storm-imports.ts';

/** A failure says its seed: with it the same faults come in the same order, though not in the same microsecond. */
const SEED = Number(process.env.SOAK_SEED ?? Date.now() % 1_000_000);
const FAULTS = 60;
/** One chunk after the other, each for a while: what strikes must find work under way. */
const SLOW_WORKERS = { WORKER_CONCURRENCY: '1', BATCH_MAX_WAIT_MS: '50' };
/** Rounds of its own command until an import must be complete, once nothing strikes any more. */
const MOST_ROUNDS = 6;
/** No limit of its own: a starved machine takes longer. It ends a run that hangs. */
const HANGS_MS = 3_600_000;

let redis: RedisServer;
let queues: Queues;
let env: Environment;
let directory: string;
let imports: StormImport[];

beforeAll(async () => {
  redis = await startRedis();
  queues = openQueues(redis.url);
  directory = await mkdtemp(join(tmpdir(), 'categorizer-storm-'));
  // What a killed command leaves in its temporary directory goes away with ours.
  env = { ...queues.env, JOB_LOCK_MS: '2000', TMPDIR: directory, ...SLOW_WORKERS };
  imports = [
    await makeStormImport(directory, { runId: 'A', seed: 1, products: 24_000, chunkSize: 20, format: 'csv' }),
    await makeStormImport(directory, { runId: 'B', seed: 2, products: 20_000, chunkSize: 50, format: 'jsonl' }),
    await makeStormImport(directory, {
      runId: 'C',
      seed: 3,
      products: 10_000,
      chunkSize: 10,
      format: 'jsonl',
      asRun: true,
    }),
  ];
}, HANGS_MS);

afterAll(async () => {
  await queues.close();
  await redis.remove();
  await rm(directory, { recursive: true, force: true });
});

/** Until the command has ended, or so much more of its import was sent or collected. */
async function untilGrown(cli: LiveCli, target: StormImport, growth: number): Promise<void> {
  const enough = (await target.progress(queues)) + growth;
  while (cli.exit() === undefined && (await target.progress(queues)) < enough) await pause(2);
}

it(
  `a storm over three imports: each accepted product is categorized once, and nothing stays in Redis (SOAK_SEED=${SEED})`,
  async () => {
    const random = seededRandom(SEED);
    const storm = await startStorm({ redis, queues, env, random });
    onTestFinished(async () => void (await storm.stop()));
    const running = new Map<StormImport, LiveCli>();
    onTestFinished(async () => {
      for (const cli of running.values()) cli.kill('SIGKILL');
      await Promise.all([...running.values()].map(({ ended }) => ended));
    });
    const hits = new Map<string, number>();
    let kills = 0;

    for (let i = 0; i < FAULTS; i++) {
      const target = imports[i % imports.length];
      let cli = running.get(target);
      if (cli === undefined || cli.exit() !== undefined) {
        const command = target.commands[Math.floor(random() * target.commands.length)];
        cli = startLive(command, env);
        running.set(target, cli);
      }
      // While it works, or anywhere between its start and its end.
      if (random() < 0.5) await untilGrown(cli, target, 1 + random() * 60);
      else if (await killAfter(cli, random() * 2500)) kills++;
      const { fault, hit } = await storm.strike(target);
      if (hit) hits.set(fault, (hits.get(fault) ?? 0) + 1);
    }
    for (const cli of running.values()) cli.kill('SIGKILL');
    await Promise.all([...running.values()].map(({ ended }) => ended));
    const story = `${kills} commands killed, ${JSON.stringify(Object.fromEntries(hits))}`;
    for (const each of imports) await each.complete(env, MOST_ROUNDS);
    for (const each of imports) await each.expectReconciled(env);

    expect(await storm.stop()).toEqual([0, 0, 0]);
    const { jobs, results } = storm.foreign;
    const answersOfForeign = new Set([...jobs].map((id) => `r-${id}`));
    const mayStay = (queue: 'products' | 'results', id: string) =>
      queue === 'products' ? jobs.has(id) : results.has(id) || answersOfForeign.has(id);
    expect(await keysWithoutOwner(queues, { mayStay }), story).toEqual([]);
    // Otherwise the storm hit nothing, and the test shows nothing.
    expect(
      [...hits.values()].reduce((sum, count) => sum + count, 0),
      story,
    ).toBeGreaterThan(FAULTS / 2);
    expect(hits.size, story).toBeGreaterThan(5);
    expect(kills, story).toBeGreaterThan(FAULTS / 10);
  },
  HANGS_MS,
);
