import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { payloadKeys } from '../support/bulk-chunks.ts';
import { startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { readRows } from '../support/load.ts';
import { createErp, type Erp, SOURCE } from '../support/nightly-erp.ts';
import {
  endConnections,
  hasEnded,
  type Moment,
  startVictims,
  type Victim,
  type Watcher,
  waitForMoment,
  watchRuns,
} from '../support/nightly-kills.ts';
import {
  changeCatalogue,
  createCatalogue,
  findDifferences,
  findGaps,
  findUndecided,
  TELLING_SQL,
} from '../support/nightly-rounds.ts';
import { type PostgresServer, startPostgres } from '../support/postgres-server.ts';
import { type Environment, runCli } from '../support/processes.ts';
import { seededRandom } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

/** A failure says its seed: with it the kills come in the same order, though not in the same microsecond. */
const SEED = Number(process.env.SOAK_SEED ?? Date.now() % 1_000_000);
const KILLS = 30;
/** A run takes at least three of them. */
const MOST_DAYS = KILLS / 3;
const PRODUCTS = 40_000;
/** Small, so that every state lasts. */
const SLICE = 500;

/** Who is killed there, in turn, from a place on that the seed says. */
const VICTIMS: Record<Moment, readonly Victim[]> = {
  planned: ['scheduler', 'connections', 'server', 'scheduler', 'worker'],
  running: ['scheduler', 'worker', 'connections', 'scheduler', 'server', 'worker', 'connections'],
  approved: ['scheduler', 'connections', 'scheduler', 'server'],
  applying: ['scheduler', 'connections', 'server', 'scheduler', 'connections', 'worker'],
};
const MOMENTS = Object.keys(VICTIMS) as Moment[];
/** Where a run is killed that goes through, and one that waits for approval in between. */
const FREE: readonly Moment[] = ['planned', 'running', 'running', 'applying', 'applying'];
const HELD: readonly Moment[] = ['planned', 'running', 'running', 'approved', 'applying'];
let redis: RedisServer;
let postgres: PostgresServer;
let directory: string;
let queues: Queues;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
  directory = await mkdtemp(join(tmpdir(), 'categorizer-soak-'));
  queues = openQueues(redis.url);
});
afterAll(async () => {
  await queues.close();
  await Promise.all([redis.remove(), postgres.remove()]);
  await rm(directory, { recursive: true });
});

const runOf = (day: number) => `day-${day}`;
/** Every other run: its guard allows no change. */
const isHeld = (day: number) => day % 2 === 1;

function recategorize(day: number, sliceSize: number, how: string): string[] {
  const guards = ['--max-change-ratio', isHeld(day) ? '0' : '1', '--max-reject-ratio', '0.1'];
  const statement = ['--apply-sql', TELLING_SQL, '--slice-size', `${sliceSize}`];
  return ['recategorize', '--run', runOf(day), ...SOURCE, ...statement, ...guards, how];
}

async function createFilledErp(): Promise<Erp> {
  const erp = await createErp(postgres.url);
  onTestFinished(erp.close);
  await createCatalogue(erp, PRODUCTS);
  return erp;
}

interface Kill {
  readonly moment: Moment;
  readonly victim: Victim;
  /** Whether the run was in the same state before and after it. */
  readonly hit: boolean;
}

/** Says yes until it is heard: the database may go away beneath. */
async function approve(watcher: Watcher, runId: string, env: Environment): Promise<void> {
  const { state } = await watcher.until(runId, (now) => now.state === 'awaiting_approval' || hasEnded(now));
  if (state !== 'awaiting_approval') return;
  await runCli(['runs', 'approve', runId, '--by', 'soak', '--detach'], { env });
  await approve(watcher, runId, env);
}

/** One run after the other, each after changes, until so many kills were done. @returns them, and how many days it took */
async function killThroughDays(erp: Erp, env: Environment, watcher: Watcher, random: () => number) {
  const victims = await startVictims(postgres, env);
  onTestFinished(async () => void (await victims.stop()));
  const kills: Kill[] = [];
  const turns = new Map(MOMENTS.map((moment) => [moment, Math.floor(random() * VICTIMS[moment].length)]));

  async function killAt(runId: string, moment: Moment): Promise<void> {
    if (!(await waitForMoment(watcher, runId, moment, random()))) return;
    const turn = turns.get(moment) ?? 0;
    turns.set(moment, turn + 1);
    const victim = VICTIMS[moment][turn % VICTIMS[moment].length];
    await victims.kill(victim);
    const after = await watcher.look(runId);
    kills.push({ moment, victim, hit: after?.state === (moment === 'approved' ? 'applying' : moment) });
    await victims.replace(victim);
  }

  let days = 0;
  for (; kills.length < KILLS; days++) {
    expect(days, `days for ${kills.length} kills`).toBeLessThan(MOST_DAYS);
    const runId = runOf(days);
    await changeCatalogue(erp, days);
    const begun = await runCli(recategorize(days, SLICE, '--detach'), { env });
    expect(begun.code, begun.stderr).toBe(0);
    const approval = isHeld(days) ? approve(watcher, runId, env) : undefined;
    for (const moment of isHeld(days) ? HELD : FREE) await killAt(runId, moment);
    await approval;
    await watcher.until(runId, hasEnded);
  }
  expect(await victims.stop()).toEqual([0, 0, 0]);
  return { days, kills };
}

