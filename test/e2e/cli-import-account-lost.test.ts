import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { type LiveCli, PATIENCE, startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runForAccount } from '../support/import-account.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let workspace: Workspace;
let redis: RedisServer;
let queues: Queues;
let catalogue: string;

beforeEach(async () => {
  workspace = await createWorkspace();
  // Of its own: it is emptied.
  redis = await startRedis();
  queues = openQueues(redis.url);
  catalogue = await workspace.write('c.csv', toCsv(makeProducts(6)));
});
afterEach(async () => {
  await queues.close();
  await redis.remove();
  await workspace.remove();
});

const run = (...args: string[]) => runCli(args, { env: queues.env });

function start(...args: string[]): LiveCli {
  const cli = startLive(args, queues.env);
  onTestFinished(async () => {
    cli.kill('SIGKILL');
    await cli.ended;
  });
  return cli;
}

describe('a run that Redis lost', () => {
  it('ends the collector that waits for it and every later one with RUN_LOST and without a file', async () => {
    expect((await run('enqueue', catalogue, '--run', 'gone')).code).toBe(0);
    const waiting = start('results', '--run', 'gone', '--wait', '--out', workspace.path('a.csv'));
    await expect.poll(waiting.stderr, PATIENCE).toContain('no worker is connected');
    await queues.redis.flushall();
    expect(await waiting.ended).toBe(1);
    expect(waiting.stdout()).toBe('');
    const sentence = /^RUN_LOST: Redis lost run gone, which was sent \d{4}-.*Z: .*; run the same import again\n$/m;
    expect(waiting.stderr()).toMatch(sentence);

    for (const args of [['--wait'], []]) {
      const late = await run('results', '--run', 'gone', ...args, '--out', workspace.path('b.csv'), '--json');
      expect(late.stdout).toBe('');
      expect(late.stderr).toMatch(sentence);
      expect(late.code).toBe(1);
    }
    expect(await workspace.names()).toEqual(['c.csv']);

    const mended = ['run', catalogue, '--run', 'gone', '--out', workspace.path('a.csv'), '--local'];
    const { code, account } = await runForAccount(mended, queues.env);
    expect(account).toMatchObject({ read: 6, sentNow: 6, categorized: 6, missing: 0 });
    expect(code).toBe(0);
  });
});

describe('a run that is not there', () => {
  it('is not found, and the latest imports are named; nothing is printed or written', async () => {
    await run('enqueue', catalogue, '--run', 'known');
    const plain = await run('results', '--run', 'nosuch');
    expect(plain.stdout).toBe('');
    expect(plain.stderr).toBe(
      'RUN_NOT_FOUND: there is no run nosuch, and no result of one; the latest imports: known\n',
    );
    expect(plain.code).toBe(1);
    const out = workspace.path('out.csv');
    const timedOut = await run('results', '--run', 'nosuch', '--wait', '--timeout', '1s', '--out', out);
    expect(timedOut.stdout).toBe('');
    expect(timedOut.stderr).toMatch(/the time of --timeout is over\nRUN_NOT_FOUND: .* the latest imports: known\n$/);
    expect(timedOut.code).toBe(1);
    expect(await workspace.names()).toEqual(['c.csv']);
  });

  it('is waited for with --wait, and collected when it has begun', async () => {
    const out = workspace.path('out.csv');
    const waiting = start('results', '--run', 'late', '--wait', '--out', out, '--json');
    const hint = 'no run late has begun: waiting for it to begin (--timeout ends the wait)\n';
    await expect.poll(waiting.stderr, PATIENCE).toBe(hint);
    const other = workspace.path('other.csv');
    const begun = await run('run', catalogue, '--run', 'other', '--out', other, '--local');
    expect(begun.code).toBe(0);
    expect(waiting.exit()).toBeUndefined();
    expect((await run('enqueue', catalogue, '--run', 'late')).code).toBe(0);
    // The worker of another run answers it as well.
    const last = await run('run', catalogue, '--run', 'last', '--out', workspace.path('last.csv'), '--local');
    expect(last.code).toBe(0);
    expect(await waiting.ended).toBe(0);
    expect(JSON.parse(waiting.stdout()).totals).toMatchObject({ read: 6, categorized: 6, missing: 0 });
  });
});
