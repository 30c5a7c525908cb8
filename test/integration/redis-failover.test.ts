import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished, vi } from 'vitest';
import { connectForProbes, connectPatiently, logErrors } from '../../src/adapters/bullmq/connection.ts';
import { createPayloads } from '../../src/adapters/bullmq/payloads.ts';
import { createProductWorker } from '../../src/adapters/bullmq/product-worker.ts';
import { PRODUCT_JOB, PRODUCT_QUEUE } from '../../src/contract/index.ts';
import { createFakeJobObserver, createFakeLogger } from '../support/fake-observers.ts';
import { FAKE_MODEL } from '../support/fake-predictor.ts';
import { startAddress } from '../support/redis-address.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

async function ownRedis(): Promise<RedisServer> {
  // A replica is served at once, and not after the 5 s in which others may come.
  const server = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
  onTestFinished(() => server.remove());
  return server;
}

it('a worker leaves a primary that was demoted, and its command arrives at the new one', async () => {
  const [old, promoted] = [await ownRedis(), await ownRedis()];
  const address = await startAddress(old);
  const connection = connectPatiently(address.url, createFakeLogger());
  onTestFinished(() => connection.disconnect());
  expect(await connection.set('before', '1')).toBe('OK');

  const admin = new Redis(old.url);
  await admin.replicaof('127.0.0.1', promoted.port);
  admin.disconnect();
  address.leadTo(promoted);

  expect(await connection.set('after', '1')).toBe('OK');
  const onPromoted = new Redis(promoted.url);
  expect(await onPromoted.get('after')).toBe('1');
  onPromoted.disconnect();
});

it('a worker leaves a primary that vanished without a word, and takes a job on the new one within a minute', async () => {
  const [old, promoted] = [await ownRedis(), await ownRedis()];
  const address = await startAddress(old);
  const logger = createFakeLogger();
  const observer = createFakeJobObserver();
  const connection = connectPatiently(address.url, logger);
  const probes = connectForProbes(address.url);
  const worker = createProductWorker({
    connection,
    prefix: 'bull',
    concurrency: 8,
    maxProducts: 1000,
    lockMs: 30_000,
    model: FAKE_MODEL,
    mismatchTimeoutMs: 3_600_000,
    categorizeJob: async () => undefined,
    payloads: createPayloads({ connection, prefix: 'bull', ttlHours: 1 }),
    observer,
    logger,
  });
  const onPromoted = new Redis(promoted.url, { maxRetriesPerRequest: null });
  const queue = new Queue(PRODUCT_QUEUE, { connection: onPromoted });
  onTestFinished(async () => {
    await queue.close();
    onPromoted.disconnect();
    await worker.close();
    connection.disconnect();
    probes.disconnect();
  });
  worker.start();
  // Once something went both ways the worker is connected with all that it has.
  const before = new Redis(old.url, { maxRetriesPerRequest: null });
  const oldQueue = new Queue(PRODUCT_QUEUE, { connection: before });
  await oldQueue.add(PRODUCT_JOB, {});
  await observer.untilFinished(1);
  await oldQueue.close();
  before.disconnect();
  expect(await probes.ping()).toBe('PONG');

  const start = performance.now();
  address.vanish();
  await new Promise((resolve) => setTimeout(resolve, 3000));
  address.leadTo(promoted);
  await queue.add(PRODUCT_JOB, {});
  await observer.untilFinished(2);
  await vi.waitFor(async () => expect(await probes.ping()).toBe('PONG'), { timeout: 30_000 });
  expect(performance.now() - start).toBeLessThan(60_000);
}, 120_000);

it('an idle worker keeps its connections: silence is no loss while Redis answers', async () => {
  const server = await ownRedis();
  const logger = createFakeLogger();
  const connection = connectPatiently(server.url, logger);
  onTestFinished(() => connection.disconnect());
  const blocking = connection.duplicate();
  onTestFinished(() => blocking.disconnect());
  // The longest that BullMQ blocks.
  expect(await blocking.bzpopmin('nothing', 10)).toBeNull();
  expect(await connection.ping()).toBe('PONG');
  expect(logger.lines.map(({ message }) => message)).toEqual(['redis connected']);
}, 30_000);

it('an error that repeats itself is one line in the log, another one is another', () => {
  const lines: string[] = [];
  const listeners: ((error: Error) => void)[] = [];
  logErrors({ on: (_event, listener) => listeners.push(listener) }, (reason) => lines.push(reason));
  for (const message of ['MOVED 1', 'MOVED 1', 'MOVED 1', 'NOPERM', 'MOVED 1']) listeners[0](new Error(message));
  expect(lines).toEqual(['MOVED 1', 'NOPERM', 'MOVED 1']);
});