/** The command is killed, then its connections, then the server; each time it goes on. */
async function killThroughRevert(erp: Erp, env: Environment, watcher: Watcher, runId: string, random: () => number) {
  const [{ changes }] = await erp.rows<{ changes: number }>(
    `SELECT count(*)::integer AS changes FROM categorizer.history WHERE run_id = $1`,
    [runId],
  );
  const revert = ['runs', 'revert', runId, '--json'];
  let hits = 0;
  for (const [turn, victim] of ['command', 'connections', 'server'].entries()) {
    const cli = startLive(revert, env);
    const enough = (changes * (turn + random())) / 4;
    while (cli.exit() === undefined && (await watcher.reverted(runId)) < enough) await pause(1);
    if (victim === 'command') cli.kill('SIGKILL');
    else if (victim === 'connections') await endConnections(postgres.url);
    else {
      postgres.kill('SIGQUIT');
      await postgres.restart();
    }
    if ((await cli.ended) !== 0) hits++;
  }
  expect(hits, 'reverts that were interrupted').toBeGreaterThan(0);
  const last = await runCli(revert, { env });
  if (hits === 3) expect(last.code, last.stderr).toBe(0);
}

async function runUndisturbed(days: number): Promise<Erp> {
  const erp = await createFilledErp();
  const own = openQueues(redis.url);
  onTestFinished(own.close);
  const env = { ...own.env, ...erp.env };
  for (let day = 0; day < days; day++) {
    await changeCatalogue(erp, day);
    const { code, stderr } = await runCli(recategorize(day, 10_000, '--local'), { env });
    expect(code, stderr).toBe(isHeld(day) ? 4 : 3);
    if (isHeld(day)) expect((await runCli(['runs', 'approve', runOf(day), '--by', 'soak'], { env })).code).toBe(3);
  }
  return erp;
}

/** Where `predict` is sure and nobody decided, it is right. */
async function expectPredicted(erp: Erp): Promise<void> {
  const [input, output] = [join(directory, 'catalogue.jsonl'), join(directory, 'predicted.jsonl')];
  await writeFile(input, (await findUndecided(erp)).map((product) => `${JSON.stringify(product)}\n`).join(''));
  // The model rejects some.
  expect((await runCli(['predict', input, '--out', output])).code).toBe(3);
  const sure = (await readRows(output)).filter(({ confidence = 0 }) => confidence >= 0.7);
  expect(sure.length).toBeGreaterThan(PRODUCTS / 2);
  const categories = await erp.categories();
  const wrong = sure.filter(({ productId, categoryCode }) => categories.get(productId ?? '') !== categoryCode);
  expect(wrong.slice(0, 5)).toEqual([]);
}

/** A worker that is killed leaves payloads of the one batch that it works on, and Redis drops them in time. */
async function expectFewPayloadsLeft(workerKills: number): Promise<void> {
  const keys = await payloadKeys(queues);
  expect(keys.length).toBeLessThanOrEqual(workerKills * Math.ceil(8192 / SLICE));
  const lives = await Promise.all(keys.map((key) => queues.redis.ttl(key)));
  expect(lives.filter((seconds) => seconds <= 0)).toEqual([]);
}

it(`scheduler, workers and database killed (SOAK_SEED=${SEED}): every change is made once, and reverted once`, async () => {
  const random = seededRandom(SEED);
  const erp = await createFilledErp();
  const env = { ...queues.env, ...erp.env, JOB_LOCK_MS: '2000', TMPDIR: directory };
  const watcher = watchRuns(erp.env.DATABASE_URL);
  onTestFinished(watcher.close);

  const { days, kills } = await killThroughDays(erp, env, watcher, random);
  for (const moment of MOMENTS) {
    expect(kills.filter((kill) => kill.moment === moment && kill.hit).length, `hits while ${moment}`).toBeGreaterThan(
      0,
    );
  }
  for (const victim of ['scheduler', 'worker', 'connections', 'server']) {
    expect(kills.filter((kill) => kill.victim === victim).length, `kills of a ${victim}`).toBeGreaterThan(0);
  }

  const undisturbed = await runUndisturbed(days);
  expect(await findDifferences(erp, undisturbed)).toEqual([]);
  expect(await findGaps(erp)).toEqual([]);
  await expectPredicted(erp);
  expect(await queues.results.getWaitingCount()).toBe(0);
  await expectFewPayloadsLeft(kills.filter(({ victim }) => victim === 'worker').length);

  const last = runOf(days - 1);
  await killThroughRevert(erp, env, watcher, last, random);
  const reverted = await runCli(['runs', 'revert', last], { env: { ...env, ...undisturbed.env } });
  expect(reverted.code, reverted.stderr).toBe(0);
  expect(await findDifferences(erp, undisturbed)).toEqual([]);
  expect(await findGaps(erp)).toEqual([]);
});
