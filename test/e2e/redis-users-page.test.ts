import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { PATIENCE } from '../support/cli-live.ts';
import { createWorkspace } from '../support/cli-workspace.ts';
import { sessionOf, startDashboard, stopDashboard } from '../support/dashboard.ts';
import { readRows } from '../support/load.ts';
import { createErp, WRITE_BACK } from '../support/nightly-erp.ts';
import { runCli, startWorker } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';
import { startRedisWithUsers } from '../support/redis-users.ts';

const USERS = ['worker', 'producer', 'collector', 'scheduler', 'dashboard'].map((role) => `categorizer-${role}`);
const INPUT = '{categorizer}:product-categorization';
const QUEUE = '/api/queues/product-categorization';

describe('the users of docs/least-privilege-redis.md', () => {
  it('may do what their commands need, and were refused nothing but the list of clients', async () => {
    const { urlOf, grant, refused } = await startRedisWithUsers();
    const env = (role: string) => ({ REDIS_URL: urlOf(`categorizer-${role}`) });
    const workspace = await createWorkspace();
    onTestFinished(() => workspace.remove());
    const [csv, out] = [toCsv(makeProducts(60)), workspace.path('out.jsonl')];
    const input = await workspace.write('c.csv', csv);

    const worker = await startWorker(env('worker'));
    onTestFinished(() => worker.kill('SIGKILL'));
    for (const _again of [1, 2]) {
      const sent = await runCli(['enqueue', input, '--run', 'night', '--chunk-size', '10'], { env: env('producer') });
      expect(sent).toMatchObject({ code: 0 });
    }
    const results = ['results', '--run', 'night', '--wait', '--out', out];
    const collected = await runCli(results, { env: env('collector') });
    expect(collected).toMatchObject({ code: 0 });
    expect(await readRows(out)).toHaveLength(60);
    await expect.poll(async () => (await fetch(`${worker.url}/readyz`)).status, PATIENCE).toBe(200);
    expect(await (await fetch(`${worker.url}/metrics`)).text()).toMatch(/^categorizer_queue_jobs\{/m);

    const erp = await createErp(inject('postgresUrl'));
    onTestFinished(() => erp.drop());
    await erp.put(makeProducts(30));
    const night = ['recategorize', '--run', 'n-1', ...WRITE_BACK, '--slice-size', '10'];
    const recategorized = await runCli(night, { env: { ...env('scheduler'), ...erp.env } });
    expect(recategorized, recategorized.stderr).toMatchObject({ code: 0 });

    const keys = ['wait', 'active', 'prioritized', 'delayed'].map((type) => `~${INPUT}:${type}`);
    await grant('categorizer-collector', ...keys);
    const status = await runCli(['queue', 'status'], { env: env('collector') });
    expect(status).toMatchObject({ code: 0, stdout: expect.stringContaining('workers connected: unknown') });

    const dashboard = await startDashboard(env('dashboard'));
    onTestFinished(() => stopDashboard(dashboard));
    const { get, change } = sessionOf(dashboard);
    await expect.poll(async () => (await get('/api/queues')).status, PATIENCE).toBe(200);
    for (const status of ['latest', 'waiting', 'active', 'delayed', 'prioritized', 'completed', 'failed']) {
      expect((await get(`/api/queues?activeQueue=product-categorization&status=${status}`)).status, status).toBe(200);
    }
    for (const action of ['pause', 'resume', 'retry/failed', 'clean/completed', 'empty']) {
      const { status, text } = await change('PUT', `${QUEUE}/${action}`);
      expect(status, `${action}: ${text}`).toBe(200);
    }
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    expect((await refused()).filter((line) => !line.endsWith(': client|list'))).toEqual([]);
  }, 240_000);

  it('may not do what their commands do not need', async () => {
    const { answer } = await startRedisWithUsers();
    const forbidden = (name: string, ...command: [string, ...string[]]) =>
      expect(answer(name, ...command), `${name}: ${command.join(' ')}`).resolves.toBe('NOPERM');
    const dangerous: [string, ...string[]][] = [
      ['FLUSHALL'],
      ['CONFIG', 'GET', '*'],
      ['KEYS', '*'],
      ['SCAN', '0'],
      ['SHUTDOWN'],
      ['ACL', 'LIST'],
      ['MONITOR'],
      ['GET', 'another:program'],
      ['SET', 'another:program', '1'],
      ['EVAL', "return redis.call('GET', KEYS[1])", '1', 'another:program'],
    ];
    for (const user of USERS) for (const command of dangerous) await forbidden(user, ...command);
    // Results are for the collector alone, and so are their payloads.
    await forbidden('categorizer-producer', 'LRANGE', '{categorizer}:product-categories:wait', '0', '-1');
    await forbidden('categorizer-producer', 'GET', '{categorizer}:payload:r-night-0:12345678');
    expect(await answer('categorizer-producer', 'GET', '{categorizer}:payload:run-0:12345678')).toBe('OK');
    // Who collects sends nothing.
    await forbidden('categorizer-collector', 'LPUSH', `${INPUT}:wait`, 'job');
    await forbidden('categorizer-collector', 'HSET', `${INPUT}:night-0`, 'data', '{}');
    await forbidden('categorizer-collector', 'GET', '{categorizer}:payload:night-0:12345678');
    // What was sent and collected is no business of workers and of the dashboard.
    await forbidden('categorizer-worker', 'HGETALL', '{categorizer}:run:night');
    await forbidden('categorizer-dashboard', 'DEL', '{categorizer}:payload:night-0:12345678');
    await forbidden('categorizer-dashboard', 'HGETALL', '{categorizer}:run:night');
  });
});
