import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { payloadKeys } from '../support/bulk-chunks.ts';
import { csvRows, readRejectLines } from '../support/bulk-input.ts';
import { killAfter, killWhenGrown, sentChunks, startMortalWorkers } from '../support/bulk-kills.ts';
import { startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { readRows } from '../support/files-results.ts';
import { untilDone } from '../support/load.ts';
import { type Environment, runCli } from '../support/processes.ts';
import { makeProducts, seededRandom, toCsv } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

/** A failure says its seed: with it the kills come in the same order, though not in the same microsecond. */
const SEED = Number(process.env.SOAK_SEED ?? Date.now() % 1_000_000);
const KILLS = 20;
/** One after each fourth kill of a command. */
const WORKER_KILLS = KILLS / 4;
const PRODUCTS = 100_000;
/** Small, so that there are many, and a kill hits between two. */
const CHUNK = 20;
const RUN = 'soak';
const SEVEN_DAYS = 7 * 24 * 3600;

/** What is wrong in the file: each of these rows must be in the rejects once. */
const BAD_ROWS: readonly (readonly [after: number, row: string, code: string])[] = Array.from(
  { length: 100 },
  (_, i) => {
    const after = 1000 * i + 500;
    if (i % 3 === 0) return [after, `bad-${i},1,2`, 'INVALID_ROW'];
    if (i % 3 === 1) return [after, `bad-${i}${',x'.repeat(16)}`, 'NON_FINITE_FEATURE'];
    return [after, `"bad ""${i}"""${',1e39'.repeat(16)}`, 'NON_FINITE_FEATURE'];
  },
);

/** The account of the run at its end. */
const RECONCILED = {
  read: PRODUCTS + BAD_ROWS.length,
  rejected: BAD_ROWS.length,
  categorized: PRODUCTS,
  ...{ answered: 0, waiting: 0, failed: 0, missing: 0 },
};

let redis: RedisServer;
let directory: string;
let catalogue: string;
let expected: Map<unknown, unknown>;
let queues: Queues;
let env: Environment;

beforeAll(async () => {
  redis = await startRedis();
  directory = await mkdtemp(join(tmpdir(), 'categorizer-soak-'));
  const products = makeProducts(PRODUCTS, 9);
  const rows = csvRows(products);
  for (const [after, row] of [...BAD_ROWS].reverse()) rows.splice(after, 0, row);
  catalogue = join(directory, 'catalogue.csv');
  await writeFile(catalogue, `${toCsv([])}${rows.join('\n')}\n`);
  const predicted = join(directory, 'predicted.csv');
  expect((await runCli(['predict', catalogue, '--out', predicted])).code).toBe(3);
  const outcomes = await readRows(predicted, 'csv');
  expected = new Map(outcomes.slice(0, PRODUCTS).map(([id, category]) => [id, category]));
  expect(expected.size).toBe(PRODUCTS);
});

afterAll(async () => {
  await redis.remove();
  await rm(directory, { recursive: true });
});

beforeEach(async () => {
  queues = openQueues(redis.url);
  // What a killed command leaves in its temporary directory goes away with ours.
  const temporary = join(directory, 'tmp');
  await mkdir(temporary, { recursive: true });
  env = { ...queues.env, JOB_LOCK_MS: '2000', TMPDIR: temporary };
  return async () => {
    await queues.close();
    for (const name of ['catalogue.csv.rejects.csv', 'catalogue.csv.rejects.jsonl']) {
      await rm(join(directory, name), { force: true });
    }
  };
});

const sent = () => sentChunks(queues.redis, queues.prefix, RUN);

async function startWorkers() {
  const workers = await startMortalWorkers(env);
  onTestFinished(async () => void (await workers.stop()));
  return workers;
}

/** One kill in four anywhere after the start, the others while it sends. @returns whether it was hit while there was more to send */
async function killSender(args: readonly string[], random: () => number): Promise<boolean> {
  const cli = startLive(args, env);
  const grown = () => killWhenGrown(cli, sent, Math.floor(1 + random() * 400), random() * 20);
  const killed = random() < 0.25 ? await killAfter(cli, random() * 1500) : await grown();
  return killed && (await sent()) < PRODUCTS / CHUNK;
}

async function expectRejectsOnce(): Promise<void> {
  const rejects = await readFile(`${catalogue}.rejects.csv`, 'utf8');
  expect(rejects).toBe(`${toCsv([])}${BAD_ROWS.map(([, row]) => `${row}\n`).join('')}`);
  const first = new Map<number, string>();
  for (const { line, code } of await readRejectLines(`${catalogue}.rejects.jsonl`)) {
    if (!first.has(line)) first.set(line, code);
  }
  // The header is line 1, and each bad row moves those after it.
  expect([...first]).toEqual(BAD_ROWS.map(([after, , code], i) => [after + i + 2, code]));
}

async function expectEachOnce(out: string, format: 'csv' | 'parquet'): Promise<void> {
  const rows = await readRows(out, format);
  expect(rows).toHaveLength(PRODUCTS);
  expect(new Map(rows.map(([id, category]) => [id, category]))).toEqual(expected);
}

/**
 * A kill leaves payloads that no job points to any more, and Redis drops them in time:
 * - of a sender: those of the 4 chunks on their way, sent again when their jobs were done already
 * - of a worker: those of the jobs that it had just finished, of one batch of 4,096 products at most
 * - of a collector: those of one page of results that it had just removed; it is rarely hit there
 */
async function expectFewPayloadsLeft(workerKills: number): Promise<void> {
  const keys = await payloadKeys(queues);
  const ofResults = keys.filter((key) => key.includes(':payload:r-'));
  expect(keys.length - ofResults.length).toBeLessThanOrEqual(KILLS * 4 + workerKills * Math.ceil(4096 / CHUNK));
  expect(ofResults.length).toBeLessThanOrEqual(2 * 500);
  const lives = await Promise.all(keys.map((key) => queues.redis.ttl(key)));
  expect(lives.filter((seconds) => seconds <= 0 || seconds > SEVEN_DAYS)).toEqual([]);
}

describe.each(['csv', 'parquet'] as const)(`enqueue, workers and results killed (SOAK_SEED=${SEED})`, (format) => {
  it(`each product is in the ${format} once, and each bad row in the rejects`, async () => {
    const random = seededRandom(SEED);
    const out = join(directory, `collected.${format}`);
    const enqueue = ['enqueue', catalogue, '--run', RUN, '--chunk-size', `${CHUNK}`];
    const collect = ['results', '--run', RUN, '--out', out];
    const workers = await startWorkers();
    let hits = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const collector = startLive(collect, env);
      const collectorKilled = killAfter(collector, 300 + random() * 1500);
      if (await killSender(enqueue, random)) hits++;
      if (kill % 4 === 3) await workers.killOne();
      await collectorKilled;
    }
    expect(hits, 'kills while there was more to send').toBeGreaterThan(KILLS / 2);

    const last = await runCli([...enqueue, '--json'], { env });
    expect(last.code, last.stderr).toBe(3);
    expect(JSON.parse(last.stdout)).toMatchObject({ products: PRODUCTS, rejected: BAD_ROWS.length });
    await expectRejectsOnce();
    await untilDone(queues.products);
    for (let kill = 0; kill < 5; kill++) await killAfter(startLive(collect, env), 300 + random() * 1500);
    const collected = await runCli([...collect, '--wait', '--json'], { env });
    expect(collected.code, collected.stderr + collected.stdout).toBe(3);
    expect(JSON.parse(collected.stdout).totals).toMatchObject(RECONCILED);
    await expectEachOnce(out, format);
    expect(await queues.results.getWaitingCount()).toBe(0);
    expect(await workers.stop()).toEqual([0, 0]);
    await expectFewPayloadsLeft(WORKER_KILLS);
  });
});

