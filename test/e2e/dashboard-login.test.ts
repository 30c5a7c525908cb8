import { createHmac } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { PATIENCE } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import {
  call,
  cookieOf,
  type Dashboard,
  LOGINS,
  logIn,
  OPERATOR,
  postLogin,
  sessionOf,
  startDashboard,
  stopDashboard,
  VIEWER,
} from '../support/dashboard.ts';

const SECRET = 's'.repeat(32);
const PAGE = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };

let queues: Queues;
beforeAll(() => {
  queues = openQueues(inject('redisUrl'));
});
afterAll(() => queues.close());

/** A cookie of that content as the dashboard with `SECRET` signs it. */
function forgeCookie(session: object, secret: string): string {
  const value = `categorizer-dashboard=${Buffer.from(JSON.stringify(session)).toString('base64')}`;
  const signature = createHmac('sha1', secret).update(value).digest('base64url');
  return `${value}; categorizer-dashboard.sig=${signature}`;
}

function contentOf(cookie: string): Record<string, unknown> {
  const value = /categorizer-dashboard=([^;]+)/.exec(cookie)?.[1] ?? '';
  return JSON.parse(Buffer.from(value, 'base64').toString('utf8'));
}

describe('the login of the dashboard', () => {
  let dashboard: Dashboard;
  beforeAll(async () => {
    dashboard = await startDashboard({ ...queues.env, ...LOGINS, DASHBOARD_SESSION_SECRET: SECRET });
  });
  afterAll(() => stopDashboard(dashboard));

  it('is where a browser is led that has no session, and back to the page that it asked for', async () => {
    const asked = await call(dashboard, '/queue/product-categorization', { headers: PAGE });
    expect(asked.status).toBe(303);
    const login = asked.headers.get('location') ?? '';
    expect(login).toBe('/login?to=%2Fqueue%2Fproduct-categorization');
    const form = await call(dashboard, login, { headers: PAGE });
    expect(form.text).toContain('name="to" value="/queue/product-categorization"');
    const reply = await postLogin(dashboard, { ...OPERATOR, to: '/queue/product-categorization' });
    expect(reply.headers.get('location')).toBe('/queue/product-categorization');
  });

  it.each(['//evil.example', '/\\evil.example', 'https://evil.example/', '/login"><script>'])(
    'leads nowhere else than to a path of its own, so not to %s',
    async (to) => {
      expect((await postLogin(dashboard, { ...OPERATOR, to })).headers.get('location')).toBe('/');
      expect((await call(dashboard, `/login?to=${encodeURIComponent(to)}`)).text).toContain('name="to" value="/"');
    },
  );

  it('is what everything else needs: without it the API answers 401 and a code', async () => {
    for (const path of ['/api/queues', '/account', '/static/images/logo.svg', '/nothing-here']) {
      const { status, text } = await call(dashboard, path);
      expect({ path, status, code: JSON.parse(text).code }).toEqual({ path, status: 401, code: 'LOGIN_REQUIRED' });
    }
    const change = await sessionOf(dashboard).change('PUT', '/api/queues/product-categorization/pause');
    expect(change.status).toBe(401);
    expect(await queues.products.isPaused()).toBe(false);
  });

  it('is not needed for /healthz', async () => {
    const { status, text } = await call(dashboard, '/healthz');
    expect({ status, body: JSON.parse(text) }).toEqual({ status: 200, body: { status: 'ok' } });
  });

  it.each([
    { title: 'a wrong password', user: OPERATOR.user, password: VIEWER.password },
    { title: 'a user that does not exist', user: 'mallory', password: OPERATOR.password },
    { title: 'nothing', user: '', password: '' },
  ])('refuses $title with the same sentence, and sets no cookie', async ({ user, password }) => {
    const reply = await postLogin(dashboard, { user, password });
    expect(reply.status).toBe(401);
    expect(reply.text).toContain('<p role="alert">The user or the password is wrong.</p>');
    expect(reply.headers.getSetCookie()).toEqual([]);
  });

  it('shows a user name that is markup as text', async () => {
    const { text } = await postLogin(dashboard, { user: '"><script>alert(1)</script>', password: 'x' });
    expect(text).not.toContain('<script>');
  });

  it('sets cookies that scripts cannot read and other sites cannot use, for 12 hours', async () => {
    const before = Date.now();
    const lines = (await postLogin(dashboard, OPERATOR)).headers.getSetCookie();
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      expect(line).toMatch(/; path=\/;.*; samesite=strict; httponly$/);
      const hours = (Date.parse(/expires=([^;]+)/.exec(line)?.[1] ?? '') - before) / 3_600_000;
      expect(hours).toBeCloseTo(12, 1);
    }
  });

  it.each([OPERATOR, VIEWER])('shows $user who is logged in and how to log out', async (user) => {
    const { text } = await (await logIn(dashboard, user)).get('/account', PAGE);
    expect(text).toContain(`Logged in as <strong>${user.user}</strong>`);
    expect(text).toContain(user === OPERATOR ? '<strong>operator</strong>' : '<strong>viewer</strong>');
    expect(text).toContain('<form method="post" action="/logout">');
  });

  it('ends with the logout, also for a copy of the cookie', async () => {
    const session = await logIn(dashboard, OPERATOR);
    expect((await session.get('/api/queues')).status).toBe(200);
    const reply = await session.change('POST', '/logout');
    expect({ status: reply.status, to: reply.headers.get('location') }).toEqual({ status: 303, to: '/login' });
    expect(reply.headers.getSetCookie().join()).toMatch(/categorizer-dashboard=;.*expires=Thu, 01 Jan 1970/);
    expect((await session.get('/api/queues')).status).toBe(401);
  });

  it('ends with the logout for every dashboard on this Redis, and for the next one after a restart', async () => {
    const other = await startDashboard({ ...queues.env, ...LOGINS, DASHBOARD_SESSION_SECRET: SECRET });
    onTestFinished(() => stopDashboard(other));
    const { cookie } = await logIn(other, OPERATOR);
    const kept = await logIn(other, OPERATOR);
    const statusAt = async (which: Dashboard, of = cookie) => (await sessionOf(which, of).get('/api/queues')).status;
    expect([await statusAt(dashboard), await statusAt(other)]).toEqual([200, 200]);
    await sessionOf(dashboard, cookie).change('POST', '/logout');
    expect([await statusAt(dashboard), await statusAt(other)]).toEqual([401, 401]);
    await stopDashboard(other);
    const restarted = await startDashboard({ ...queues.env, ...LOGINS, DASHBOARD_SESSION_SECRET: SECRET });
    onTestFinished(() => stopDashboard(restarted));
    await vi.waitFor(async () => expect(await statusAt(restarted, kept.cookie)).toBe(200), PATIENCE);
    expect(await statusAt(restarted)).toBe(401);
    // It is remembered for as long as the session would have lasted.
    const [key] = await queues.redis.keys(`${queues.prefix}:dashboard:ended:${contentOf(cookie).id}`);
    expect(await queues.redis.pttl(key)).toBeGreaterThan(11.9 * 3_600_000);
    expect(await queues.redis.pttl(key)).toBeLessThanOrEqual(12 * 3_600_000);
  });

  it('does not believe a cookie that is too old, forged, or of a user that was changed', async () => {
    const good = contentOf((await logIn(dashboard, OPERATOR)).cookie);
    const statusWith = async (cookie: string) => (await sessionOf(dashboard, cookie).get('/api/queues')).status;
    expect(await statusWith(forgeCookie(good, SECRET))).toBe(200);
    expect(await statusWith(forgeCookie(good, 'x'.repeat(32)))).toBe(401);
    expect(await statusWith(forgeCookie({ ...good, until: Date.now() - 1 }, SECRET))).toBe(401);
    expect(await statusWith(forgeCookie({ ...good, user: 'gone' }, SECRET))).toBe(401);
    expect(await statusWith(forgeCookie({ ...good, user: VIEWER.user }, SECRET))).toBe(401);
    expect(await statusWith(forgeCookie({ ...good, login: 'other password' }, SECRET))).toBe(401);
    expect(await statusWith(forgeCookie({}, SECRET))).toBe(401);
  });

  it('never logs a password, a hash or a cookie', async () => {
    const { cookie } = await logIn(dashboard, OPERATOR);
    await postLogin(dashboard, { user: OPERATOR.password, password: 'another-secret' });
    const log = dashboard.cli.stderr();
    expect(log).toContain('logged in');
    expect(log).toContain('wrong user or password');
    for (const secret of [OPERATOR.password, 'another-secret', OPERATOR.hash, SECRET, cookie]) {
      expect(log).not.toContain(secret);
    }
  });
});

