import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { addPackedChunks } from '../support/bulk-chunks.ts';
import {
  collectRun,
  createProducer,
  type OutputRow,
  type Producer,
  predictedCategories,
  untilDone,
  untilLeft,
} from '../support/load.ts';
import { type Environment, startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, type TestProduct, uniquePrefix } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

/** Jobs of a killed worker are free again after so long; the default of 30 s would make these tests long. */
const JOB_LOCK_MS = '2000';
const RUN = 'chaos';

let redis: RedisServer;
let env: Environment;
let producer: Producer;
let directory: string;
let workers: WorkerProcess[];

const products = makeProducts(20_000, 3);
let expected: Map<string, string>;

beforeAll(async () => {
  redis = await startRedis();
  directory = await mkdtemp(join(tmpdir(), 'categorizer-chaos-'));
  expected = await predictedCategories(products, directory);
});

afterAll(async () => {
  await redis.remove();
  await rm(directory, { recursive: true });
});

beforeEach(() => {
  const prefix = uniquePrefix();
  env = { REDIS_URL: redis.url, QUEUE_PREFIX: prefix, JOB_LOCK_MS };
  producer = createProducer(redis.url, prefix);
  workers = [];
});

afterEach(async () => {
  for (const worker of workers) worker.kill('SIGKILL');
  await Promise.all(workers.map(({ ended }) => ended));
  await producer.close();
  await rm(join(directory, `${RUN}.jsonl`), { force: true });
});

/** Half as jobs of one product, a quarter as chunks, a quarter as packed chunks. */
async function enqueueAll(): Promise<void> {
  await producer.addOneByOne(products.slice(0, 10_000), RUN);
  await producer.addChunks(products.slice(10_000, 15_000), 20, RUN);
  await addPackedChunks(producer, redis.url, products.slice(15_000), 20, RUN);
}

async function addWorker(): Promise<WorkerProcess> {
  const worker = await startWorker(env);
  workers.push(worker);
  return worker;
}

function jobsIn(...states: ('waiting' | 'active' | 'completed')[]): Promise<number> {
  return producer.queue.getJobCountByTypes(...states);
}

/** Until so many jobs of the run are done, so that what happens next happens in the middle. */
async function untilFinished(jobs: number): Promise<void> {
  await untilLeft(() => jobsIn('waiting', 'active'), 10_500 - jobs);
}

function expectEachOnce(rows: readonly OutputRow[], all: readonly TestProduct[]): void {
  expect(rows).toHaveLength(all.length);
  expect(new Map(rows.map(({ productId, categoryCode }) => [productId, categoryCode]))).toEqual(
    new Map(all.map(({ productId }) => [productId, expected.get(productId)])),
  );
}

it('two workers, one killed every second: nothing is lost, and nothing is twice in the collected file', async () => {
  await addWorker();
  let victim = await addWorker();
  const enqueued = enqueueAll();
  for (let kills = 0; kills < 5; kills++) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    victim.kill('SIGKILL');
    expect(await victim.ended).toBeNull();
    victim = await addWorker();
  }
  await enqueued;
  await untilDone(producer.queue);
  expect(await producer.queue.getFailedCount()).toBe(0);
  expectEachOnce(await collectRun(RUN, directory, env), products);
  // Otherwise the kills hit nothing, and the test shows nothing.
  expect(workers.flatMap((worker) => worker.log()).some(({ msg }) => String(msg).startsWith('job stalled'))).toBe(true);
});

it('SIGTERM under load: exit 0, nothing failed, nothing left active, and another worker does the rest', async () => {
  const first = await addWorker();
  await enqueueAll();
  await untilFinished(1000);
  first.kill('SIGTERM');
  expect(await first.ended).toBe(0);
  expect(await jobsIn('active'), JSON.stringify(first.log())).toBe(0);
  expect(await jobsIn('waiting')).toBeGreaterThan(0);
  await addWorker();
  await untilDone(producer.queue);
  expect(await producer.queue.getFailedCount()).toBe(0);
  expect(first.log().filter(({ msg }) => msg === 'job failed; retrying')).toEqual([]);
  expectEachOnce(await collectRun(RUN, directory, env), products);
});

it('redis-server stopped and started again in the middle: nothing is lost, nothing is twice', async () => {
  await addWorker();
  await addWorker();
  await enqueueAll();
  await untilFinished(1000);
  await redis.stop();
  await redis.start();
  await untilDone(producer.queue);
  expect(await producer.queue.getFailedCount()).toBe(0);
  expectEachOnce(await collectRun(RUN, directory, env), products);
});