describe(`run and workers killed (SOAK_SEED=${SEED})`, () => {
  it('each product is in the file once, and each bad row in the rejects', async () => {
    const random = seededRandom(SEED + 1);
    const out = join(directory, 'run.parquet');
    const command = ['run', catalogue, '--out', out, '--run', RUN, '--chunk-size', `${CHUNK}`];
    const workers = await startWorkers();
    let hits = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      // One in three brings a worker of its own, which dies with it.
      if (await killSender(kill % 3 === 0 ? [...command, '--local'] : command, random)) hits++;
      if (kill % 4 === 3) await workers.killOne();
    }
    expect(hits, 'kills while there was more to send').toBeGreaterThan(KILLS / 2);
    // While it sends the last, waits, writes the file, and takes the results off the queue.
    for (let kill = 0; kill < 5; kill++) await killAfter(startLive(command, env), 1000 + random() * 4000);

    const last = await runCli([...command, '--json'], { env });
    expect(last.code, last.stderr).toBe(3);
    expect(JSON.parse(last.stdout)).toMatchObject({
      results: { failedJobs: {}, missingJobs: 0, unreadable: 0 },
      totals: RECONCILED,
    });
    await expectRejectsOnce();
    await expectEachOnce(out, 'parquet');
    expect(await queues.results.getWaitingCount()).toBe(0);
    expect(await workers.stop()).toEqual([0, 0]);
    await expectFewPayloadsLeft(WORKER_KILLS + KILLS);
  });
});
