import { expect, inject, it, onTestFinished } from 'vitest';
import { PRODUCT_QUEUE } from '../../src/contract/index.ts';
import { type OtlpReceiver, startOtlpReceiver } from '../support/otlp-receiver.ts';
import { type Environment, runCli, startWorker } from '../support/processes.ts';
import { makeProducts, uniquePrefix } from '../support/products.ts';

const PATIENCE = { timeout: 20_000, interval: 50 };

/** Chunks of one product: as many sends. */
async function enqueue(chunks: number, env: Environment): Promise<void> {
  const input = makeProducts(chunks)
    .map((product) => `${JSON.stringify(product)}\n`)
    .join('');
  const { code, stderr } = await runCli(['enqueue', '-', '--chunk-size', '1'], { env, input });
  expect(code, stderr).toBe(0);
}

async function startReceiver(): Promise<OtlpReceiver> {
  const receiver = await startOtlpReceiver();
  onTestFinished(receiver.close);
  return receiver;
}

function tracedTo(receiver: OtlpReceiver, sampler: Environment): Environment {
  const redis = { REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: uniquePrefix() };
  return { ...redis, OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_BSP_SCHEDULE_DELAY: '50', ...sampler };
}

it('a share of the traces of an import is sent where the standard variables say so', async () => {
  const receiver = await startReceiver();
  const sampler = { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.25' };
  await enqueue(400, tracedTo(receiver, sampler));
  // 100 on average, with a standard deviation of 9.
  expect(receiver.spans.length).toBeGreaterThan(40);
  expect(receiver.spans.length).toBeLessThan(180);
});

it('a batch is sampled on its own: one that is sent is whole, though no send before it was', async () => {
  const receiver = await startReceiver();
  const environment = tracedTo(receiver, {});
  await enqueue(20, { ...environment, OTEL_TRACES_SAMPLER: 'always_off' });
  expect(receiver.spans).toEqual([]);
  const worker = await startWorker(environment);
  const published = () =>
    receiver.spans
      .filter(({ name }) => name === 'publish')
      .reduce((sum, { attributes }) => sum + Number(attributes['messaging.batch.message_count']), 0);
  await expect.poll(published, PATIENCE).toBe(20);
  worker.kill('SIGTERM');
  expect(await worker.ended).toBe(0);
  const batches = receiver.spans.filter(({ name }) => name === `process ${PRODUCT_QUEUE}`);
  for (const name of ['predict', 'publish']) {
    const parents = receiver.spans.filter((span) => span.name === name).map(({ parentSpanId }) => parentSpanId);
    expect(new Set(parents)).toEqual(new Set(batches.map(({ spanId }) => spanId)));
  }
});

it('nothing is sent by a worker that samples nothing, and its jobs are done', async () => {
  const receiver = await startReceiver();
  const environment = tracedTo(receiver, { OTEL_TRACES_SAMPLER: 'always_off' });
  const worker = await startWorker(environment);
  await enqueue(20, environment);
  const metrics = async () => (await fetch(`${worker.url}/metrics`)).text();
  await expect.poll(metrics, PATIENCE).toContain('categorizer_products_total{outcome="categorized"} 20');
  worker.kill('SIGTERM');
  expect(await worker.ended).toBe(0);
  expect(receiver.paths).toEqual([]);
});
