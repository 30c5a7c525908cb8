import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { askRedis, connectForProbes, connectOrFail, connectPatiently } from '../../src/adapters/bullmq/connection.ts';
import { redisProblem } from '../../src/adapters/bullmq/redis-health.ts';
import { createFakeLogger } from '../support/fake-observers.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

async function ownRedis(...args: string[]): Promise<RedisServer> {
  const server = await startRedis({ args });
  onTestFinished(() => server.remove());
  return server;
}

function closeAfter<T extends Redis>(connection: T): T {
  onTestFinished(() => connection.disconnect());
  return connection;
}

function nextEvent(connection: Redis, event: 'ready' | 'close'): Promise<void> {
  return new Promise((resolve) => connection.once(event, () => resolve()));
}

async function milliseconds(run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

describe('a connection for a command', () => {
  it('is open when it is given', async () => {
    const connection = closeAfter(await connectOrFail(inject('redisUrl'), new AbortController().signal));
    expect(await connection.ping()).toBe('PONG');
  });

  it('to a Redis that is not there fails at once, and the message says where and which variable', async () => {
    const server = await ownRedis();
    await server.stop();
    const before = performance.now();
    await expect(
      connectOrFail(`redis://user:sesame@127.0.0.1:${server.port}/0?x=open`, new AbortController().signal),
    ).rejects.toMatchObject({
      code: 'REDIS_UNAVAILABLE',
      retryable: true,
      message: expect.stringMatching(
        new RegExp(
          `^Redis at redis://127.0.0.1:${server.port}/0 does not answer: .*ECONNREFUSED.* \\(see REDIS_URL\\)$`,
        ),
      ),
    });
    expect(performance.now() - before).toBeLessThan(2000);
  });

  it('to a socket that is not there fails at once', async () => {
    await expect(connectOrFail('/nowhere/redis.sock', new AbortController().signal)).rejects.toMatchObject({
      code: 'REDIS_UNAVAILABLE',
      message: expect.stringContaining('/nowhere/redis.sock'),
    });
  });

  it.each([
    { title: 'without a password', credentials: '' },
    { title: 'with a wrong password', credentials: ':sesame@' },
  ])('$title, where one is needed, fails at once; no password is shown', async ({ credentials }) => {
    const server = await ownRedis('--requirepass', 'open');
    const failure = await connectOrFail(
      `redis://${credentials}127.0.0.1:${server.port}`,
      new AbortController().signal,
    ).then(
      (connection) => {
        connection.disconnect();
        return undefined;
      },
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ code: 'REDIS_UNAVAILABLE', message: expect.stringMatching(/NOAUTH|WRONGPASS/) });
    expect(String(failure)).not.toMatch(/sesame|open/);
  });

  it('with the right password is open', async () => {
    const server = await ownRedis('--requirepass', 'p@ss:word');
    const connection = closeAfter(
      await connectOrFail(`redis://:p%40ss%3Aword@127.0.0.1:${server.port}`, new AbortController().signal),
    );
    expect(await connection.ping()).toBe('PONG');
  });

  it('that is lost fails the next call at once and for good', async () => {
    const server = await ownRedis();
    const connection = closeAfter(await connectOrFail(server.url, new AbortController().signal));
    const closed = nextEvent(connection, 'close');
    await server.stop();
    await closed;
    await expect(askRedis(() => connection.ping())).rejects.toMatchObject({
      code: 'REDIS_UNAVAILABLE',
      retryable: true,
    });
  });
});

describe('a connection for probes', () => {
  it('fails every command at once while Redis is stopped, and works again when it is back', async () => {
    const server = await ownRedis();
    const connection = closeAfter(connectForProbes(server.url));
    await nextEvent(connection, 'ready');
    const closed = nextEvent(connection, 'close');
    await server.stop();
    await closed;
    const took = await milliseconds(() => expect(connection.ping()).rejects.toThrow());
    expect(took).toBeLessThan(500);
    const ready = nextEvent(connection, 'ready');
    await server.start();
    await ready;
    expect(await connection.ping()).toBe('PONG');
  });

  it('does not throw where Redis is away from the start on, and connects when it comes', async () => {
    const server = await ownRedis();
    await server.stop();
    const connection = closeAfter(connectForProbes(server.url));
    await expect(connection.ping()).rejects.toThrow();
    const ready = nextEvent(connection, 'ready');
    await server.start();
    await ready;
    expect(await connection.ping()).toBe('PONG');
  });

  it('gives a Redis that hangs two seconds and no more', async () => {
    const server = await ownRedis();
    const connection = closeAfter(connectForProbes(server.url));
    await nextEvent(connection, 'ready');
    const other = closeAfter(new Redis(server.url));
    await other.client('PAUSE', 30_000, 'ALL');
    const took = await milliseconds(async () => {
      expect(await redisProblem(connection)).toMatch(/^Redis does not answer: /);
    });
    expect(took).toBeLessThan(4000);
  });
});

describe('a connection for workers', () => {
  it('lets a command wait until Redis is back, and logs each outage once', async () => {
    const server = await ownRedis();
    const logger = createFakeLogger();
    const connection = closeAfter(connectPatiently(server.url, logger));
    await logger.untilLogged('redis connected');
    await server.stop();
    await logger.untilLogged('redis is away; waiting for it');
    const answer = connection.ping();
    await server.start();
    expect(await answer).toBe('PONG');
    await logger.untilLogged('redis is back');
    expect(logger.lines.map(({ level, message }) => `${level}: ${message}`)).toEqual([
      'info: redis connected',
      'warn: redis is away; waiting for it',
      'info: redis is back',
    ]);
  });

  it('never logs a password', async () => {
    const server = await ownRedis('--requirepass', 'open');
    const logger = createFakeLogger();
    closeAfter(connectPatiently(`redis://:sesame@127.0.0.1:${server.port}`, logger));
    await logger.untilLogged('redis is away; waiting for it');
    expect(JSON.stringify(logger.lines)).not.toContain('sesame');
    expect(logger.lines[0].fields).toMatchObject({ reason: expect.stringContaining('WRONGPASS') });
  });
});

describe('the policy of Redis', () => {
  it('noeviction is as it should be', async () => {
    const connection = closeAfter(new Redis(inject('redisUrl')));
    expect(await redisProblem(connection)).toBeUndefined();
  });

  it.each(['allkeys-lru', 'volatile-ttl'])('%s may drop jobs, which is told with what to set', async (policy) => {
    const server = await ownRedis('--maxmemory-policy', policy);
    const problem = await redisProblem(closeAfter(new Redis(server.url)));
    expect(problem).toContain(policy);
    expect(problem).toContain('set it to noeviction');
  });
});

describe('an answer of Redis that is an error', () => {
  it('is told from an outage', async () => {
    const connection = closeAfter(new Redis(inject('redisUrl')));
    await expect(askRedis(() => connection.call('NO-SUCH-COMMAND'))).rejects.toMatchObject({
      code: 'REDIS_REFUSED',
      retryable: true,
      message: expect.stringMatching(/^Redis refused: ERR unknown command/),
    });
  });
});

describe('an error that has nothing to do with Redis', () => {
  it('is not taken for an outage: it travels on as it is', async () => {
    const defect = new TypeError('x is not a function');
    await expect(askRedis(() => Promise.reject(defect))).rejects.toBe(defect);
  });
});
