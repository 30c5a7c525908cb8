import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addPackedChunks } from '../support/bulk-chunks.ts';
import { PATIENCE } from '../support/cli-live.ts';
import { addResult, categorized, openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { createProducer, readRows, untilDone } from '../support/load.ts';
import { runCli, startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let workspace: Workspace;
let redis: RedisServer;
let queues: Queues;
let worker: WorkerProcess | undefined;

beforeEach(async () => {
  workspace = await createWorkspace();
  redis = await startRedis();
  queues = openQueues(redis.url);
});
afterEach(async () => {
  worker?.kill('SIGKILL');
  await worker?.ended;
  worker = undefined;
  await queues.close();
  await redis.remove();
  await workspace.remove();
});

/** With less memory allowed than is in use, Redis refuses every command that needs some. */
const fill = () => queues.redis.config('SET', 'maxmemory', '1');
const makeRoom = () => queues.redis.config('SET', 'maxmemory', '0');

describe('a Redis that is full', () => {
  it('ends an enqueue with REDIS_REFUSED, and the same command sends all when there is room', async () => {
    const command = [
      'enqueue',
      await workspace.write('c.csv', toCsv(makeProducts(10))),
      '--run',
      'R',
      '--chunk-size',
      '2',
    ];
    await fill();
    const { code, stdout, stderr } = await runCli(command, { env: queues.env });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^REDIS_REFUSED: .*OOM.*\n$/);
    expect(code).toBe(1);
    await makeRoom();
    expect((await runCli(command, { env: queues.env })).code).toBe(0);
    expect(await queues.products.getWaitingCount()).toBe(5);
  });

  it('loses no collected result and doubles none', async () => {
    for (const i of [1, 2, 3]) await addResult(queues.results, { jobId: `${i}`, products: [categorized(`P${i}`)] });
    const out = workspace.path('out.jsonl');
    await fill();
    const { code, stdout, stderr } = await runCli(['results', '--all', '--out', out], { env: queues.env });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^REDIS_REFUSED: .*OOM.*\n$/);
    expect(code).toBe(1);
    await makeRoom();
    expect((await runCli(['results', '--all', '--out', out], { env: queues.env })).code).toBe(0);
    expect((await readRows(out)).map(({ productId }) => productId)).toEqual(['P1', 'P2', 'P3']);
    expect(await queues.results.getWaitingCount()).toBe(0);
  });

  it.each(['readable', 'packed'])('is waited out by a worker with %s chunks, and no job is lost', async (form) => {
    const producer = createProducer(redis.url, queues.prefix);
    const products = makeProducts(40);
    if (form === 'packed') await addPackedChunks(producer, redis.url, products, 4, 'R');
    else await producer.addChunks(products, 4, 'R');
    await fill();
    const waiting = await startWorker(queues.env);
    worker = waiting;
    await expect
      .poll(() => waiting.log().filter(({ level }) => Number(level) >= 40).length, PATIENCE)
      .toBeGreaterThan(0);
    await makeRoom();
    await untilDone(producer.queue);
    expect(await producer.queue.getFailedCount()).toBe(0);
    expect(await queues.results.getWaitingCount()).toBe(10);
    await producer.close();
  });
});
