import { once } from 'node:events';
import { connect } from 'node:net';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, inject, it, vi } from 'vitest';
import { PATIENCE } from '../support/cli-live.ts';
import {
  type Dashboard,
  LOGINS,
  logIn,
  OPERATOR,
  postLogin,
  sessionOf,
  startDashboard,
  stopDashboard,
} from '../support/dashboard.ts';
import { runCli } from '../support/processes.ts';
import { uniquePrefix } from '../support/products.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let dashboard: Dashboard | undefined;
let redis: RedisServer | undefined;
afterEach(async () => {
  await stopDashboard(dashboard);
  await redis?.remove();
  dashboard = undefined;
  redis = undefined;
});

const settings = () => ({ REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: uniquePrefix(), DASHBOARD_PORT: '0' });
const hash = (input: string) => runCli(['dashboard', 'hash-password'], { input });

describe('dashboard', () => {
  it.each(['0.0.0.0', '::', 'localhost.example', '10.0.0.1'])(
    'does not start on %s when nobody has to log in',
    async (host) => {
      const { code, stdout, stderr } = await runCli(['dashboard'], { env: { ...settings(), DASHBOARD_HOST: host } });
      expect({ code, stdout }).toEqual({ code: 78, stdout: '' });
      expect(stderr).toMatch(/^DASHBOARD_NEEDS_LOGIN: .*DASHBOARD_OPERATOR_USER and DASHBOARD_OPERATOR_PASSWORD_HASH/);
    },
  );

  it('starts on all addresses with a user', async () => {
    dashboard = await startDashboard({ ...settings(), ...LOGINS, DASHBOARD_HOST: '0.0.0.0' });
    expect((await sessionOf(dashboard).get('/healthz')).status).toBe(200);
  });

  it('tells everything that is wrong with its users at once, and no value', async () => {
    const env = {
      ...settings(),
      DASHBOARD_OPERATOR_USER: 'ada',
      DASHBOARD_VIEWER_PASSWORD_HASH: 'hidden',
      DASHBOARD_SESSION_SECRET: 'hidden',
    };
    const { code, stderr } = await runCli(['dashboard'], { env });
    expect(code).toBe(78);
    for (const name of ['OPERATOR_PASSWORD_HASH', 'VIEWER_PASSWORD_HASH', 'VIEWER_USER', 'SESSION_SECRET']) {
      expect(stderr).toMatch(new RegExp(`^ {2}DASHBOARD_${name}: `, 'm'));
    }
    expect(stderr).not.toContain('hidden');
  });

  it.each(['SIGTERM', 'SIGINT'] as const)(
    'at %s ends with 0, although a client never finishes its request',
    async (signal) => {
      dashboard = await startDashboard({ ...settings(), SHUTDOWN_TIMEOUT_MS: '10000' });
      const { port, url } = dashboard;
      await expect.poll(async () => (await fetch(`${url}/api/queues`)).status, PATIENCE).toBe(200);
      const socket = connect(port, '127.0.0.1').on('error', () => undefined);
      const headers = { host: `127.0.0.1:${port}`, origin: url, 'content-type': 'application/json' };
      const lines = Object.entries({ ...headers, 'content-length': '100', expect: '100-continue' });
      socket.write(`PUT /api/queues/product-categorization/concurrency HTTP/1.1\r\n`);
      socket.write(`${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);
      // The answer "100 Continue" says that the request is in work.
      await once(socket, 'data');
      socket.write('{');
      const start = performance.now();
      dashboard.cli.kill(signal);
      expect(await dashboard.cli.ended).toBe(0);
      expect(performance.now() - start).toBeLessThan(10_000);
      expect(dashboard.log()).toContainEqual(expect.objectContaining({ msg: 'stopped' }));
      expect(dashboard.log()).toContainEqual(
        expect.objectContaining({
          action: 'set concurrency',
          msg: 'change through the dashboard ended without an answer',
        }),
      );
      socket.destroy();
    },
  );

  it('while Redis is away says so at once, as page and as API, and goes on when it is back', async () => {
    const server = await startRedis();
    redis = server;
    await server.stop();
    dashboard = await startDashboard({ ...settings(), REDIS_URL: server.url });
    const session = sessionOf(dashboard);
    const awayNow = async () => {
      const start = performance.now();
      const [api, page] = [await session.get('/api/queues'), await session.get('/', { accept: 'text/html' })];
      expect(performance.now() - start).toBeLessThan(3000);
      expect({ status: api.status, code: JSON.parse(api.text).code }).toEqual({
        status: 503,
        code: 'REDIS_UNAVAILABLE',
      });
      expect(page.status).toBe(503);
      expect(page.text).toContain('<p role="alert">Redis does not answer');
      expect(page.text).toContain('http-equiv="refresh"');
    };
    const backAgain = () => expect.poll(async () => (await session.get('/api/queues')).status, PATIENCE).toBe(200);
    await awayNow();
    await server.start();
    await backAgain();
    await server.stop();
    await awayNow();
    await server.start();
    await backAgain();
    await server.stop();
    dashboard.cli.kill('SIGTERM');
    expect(await dashboard.cli.ended).toBe(0);
  });
});

describe('dashboard with a login, while Redis is away', () => {
  it('lets nobody in, ends a session all the same and tells Redis of it when that is back', async () => {
    const server = await startRedis();
    redis = server;
    const env = { ...settings(), ...LOGINS, DASHBOARD_SESSION_SECRET: 's'.repeat(32), REDIS_URL: server.url };
    const started = await startDashboard(env);
    dashboard = started;
    const session = await logIn(started, OPERATOR);
    const other = await logIn(started, OPERATOR);
    await vi.waitFor(async () => expect((await session.get('/account')).status).toBe(200), PATIENCE);
    await server.stop();
    await vi.waitFor(async () => expect((await session.get('/account')).status).toBe(503), PATIENCE);
    const logout = await session.change('POST', '/logout');
    expect(logout.status).toBe(503);
    expect(JSON.parse(logout.text).code).toBe('LOGOUT_NOT_STORED');
    expect(logout.headers.getSetCookie().join()).toMatch(/categorizer-dashboard=;/);
    // This process refuses it without asking anybody.
    expect((await session.get('/account')).status).toBe(401);
    await server.start();
    await vi.waitFor(async () => expect((await other.get('/account')).status).toBe(200), PATIENCE);
    const asked = new Redis(server.url);
    await vi.waitFor(async () => expect(await asked.keys('*:dashboard:ended:*')).toHaveLength(1), PATIENCE);
    asked.disconnect();
  });
});

describe('dashboard hash-password', () => {
  it('prints a hash with which that password logs in, and no other', async () => {
    const { code, stdout } = await hash('pässword one\nsecond line\n');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^scrypt:15:8:3:[\w-]{22}:[\w-]{43}\n$/);
    dashboard = await startDashboard({
      ...settings(),
      DASHBOARD_OPERATOR_USER: OPERATOR.user,
      DASHBOARD_OPERATOR_PASSWORD_HASH: stdout.trim(),
    });
    const statusOf = async (password: string) =>
      (await postLogin(dashboard as Dashboard, { user: OPERATOR.user, password })).status;
    expect(await statusOf('pässword one')).toBe(303);
    expect(await statusOf('pässword one'.normalize('NFD'))).toBe(303);
    expect(await statusOf('password one')).toBe(401);
  });

  it('prints another hash each time', async () => {
    const [first, second] = await Promise.all([hash('the same'), hash('the same')]);
    expect(first.stdout).not.toBe(second.stdout);
  });

  it.each(['1234567\n', '', '\n'])('refuses %j as too short', async (input) => {
    const { code, stdout, stderr } = await hash(input);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('8 characters or more');
    expect(stderr).not.toContain('1234567');
  });
});
