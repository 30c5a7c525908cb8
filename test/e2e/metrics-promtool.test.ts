import { spawnSync } from 'node:child_process';
import { expect, inject, it } from 'vitest';
import { startWorker } from '../support/processes.ts';
import { uniquePrefix } from '../support/products.ts';

const hasPromtool = spawnSync('promtool', ['--version']).status === 0;

it.skipIf(!hasPromtool)(
  'promtool has nothing to say of the metrics (skipped without Debian package prometheus)',
  async () => {
    const worker = await startWorker({ REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: uniquePrefix() });
    await fetch(`${worker.url}/predict`, { method: 'POST', body: JSON.stringify({ features: Array(16).fill(1) }) });
    const metrics = await (await fetch(`${worker.url}/metrics`)).text();
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      input: metrics,
      encoding: 'utf8',
    });
    worker.kill('SIGTERM');
    await worker.ended;
    expect(`${stdout}${stderr}`).toBe('');
    expect(status).toBe(0);
  },
);
