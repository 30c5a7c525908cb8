import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LiveCli, PATIENCE, startLive } from '../support/cli-live.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

const SECRET = 'geheim';
const CATALOGUE = toCsv(makeProducts(3));
let workspace: Workspace;

beforeAll(async () => {
  workspace = await createWorkspace();
  await workspace.write('catalogue.csv', CATALOGUE);
});
afterAll(() => workspace.remove());

/** The paths are known only when the tests run. */
function commandOf(line: string, { path } = workspace): string[] {
  const paths = new Map([
    ['CATALOGUE', path('catalogue.csv')],
    ['OUT', path('out.csv')],
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

// Everything here runs side by side with the first of these tests, which waits for a command that gives up.
describe.concurrent('something that takes connections and never answers', () => {
  /** Gives that and a command to a test; both end with it. */
  async function withCommand(test: (cli: LiveCli, sockets: readonly Socket[]) => Promise<void>): Promise<void> {
    const sockets: Socket[] = [];
    const server = createServer((socket) => sockets.push(socket));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    const cli = startLive(['queue', 'status'], { REDIS_URL: `redis://127.0.0.1:${port}` });
    try {
      await test(cli, sockets);
    } finally {
      cli.kill('SIGKILL');
      await cli.ended;
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  }

  it('is given up on with REDIS_UNAVAILABLE', () =>
    withCommand(async (cli) => {
      await expect.poll(cli.exit, { timeout: 25_000 }).toEqual({ code: 1, signal: null });
      expect(cli.stderr()).toMatch(/^REDIS_UNAVAILABLE: /);
    }));

  it('does not keep a command from ending at the first SIGINT', () =>
    withCommand(async (cli, sockets) => {
      await expect.poll(() => sockets.length, PATIENCE).toBeGreaterThan(0);
      cli.kill('SIGINT');
      await expect.poll(cli.exit, { timeout: 5_000 }).toEqual({ code: 130, signal: null });
    }));
});

describe.concurrent('bad configuration', () => {
  const env = {
    REDIS_URL: `http://user:${SECRET}@queue.internal`,
    HTTP_PORT: '65536',
    BATCH_MAX_ROWS: '0',
    LOG_LEVEL: 'loud',
    OTEL_EXPORTER_OTLP_ENDPOINT: `ftp://user:${SECRET}@traces.internal`,
  };

  it.each(['worker', ...WITHOUT_REDIS, ...NEED_REDIS])('of %s ends with 78 and lists all at once', async (line) => {
    const { code, stdout, stderr } = await runCli(commandOf(line), { env });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^CONFIG_INVALID: /);
    expect([...stderr.matchAll(/^ {2}([A-Z_]+): ./gm)].map(([, name]) => name).sort()).toEqual(Object.keys(env).sort());
    expect(stderr).not.toContain(SECRET);
    expect(code).toBe(78);
  });

  it.each([
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

describe.concurrent('without Redis', () => {
  // Nothing listens on port 1.
  const env = { REDIS_URL: `redis://user:${SECRET}@127.0.0.1:1/0?password=${SECRET}` };

  it.each([...NEED_REDIS, 'results --all --out OUT'])(
    '%s ends soon with REDIS_UNAVAILABLE, shows no credentials and writes nothing',
    async (line) => {
      const own = await createWorkspace();
      try {
        await own.write('catalogue.csv', CATALOGUE);
        const start = performance.now();
        const { code, stdout, stderr } = await runCli(commandOf(line, own), { env });
        expect(stdout).toBe('');
        expect(stderr).toMatch(/^REDIS_UNAVAILABLE: Redis at redis:\/\/127\.0\.0\.1:1\b.* ECONNREFUSED /);
        expect(stderr).not.toContain(SECRET);
        expect(stderr.trimEnd().split('\n')).toHaveLength(1);
        expect(code).toBe(1);
        expect(performance.now() - start).toBeLessThan(20_000);
        expect(await own.names()).toEqual(['catalogue.csv']);
      } finally {
        await own.remove();
      }
    },
  );

  it.each(WITHOUT_REDIS)('%s works all the same', async (line) => {
    expect((await runCli(commandOf(line), { env })).code).toBe(0);
  });
});

describe.concurrent('a Redis that asks for a password', () => {
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
