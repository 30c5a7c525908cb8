import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, postPredict, scrape } from '../support/cli-http.ts';
import { PATIENCE } from '../support/cli-live.ts';
import { openQueues } from '../support/cli-queues.ts';
import { createProducer, untilDone } from '../support/load.ts';
import { startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, WIDTH } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const FEATURES = Array.from({ length: WIDTH }, () => 3);
/** A probe's or a scrape's patience. */
const SOON_MS = 5000;

let redis: RedisServer | undefined;
let worker: WorkerProcess | undefined;

afterEach(async () => {
  worker?.kill('SIGKILL');
  await worker?.ended;
  await redis?.remove();
  [worker, redis] = [undefined, undefined];
});

const NOT_READY = (sentence: RegExp) => ({
  status: 503,
  body: { status: 'not ready', problems: [expect.stringMatching(sentence)] },
});

/** Fails where it takes longer than a probe or a scrape may. */
async function soon<T>(answer: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await answer();
  expect(performance.now() - start).toBeLessThan(SOON_MS);
  return result;
}

/** What a worker can do with no Redis at all. */
async function expectWorksWithoutRedis(alone: WorkerProcess): Promise<void> {
  expect(await soon(() => ask(alone, '/healthz'))).toMatchObject({ status: 200, body: { status: 'ok' } });
  expect(await soon(() => postPredict(alone, { features: FEATURES }))).toMatchObject({
    status: 200,
    body: { category_code: 'INFORMATICA' },
  });
  // An old figure would lie.
  const names = (await soon(() => scrape(alone))).samples.map(({ name }) => name);
  expect(names).toContain('categorizer_products_total');
  expect(names).not.toContain('categorizer_queue_jobs');
}

describe('a worker on a Redis that may drop jobs', () => {
  it('is not ready, and says which setting to change', async () => {
    redis = await startRedis({ args: ['--maxmemory-policy', 'allkeys-lru'] });
    const evicting = await startWorker({ REDIS_URL: redis.url });
    worker = evicting;
    const sentence = /maxmemory-policy.*allkeys-lru.*set it to noeviction/;
    await expect.poll(() => ask(evicting, '/readyz'), PATIENCE).toMatchObject(NOT_READY(sentence));
    expect(await ask(evicting, '/healthz')).toMatchObject({ status: 200 });
  });
});

describe('a worker whose Redis is not there', () => {
  beforeEach(async () => {
    redis = await startRedis();
  });

  it('from the start is alive, not ready, and categorizes over HTTP', async () => {
    await redis?.stop();
    const alone = await startWorker({ REDIS_URL: redis?.url ?? '' });
    worker = alone;
    expect(await soon(() => ask(alone, '/readyz'))).toMatchObject(NOT_READY(/Redis does not answer: ./));
    await expectWorksWithoutRedis(alone);
    await redis?.start();
    await expect.poll(() => ask(alone, '/readyz'), PATIENCE).toMatchObject({ status: 200 });
  });

  it('for a while is not ready until it is back, and works on then', async () => {
    const url = redis?.url ?? '';
    const waiting = await startWorker({ REDIS_URL: url });
    worker = waiting;
    await expect.poll(() => ask(waiting, '/readyz'), PATIENCE).toMatchObject({ status: 200 });
    await redis?.stop();
    await expect.poll(() => ask(waiting, '/readyz'), PATIENCE).toMatchObject(NOT_READY(/Redis does not answer: ./));
    await soon(() => ask(waiting, '/readyz'));
    await expectWorksWithoutRedis(waiting);

    await redis?.start();
    await expect.poll(() => ask(waiting, '/readyz'), PATIENCE).toMatchObject({ status: 200 });
    const producer = createProducer(url, '{categorizer}');
    await producer.addChunks(makeProducts(20), 5, 'R');
    await untilDone(producer.queue);
    expect(await producer.queue.getFailedCount()).toBe(0);
    await producer.close();
    expect((await scrape(waiting)).samples.map(({ name }) => name)).toContain('categorizer_queue_jobs');
  });

  it('because it is frozen answers probes and scrapes all the same', async () => {
    const url = redis?.url ?? '';
    const queues = openQueues(url);
    const pid = Number(/^process_id:(\d+)/m.exec(await queues.redis.info('server'))?.[1]);
    await queues.close();
    const waiting = await startWorker({ REDIS_URL: url });
    worker = waiting;
    await expect.poll(() => ask(waiting, '/readyz'), PATIENCE).toMatchObject({ status: 200 });
    process.kill(pid, 'SIGSTOP');
    try {
      expect(await soon(() => ask(waiting, '/readyz'))).toMatchObject(NOT_READY(/Redis does not answer: ./));
      await expectWorksWithoutRedis(waiting);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await expect.poll(() => ask(waiting, '/readyz'), PATIENCE).toMatchObject({ status: 200 });
  });
});
