import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { describe, expect, inject, it } from 'vitest';
import { PRODUCT_QUEUE, RESULT_QUEUE } from '../../src/contract/index.ts';
import { startOtlpReceiver } from '../support/otlp-receiver.ts';
import { type Environment, runCli, startWorker } from '../support/processes.ts';
import { makeProducts, uniquePrefix } from '../support/products.ts';
import { freePort } from '../support/redis-server.ts';

const TEN_PRODUCTS = makeProducts(10)
  .map((product) => `${JSON.stringify(product)}\n`)
  .join('');

function tracedTo(url: string): Environment {
  return {
    REDIS_URL: inject('redisUrl'),
    QUEUE_PREFIX: uniquePrefix(),
    OTEL_EXPORTER_OTLP_ENDPOINT: url,
    OTEL_BSP_SCHEDULE_DELAY: '50',
  };
}

const enqueue = (env: Environment, ...args: string[]) =>
  runCli(['enqueue', '-', '--run', 'run', ...args], { env, input: TEN_PRODUCTS });

async function waitingOn(name: string, { REDIS_URL, QUEUE_PREFIX }: Environment): Promise<number> {
  const connection = new Redis(REDIS_URL, { maxRetriesPerRequest: null });
  const queue = new Queue(name, { connection, prefix: QUEUE_PREFIX });
  const waiting = await queue.getWaitingCount();
  await queue.close();
  connection.disconnect();
  return waiting;
}

// Side by side: what ends tries for some seconds to send its last spans.
describe.concurrent('a receiver', () => {
  it('that refuses everything fails no import and no worker', async () => {
    const receiver = await startOtlpReceiver({ answer: 503 });
    const env = tracedTo(receiver.url);
    const enqueued = enqueue(env);
    const worker = await startWorker(env);
    try {
      await receiver.until((spans) => spans.some(({ name }) => name === `process ${PRODUCT_QUEUE}`));
      worker.kill('SIGTERM');
      expect(await worker.ended).toBe(0);
    } finally {
      worker.kill('SIGKILL');
      await worker.ended;
      await receiver.close();
    }
    const { code, stderr } = await enqueued;
    expect(code, stderr).toBe(0);
    expect(await waitingOn(RESULT_QUEUE, env)).toBe(1);
  });

  it('that is not there neither fails an import nor holds it up for long, and nothing of it is on stdout', async () => {
    const env = tracedTo(`http://127.0.0.1:${await freePort()}`);
    const start = performance.now();
    const { code, stdout } = await enqueue(env, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ products: 10 });
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(await waitingOn(PRODUCT_QUEUE, env)).toBe(1);
  });
});
