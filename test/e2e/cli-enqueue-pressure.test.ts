import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { type LiveCli, PATIENCE, startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { untilDone } from '../support/load.ts';
import { runCli, startWorker } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

/** One round trip carries so many jobs at most: by so much the queue may go over what was said. */
const JOBS_PER_SEND = 500;
const PRODUCTS = 1200;
const MAX_WAITING = 20;

const ones = ['--chunk-size', '1', '--max-waiting', String(MAX_WAITING), '--json'];

let workspace: Workspace;
let queues: Queues;
let catalogue: string;
let running: LiveCli | undefined;

beforeEach(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
  // The reject in the first row opens the reject files.
  const [header, ...rows] = toCsv(makeProducts(PRODUCTS)).split('\n');
  catalogue = await workspace.write('catalogue.csv', [header, 'bad,row', ...rows].join('\n'));
});
afterEach(async () => {
  running?.kill('SIGKILL');
  await running?.ended;
  running = undefined;
  await queues.close();
  await workspace.remove();
});

function start(args: readonly string[], env = queues.env): LiveCli {
  running = startLive(args, env);
  return running;
}

async function untilPaused(cli: LiveCli): Promise<void> {
  await expect.poll(cli.stderr, PATIENCE).toMatch(/^20 jobs or more are waiting .*\n$/);
}

describe('enqueue of more than the queue may hold', () => {
  it('waits for the workers with the queue bounded, and finishes when there is one', async () => {
    const cli = start(['enqueue', catalogue, '--run', 'R', ...ones]);
    await untilPaused(cli);
    expect(await queues.products.getWaitingCount()).toBe(JOBS_PER_SEND);
    const worker = await startWorker(queues.env);
    try {
      let most = 0;
      const ended = () => cli.exit() !== undefined;
      while (!ended()) most = Math.max(most, await queues.products.getWaitingCount());
      expect(cli.exit()).toEqual({ code: 3, signal: null });
      expect(JSON.parse(cli.stdout())).toMatchObject({ enqueued: PRODUCTS, jobs: PRODUCTS, rejected: 1 });
      expect(most).toBeLessThan(MAX_WAITING + JOBS_PER_SEND);
      await untilDone(queues.products);
      expect(await queues.results.getWaitingCount()).toBe(PRODUCTS);
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
      const cli = start(['enqueue', catalogue, '--run', 'R', ...ones]);
      await untilPaused(cli);
      cli.kill(signal);
      expect(await cli.ended).toBe(exitCode);
      expect(cli.stdout()).toBe('');
      expect(cli.stderr()).toMatch(/\nINTERRUPTED: .*500 products in 500 jobs were sent; .*--run R .*\n$/);
      expect(await workspace.names()).toEqual(['catalogue.csv']);
      expect(await queues.products.getWaitingCount()).toBe(JOBS_PER_SEND);

      const again = await runCli(['enqueue', catalogue, '--run', 'R', '--chunk-size', '1', '--max-waiting', '9999'], {
        env: queues.env,
      });
      expect(again.code).toBe(3);
      expect(await queues.products.getWaitingCount()).toBe(PRODUCTS);
    },
  );

  it('ends with 1 when Redis goes away in the pause, and says how to go on', async () => {
    const redis = await startRedis();
    const own = openQueues(redis.url);
    try {
      const cli = start(['enqueue', catalogue, '--run', 'R', ...ones], own.env);
      await untilPaused(cli);
      await redis.stop();
      expect(await cli.ended).toBe(1);
      expect(cli.stdout()).toBe('');
      expect(cli.stderr()).toMatch(/\nREDIS_UNAVAILABLE: .*500 products in 500 jobs were sent; .*--run R .*\n$/);
      expect(await workspace.names()).toEqual(['catalogue.csv']);
    } finally {
      await own.close();
      await redis.remove();
    }
  });
});

describe('enqueue that is interrupted while standard input gives nothing', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('ends at the first %s with %i', async (signal, exitCode) => {
    const cli = start(['enqueue', '-', '--run', 'R', '--rejects', workspace.path('r'), ...ones]);
    cli.stdin.write(toCsv(makeProducts(JOBS_PER_SEND + 100)));
    // It has sent what makes up a round trip and waits for more.
    await expect.poll(() => queues.products.getWaitingCount(), PATIENCE).toBe(JOBS_PER_SEND);
    cli.kill(signal);
    await expect.poll(cli.exit, { timeout: 5_000 }).toEqual({ code: exitCode, signal: null });
    expect(await workspace.names()).toEqual(['catalogue.csv']);
  });
});

describe('the memory of an import', () => {
  const LINES = 400_000;
  const env = { NODE_OPTIONS: '--max-old-space-size=48' };

  it.each([
    ['CSV', 'product_id,f0', (i: number) => `P${i},1`],
    ['JSON lines', '{"productId":"P","features":[1]}', (i: number) => `{"productId":"P${i}","features":[1]}`],
  ] as const)('of %s does not grow with the file', async (_format, first, line) => {
    const lines = [first, ...Array.from({ length: LINES }, (_, i) => line(i)), ''];
    const file = await workspace.write('large', lines.join('\n'));
    const { code, stdout } = await runCli(['enqueue', file, '--width', '1', '--dry-run', '--json'], { env });
    expect(code).toBe(0);
    expect(JSON.parse(stdout).rejected).toBe(0);
  });
});
