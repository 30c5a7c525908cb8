import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { payloadBytes, waitingProducts } from '../support/bulk-chunks.ts';
import { toJsonLines } from '../support/bulk-input.ts';
import { type LiveCli, PATIENCE, startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { readRows } from '../support/load.ts';
import { runCli, startWorker } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const MIB = 1024 * 1024;
/** More than 2 MiB of payloads. */
const products = makeProducts(32_000);
const [HEADER, ...ROWS] = toCsv(products).split('\n');
/** With a row that is rejected. */
const CATALOGUE = [HEADER, 'bad,row', ...ROWS].join('\n');
const HINT = '1 MiB are waiting in Redis (--max-pending): going on when workers have taken some\n';

let workspace: Workspace;
let redis: RedisServer;
let queues: Queues;
let catalogue: string;
let running: LiveCli | undefined;

beforeEach(async () => {
  workspace = await createWorkspace();
  // Of its own: what memory is in use is a figure of the whole server.
  redis = await startRedis();
  queues = openQueues(redis.url);
  catalogue = await workspace.write('catalogue.csv', CATALOGUE);
});
afterEach(async () => {
  running?.kill('SIGKILL');
  await running?.ended;
  running = undefined;
  await queues.close();
  await redis.remove();
  await workspace.remove();
});

const command = (maxPending: number) =>
  ['enqueue', catalogue, '--run', 'R', '--chunk-size', '1000', '--max-pending', `${maxPending}`, '--json'] as const;

async function startUntilPaused(): Promise<LiveCli> {
  const cli = startLive(command(1), queues.env);
  running = cli;
  await expect.poll(cli.stderr, PATIENCE).toBe(HINT);
  return cli;
}

async function memoryOfRedis(): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await queues.redis.info('memory'))?.[1]);
}

describe('enqueue of more than --max-pending with no worker', () => {
  it('keeps the memory of Redis bounded and says that it waits; with a worker all of it comes out', async () => {
    const before = await memoryOfRedis();
    const cli = await startUntilPaused();
    expect(await payloadBytes(queues)).toBeGreaterThan(MIB / 2);
    expect(await payloadBytes(queues)).toBeLessThanOrEqual(MIB);
    expect((await memoryOfRedis()) - before).toBeLessThan(2 * MIB);

    const worker = await startWorker(queues.env);
    try {
      let most = 0;
      while (cli.exit() === undefined) most = Math.max(most, await queues.products.getWaitingCount());
      // A chunk has 64,000 bytes of features, and ids.
      expect(most * 64_000).toBeLessThanOrEqual(MIB);
      expect(most).toBeGreaterThan(0);
      expect(cli.exit()).toEqual({ code: 3, signal: null });
      expect(cli.stderr()).toBe(HINT);
      expect(JSON.parse(cli.stdout())).toMatchObject({ products: products.length, jobs: 32, rejected: 1 });

      const out = workspace.path('out.jsonl');
      const collected = await runCli(['results', '--run', 'R', '--wait', '--out', out], { env: queues.env });
      // The row that was rejected while it was read is a row of the run.
      expect(collected.code).toBe(3);
      const ids = (await readRows(out)).map(({ productId }) => productId);
      expect(ids.sort()).toEqual(products.map(({ productId }) => productId).sort());
    } finally {
      worker.kill('SIGTERM');
      expect(await worker.ended).toBe(0);
    }
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    'at %s in the pause ends with %i, leaves no half file and says how to go on',
    async (signal, exitCode) => {
      const cli = await startUntilPaused();
      cli.kill(signal);
      expect(await cli.ended).toBe(exitCode);
      expect(cli.stdout()).toBe('');
      const jobs = await queues.products.getWaitingCount();
      expect(cli.stderr().slice(HINT.length)).toMatch(
        new RegExp(
          `^INTERRUPTED: .*\\(${jobs}000 products in ${jobs} jobs were sent; the same command sends the rest.*\\n$`,
        ),
      );
      expect(await workspace.names()).toEqual(['catalogue.csv']);

      const again = await runCli(command(100), { env: queues.env });
      expect(again.code).toBe(3);
      expect(JSON.parse(again.stdout)).toMatchObject({ jobs: 32, sentBefore: { jobs, products: 1000 * jobs } });
      expect(await waitingProducts(queues)).toEqual(products);
    },
  );

  it('ends with 1 when Redis goes away in the pause, and says how to go on', async () => {
    const cli = await startUntilPaused();
    await redis.stop();
    expect(await cli.ended).toBe(1);
    expect(cli.stdout()).toBe('');
    expect(cli.stderr().slice(HINT.length)).toMatch(
      /^REDIS_UNAVAILABLE: .* jobs were sent; the same command sends the rest.*\n$/,
    );
    expect(await workspace.names()).toEqual(['catalogue.csv']);
  });
});

describe('a chunk that is larger than --max-pending', () => {
  it('is sent all the same when nothing waits before it', async () => {
    const large = await workspace.write('large.jsonl', toJsonLines(products.slice(0, 10_000).map(withLongId)));
    const args = ['enqueue', large, '--run', 'L', '--chunk-size', '10000', '--max-pending', '1', '--json'];
    const { code, stdout } = await runCli(args, {
      env: { REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: queues.prefix },
    });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ jobs: 1, products: 10_000 });
  });
});

function withLongId({ productId, features }: (typeof products)[number]) {
  return { productId: productId.padEnd(150, 'x'), features };
}
