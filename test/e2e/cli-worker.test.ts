import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { type LiveCli, PATIENCE, startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createProducer, untilDone } from '../support/load.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts } from '../support/products.ts';

let queues: Queues;
let cli: LiveCli | undefined;

beforeEach(() => {
  queues = openQueues(inject('redisUrl'));
});
afterEach(async () => {
  cli?.kill('SIGKILL');
  await cli?.ended;
  cli = undefined;
  await queues.close();
});

type Line = Record<string, unknown>;

/** What the worker logged; every line of its stderr must be JSON. */
function logOf({ stderr }: LiveCli): Line[] {
  const complete = stderr().slice(0, stderr().lastIndexOf('\n') + 1);
  return complete
    .split('\n')
    .filter((text) => text !== '')
    .map((text): Line => JSON.parse(text));
}

const said = (worker: LiveCli, message: string) => logOf(worker).find(({ msg }) => msg === message);

/** Resolves when the worker listens and is connected to its queue. */
async function startWorker(settings: Record<string, string> = {}): Promise<LiveCli> {
  const worker = startLive(['worker'], { ...queues.env, HTTP_PORT: '0', ...settings });
  cli = worker;
  for (const message of ['redis connected', 'worker started']) {
    await expect.poll(() => said(worker, message), PATIENCE).toBeDefined();
  }
  return worker;
}

/** A client that says it will send 100 bytes and sends one. */
async function holdRequest(worker: LiveCli) {
  const socket = connect(Number(said(worker, 'http listening')?.port), '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write('POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n');
  // The answer "100 Continue" says that the request is in work.
  await once(socket, 'data');
  socket.write('{');
  return socket;
}

describe('worker', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('at %s with nothing to do ends with 0 at once', async (signal) => {
    const worker = await startWorker();
    const start = performance.now();
    worker.kill(signal);
    expect(await worker.ended).toBe(0);
    expect(performance.now() - start).toBeLessThan(3000);
  });

  it('logs JSON on stderr, each change of its state, and writes nothing to stdout', async () => {
    const worker = await startWorker();
    worker.kill('SIGTERM');
    await worker.ended;
    expect(worker.stdout()).toBe('');
    const log = logOf(worker);
    expect(worker.stderr().endsWith('\n')).toBe(true);
    expect(log.map(({ msg }) => msg)).toEqual(
      expect.arrayContaining(['model loaded', 'http listening', 'worker started', 'redis connected', 'stopped']),
    );
    for (const line of log) {
      expect(line).toMatchObject({ service: 'product-categorizer', pid: expect.any(Number), time: expect.any(Number) });
    }
  });

  it('at debug logs job ids and run ids, and never a feature', async () => {
    const worker = await startWorker({ LOG_LEVEL: 'debug' });
    const producer = createProducer(queues.env.REDIS_URL, queues.prefix);
    const products = makeProducts(3).map((product) => ({
      ...product,
      features: product.features.map(() => 1.2345678),
    }));
    await producer.addOneByOne(products, 'run-of-ones');
    await producer.addChunks([...products, { productId: 'bad', features: [1.2345678] }], 4, 'run-of-chunks');
    await untilDone(queues.products);
    await producer.close();
    worker.kill('SIGTERM');
    await worker.ended;
    const completed = logOf(worker).filter(({ msg }) => msg === 'job completed');
    expect(completed.map(({ jobId }) => jobId).sort()).toEqual([
      'run-of-chunks-chunk-0',
      'run-of-ones-one-0',
      'run-of-ones-one-1',
      'run-of-ones-one-2',
    ]);
    expect(said(worker, 'batch finished')).toMatchObject({ rows: expect.any(Number), runIds: expect.any(Array) });
    expect(worker.stderr()).not.toContain('1.2345');
  });

  it('at the second signal ends at once, whatever is in work', async () => {
    const worker = await startWorker({ SHUTDOWN_TIMEOUT_MS: '60000' });
    const socket = await holdRequest(worker);
    worker.kill('SIGTERM');
    await expect.poll(() => said(worker, 'stopping: finishing what was begun'), PATIENCE).toBeDefined();
    const start = performance.now();
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(143);
    expect(performance.now() - start).toBeLessThan(1000);
    socket.destroy();
  });

  it('ends with 0 in time although a client never finishes its request', async () => {
    const worker = await startWorker({ SHUTDOWN_TIMEOUT_MS: '3000' });
    const socket = await holdRequest(worker);
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    socket.destroy();
  });

  it('that finds its HTTP port taken ends with 1 and says which setting to change', async () => {
    const other = createServer();
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const address = other.address();
    const port = String(address !== null && typeof address === 'object' ? address.port : 0);
    const { code, stdout, stderr } = await runCli(['worker'], { env: { ...queues.env, HTTP_PORT: port } });
    other.close();
    expect(stdout).toBe('');
    expect(code).toBe(1);
    const message = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
    expect(message).toEqual([expect.stringMatching(new RegExp(`\\b${port}\\b.*HTTP_PORT`))]);
  });

  it('waits for an absent Redis, and ends with 0 at SIGTERM all the same', async () => {
    const worker = startLive(['worker'], {
      ...queues.env,
      REDIS_URL: 'redis://user:geheim@127.0.0.1:1',
      HTTP_PORT: '0',
    });
    cli = worker;
    await expect.poll(() => said(worker, 'redis is away; waiting for it'), PATIENCE).toBeDefined();
    const start = performance.now();
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(worker.stderr()).not.toContain('geheim');
    expect(logOf(worker).filter(({ msg }) => msg === 'redis is away; waiting for it')).toHaveLength(1);
  });
});
