import { Redis } from 'ioredis';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { PATIENCE, startLive } from '../support/cli-live.ts';
import { createWorkspace } from '../support/cli-workspace.ts';
import { sessionOf, startDashboard, stopDashboard } from '../support/dashboard.ts';
import { createProducer } from '../support/load.ts';
import { runCli, startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, SYNTHETIC_NOTE, toCsv } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';
import { startRedisWithUsers } from '../support/redis-users.ts';

const SHUTDOWN_MS = 4000;
/** Sentences of Node, ioredis and BullMQ, which nobody should have to know. */
const FOREIGN =
  /writeable|Connection is closed|connect E|read E|Command timed out|command not allowed|ready check|IMPORTANT/;

let worker: WorkerProcess | undefined;
afterEach(() => worker?.kill('SIGKILL'));

const ask = async ({ url }: { url: string }, path: string) => {
  const answer = await fetch(`${url}${path}`);
  return { status: answer.status, text: await answer.text() };
};

/** @returns the exit code */
async function stopInTime(process: { kill(signal: NodeJS.Signals): void; ended: Promise<number | null> }) {
  const start = performance.now();
  process.kill('SIGTERM');
  const code = await process.ended;
  expect(performance.now() - start).toBeLessThan(SHUTDOWN_MS);
  return code;
}

it('with a user who may not call INFO, CONFIG and CLIENT LIST everything works, and what nobody looked at is said once', async () => {
  const { urlOf } = await startRedisWithUsers();
  const env = { REDIS_URL: urlOf('hosted'), SHUTDOWN_TIMEOUT_MS: String(SHUTDOWN_MS) };
  const workspace = await createWorkspace();
  onTestFinished(() => workspace.remove());
  const [input, out] = [await workspace.write('c.csv', toCsv(makeProducts(20))), workspace.path('out.csv')];
  const one = await startWorker(env);
  worker = one;
  expect(await runCli(['run', input, '--out', out], { env })).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(SYNTHETIC_NOTE),
  });
  const status = await runCli(['queue', 'status'], { env });
  expect(status).toMatchObject({ code: 0, stdout: expect.stringContaining('workers connected: unknown') });
  expect(status.stderr).toMatch(/^the maxmemory-policy of Redis could not be checked[^\n]*\n$/);
  expect(JSON.parse((await runCli(['queue', 'status', '--json'], { env })).stdout)).toMatchObject({ workers: null });
  for (const _again of [1, 2, 3]) expect(await ask(one, '/readyz')).toMatchObject({ status: 200 });
  const { text } = await ask(one, '/metrics');
  expect(text).toMatch(/^categorizer_queue_jobs\{/m);
  expect(text).not.toMatch(/^categorizer_queue_workers\{/m);
  const dashboard = await startDashboard(env);
  onTestFinished(() => stopDashboard(dashboard));
  await expect.poll(async () => (await sessionOf(dashboard).get('/api/queues')).status, PATIENCE).toBe(200);

  expect(await Promise.all([stopInTime(one), stopInTime(dashboard.cli)])).toEqual([0, 0]);
  const warnings = one.log().filter(({ level, msg }) => Number(level) >= 40 && !/synthetic data/.test(String(msg)));
  expect(warnings).toMatchObject([{ msg: expect.stringContaining('maxmemory-policy of Redis could not be checked') }]);
});

describe('a worker says of its Redis in words', () => {
  it('that it is full, read-only or has an unknown user, and is ready again afterwards', async () => {
    const { urlOf, admin, server } = await startRedisWithUsers();
    const one = await startWorker({ REDIS_URL: urlOf('hosted') });
    worker = one;
    await expect.poll(() => ask(one, '/readyz'), PATIENCE).toMatchObject({ status: 200 });
    await admin.config('SET', 'maxmemory', '1');
    const notReady = (text: RegExp) => ({ status: 503, text: expect.stringMatching(text) });
    await expect.poll(() => ask(one, '/readyz'), PATIENCE).toMatchObject(notReady(/OOM – Redis is full/));
    await admin.config('SET', 'maxmemory', '0');
    await expect.poll(() => ask(one, '/readyz'), PATIENCE).toMatchObject({ status: 200 });
    await admin.replicaof('127.0.0.1', 1);
    await expect
      .poll(() => ask(one, '/readyz'), PATIENCE)
      .toMatchObject(notReady(/(READONLY – Redis is read-only|MASTERDOWN – Redis is a replica)/));
    await admin.replicaof('NO', 'ONE');
    await expect.poll(() => ask(one, '/readyz'), PATIENCE).toMatchObject({ status: 200 });
    await admin.call('ACL', 'DELUSER', 'hosted');
    await expect
      .poll(() => ask(one, '/readyz'), PATIENCE)
      .toMatchObject(notReady(/WRONGPASS – Redis refuses the user/));
    await server.stop();
    await expect
      .poll(() => ask(one, '/readyz'), PATIENCE)
      .toMatchObject(notReady(/does not answer: ECONNREFUSED – nothing/));
    one.kill('SIGTERM');
    expect(await one.ended).toBe(0);
    expect(JSON.stringify(one.log())).not.toMatch(FOREIGN);
  });
});

describe('SIGTERM ends a worker with 0 within its time', () => {
  /** Takes a chunk and cannot publish its result: with its Redis frozen, or full. */
  it.each(['frozen', 'full'])('while a job is in work and its Redis is %s', async (state) => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const producer = createProducer(server.url, '{categorizer}');
    const redis = new Redis(server.url, { maxRetriesPerRequest: null });
    const pid = Number(/^process_id:(\d+)/m.exec(await redis.info('server'))?.[1]);
    // The batch waits for more rows, so that the job is in work when Redis changes.
    const one = await startWorker({
      REDIS_URL: server.url,
      SHUTDOWN_TIMEOUT_MS: String(SHUTDOWN_MS),
      BATCH_MAX_WAIT_MS: '10000',
    });
    worker = one;
    await producer.addChunks(makeProducts(2), 1, 'R');
    await expect.poll(() => producer.queue.getActiveCount(), PATIENCE).toBe(2);
    if (state === 'full') await redis.config('SET', 'maxmemory', '1');
    else process.kill(pid, 'SIGSTOP');
    try {
      expect(await stopInTime(one)).toBe(0);
    } finally {
      if (state === 'frozen') process.kill(pid, 'SIGCONT');
    }
    // Given back, or left to the lock; nothing has failed.
    expect(await producer.queue.getFailedCount()).toBe(0);
    expect(one.log().at(-1)?.msg).toMatch(state === 'full' ? /^stopped$/ : /^(stopped|not finished in time: the jobs)/);
    await producer.close();
    redis.disconnect();
  });

  it('while it starts', async () => {
    const starting = startLive(['worker'], { REDIS_URL: 'redis://127.0.0.1:1', HTTP_PORT: '0' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    starting.kill('SIGTERM');
    // Before Node has run a line of ours the signal ends it.
    expect([0, null]).toContain(await starting.ended);
  });
});