describe('logins that come too often', () => {
  let dashboard: Dashboard;
  beforeEach(async () => {
    // Behind a proxy, so that a test has more than one address.
    dashboard = await startDashboard({ ...queues.env, ...LOGINS, DASHBOARD_PUBLIC_URL: 'http://queues.example' });
  });
  afterEach(() => stopDashboard(dashboard));

  const from = (address: string, form: { user: string; password: string }) =>
    postLogin(dashboard, form, { origin: 'http://queues.example', 'x-forwarded-for': address });

  it('are refused after 10 failures from an address, for any user, and that address alone', async () => {
    for (let i = 0; i < 10; i++) {
      expect((await from('10.0.0.1', { user: `user-${i}`, password: 'wrong-password' })).status).toBe(401);
    }
    const refused = await from('10.0.0.1', OPERATOR);
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(800);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(900);
    expect(refused.text).toMatch(/<p role="alert">Too many attempts: try again in 15 minutes\.<\/p>/);
    expect(cookieOf(refused)).toBe('');
    expect((await from('10.0.0.2', OPERATOR)).status).toBe(303);
  });

  it('are counted from the start again after one that succeeds', async () => {
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 9; i++) expect((await from('10.0.0.1', { ...OPERATOR, password: 'wrong' })).status).toBe(401);
      expect((await from('10.0.0.1', OPERATOR)).status).toBe(303);
    }
  });

  it('are refused after 30 failures for a user, from whatever address', async () => {
    for (let i = 0; i < 30; i++) {
      expect((await from(`10.1.0.${i}`, { ...OPERATOR, password: 'wrong' })).status).toBe(401);
    }
    expect((await from('10.2.0.1', OPERATOR)).status).toBe(429);
    expect((await from('10.2.0.2', VIEWER)).status).toBe(303);
  });
});
