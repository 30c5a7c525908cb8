import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LiveCli, PATIENCE, startLive } from '../support/cli-live.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const SECRET = 'geheim';
let workspace: Workspace;
let catalogue: string;

beforeAll(async () => {
  workspace = await createWorkspace();
  catalogue = await workspace.write('catalogue.csv', toCsv(makeProducts(3)));
});
afterAll(() => workspace.remove());

/** The paths are known only when the tests run. */
function commandOf(line: string): string[] {
  const paths = new Map([
    ['CATALOGUE', catalogue],
    ['OUT', workspace.path('out.csv')],
  ]);
  return line.split(' ').map((word) => paths.get(word) ?? word);
}

const WITHOUT_REDIS = ['predict CATALOGUE', 'model check'];
const NEED_REDIS = [
  'enqueue CATALOGUE',
  'run CATALOGUE --out OUT',
  'run CATALOGUE --out OUT --local',
  'results --all',
  'queue status',
  'queue retry-failed',
];

describe('bad configuration', () => {
  const env = {
    REDIS_URL: `http://user:${SECRET}@queue.internal`,
    HTTP_PORT: '65536',
    BATCH_MAX_ROWS: '0',
    LOG_LEVEL: 'loud',
    OTEL_EXPORTER_OTLP_ENDPOINT: `ftp://user:${SECRET}@traces.internal`,
  };

  it.concurrent.each(['worker', ...WITHOUT_REDIS, ...NEED_REDIS])(
    'of %s ends with 78 and lists all at once',
    async (line) => {
      const { code, stdout, stderr } = await runCli(commandOf(line), { env });
      expect(stdout).toBe('');
      expect(stderr).toMatch(/^CONFIG_INVALID: /);
      expect([...stderr.matchAll(/^ {2}([A-Z_]+): ./gm)].map(([, name]) => name).sort()).toEqual(
        Object.keys(env).sort(),
      );
      expect(stderr).not.toContain(SECRET);
      expect(code).toBe(78);
    },
  );

  it.concurrent.each([
    ['a slash in the password', `redis://:${SECRET}/x@127.0.0.1:6379`],
    ['a hash in the password', `redis://:${SECRET}#x@127.0.0.1:6379`],
    ['a port that is none', `redis://:${SECRET}@127.0.0.1:99999`],
    ['no host', `redis://:${SECRET}@`],
  ])('is a REDIS_URL that is no URL, too: %s', async (_case, url) => {
    const { code, stdout, stderr } = await runCli(['queue', 'status'], { env: { REDIS_URL: url } });
    expect(stdout).toBe('');
    expect(stderr).not.toContain(SECRET);
    expect(stderr).toMatch(/^CONFIG_INVALID: .*\n {2}REDIS_URL: ./);
    expect(code).toBe(78);
  });
});

describe('without Redis', () => {
  // Nothing listens on port 1.
  const env = { REDIS_URL: `redis://user:${SECRET}@127.0.0.1:1/0?password=${SECRET}` };

  it.concurrent.each(NEED_REDIS)('%s ends soon with REDIS_UNAVAILABLE and shows no credentials', async (line) => {
    const start = performance.now();
    const { code, stdout, stderr } = await runCli(commandOf(line), { env });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^REDIS_UNAVAILABLE: Redis at redis:\/\/127\.0\.0\.1:1\b.* ECONNREFUSED /);
    expect(stderr).not.toContain(SECRET);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(code).toBe(1);
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  it.concurrent.each(WITHOUT_REDIS)('%s works all the same', async (line) => {
    expect((await runCli(commandOf(line), { env })).code).toBe(0);
  });

  it.each(['enqueue CATALOGUE', 'run CATALOGUE --out OUT', 'results --all --out OUT'])(
    'nothing is written by %s',
    async (line) => {
      await runCli(commandOf(line), { env });
      expect(await workspace.names()).toEqual(['catalogue.csv']);
    },
  );
});

describe('a Redis that asks for a password', () => {
  let redis: RedisServer;

  beforeAll(async () => {
    redis = await startRedis({ args: ['--requirepass', SECRET] });
  });
  afterAll(() => redis.remove());

  it('takes the one in REDIS_URL', async () => {
    const env = { REDIS_URL: redis.url.replace('//', `//:${SECRET}@`) };
    expect((await runCli(['queue', 'status'], { env })).code).toBe(0);
  });

  it('refuses a wrong one, which is not shown', async () => {
    const env = { REDIS_URL: redis.url.replace('//', '//:wrong-word@') };
    const { code, stdout, stderr } = await runCli(['queue', 'status'], { env });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^REDIS_UNAVAILABLE: .*WRONGPASS/);
    expect(stderr).not.toContain('wrong-word');
    expect(code).toBe(1);
  });
});

describe('something that takes connections and never answers', () => {
  const sockets: Socket[] = [];
  const running: LiveCli[] = [];
  const server = createServer((socket) => sockets.push(socket));
  let env: Record<string, string>;

  beforeAll(async () => {
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    env = { REDIS_URL: `redis://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}` };
  });
  afterAll(async () => {
    for (const cli of running) cli.kill('SIGKILL');
    await Promise.all(running.map(({ ended }) => ended));
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  it('is given up on with REDIS_UNAVAILABLE', async () => {
    const cli = startLive(['queue', 'status'], env);
    running.push(cli);
    await expect.poll(cli.exit, { timeout: 25_000 }).toEqual({ code: 1, signal: null });
    expect(cli.stderr()).toMatch(/^REDIS_UNAVAILABLE: /);
  });

  it('does not keep a command from ending at the first SIGINT', async () => {
    const connected = sockets.length;
    const cli = startLive(['queue', 'status'], env);
    running.push(cli);
    await expect.poll(() => sockets.length, PATIENCE).toBeGreaterThan(connected);
    cli.kill('SIGINT');
    await expect.poll(cli.exit, { timeout: 5_000 }).toEqual({ code: 130, signal: null });
  });
});
