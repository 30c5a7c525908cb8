import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createProducer, predictedCategories, readRows, untilDone } from '../support/load.ts';
import { type Environment, runCli, startCli, startWorker } from '../support/processes.ts';
import { makeProducts, seededRandom, uniquePrefix } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const ROUNDS = 30;
const RUN = 'soak';

let redis: RedisServer;
let directory: string;

beforeAll(async () => {
  redis = await startRedis();
  directory = await mkdtemp(join(tmpdir(), 'categorizer-soak-'));
});

afterAll(async () => {
  await redis.remove();
  await rm(directory, { recursive: true });
});

/** Longer than any command takes to get to work, so that the kills hit every part of it. */
function randomPause(random: () => number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 200 + random() * 900));
}

it('workers and collectors killed at random moments: each product is in the file once, with its category', async () => {
  const random = seededRandom(Number(process.env.SOAK_SEED ?? 20261122));
  const env: Environment = { REDIS_URL: redis.url, QUEUE_PREFIX: uniquePrefix(), JOB_LOCK_MS: '2000' };
  const products = makeProducts(60_000, 9);
  const expected = await predictedCategories(products, directory);
  const producer = createProducer(redis.url, env.QUEUE_PREFIX);
  const out = join(directory, 'collected.jsonl');
  const collect = ['results', '--run', RUN, '--out', out];

  await producer.addOneByOne(products.slice(0, 40_000), RUN);
  await producer.addChunks(products.slice(40_000), 10, RUN);
  let worker = await startWorker(env);
  const steady = await startWorker(env);
  for (let round = 0; round < ROUNDS; round++) {
    const collector = startCli(collect, env);
    await randomPause(random);
    collector.kill('SIGKILL');
    if (round % 3 === 0) {
      worker.kill('SIGKILL');
      await worker.ended;
      worker = await startWorker(env);
    }
    await collector.ended;
  }
  await untilDone(producer.queue);
  expect(await producer.queue.getFailedCount()).toBe(0);
  const last = await runCli(collect, { env });
  expect(last.code).toBe(0);

  const rows = await readRows(out);
  expect(rows).toHaveLength(products.length);
  expect(new Map(rows.map(({ productId, categoryCode }) => [productId, categoryCode]))).toEqual(expected);

  for (const { kill } of [worker, steady]) kill('SIGTERM');
  expect(await Promise.all([worker.ended, steady.ended])).toEqual([0, 0]);
  await producer.close();
});
