import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { PATIENCE } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import {
  call,
  type Dashboard,
  LOGINS,
  logIn,
  OPERATOR,
  postLogin,
  type Session,
  sessionOf,
  startDashboard,
  statusUnderName,
  stopDashboard,
  VIEWER,
} from '../support/dashboard.ts';

const PAUSE = '/api/queues/product-categorization/pause';
const PAGE = { accept: 'text/html,*/*;q=0.8' };

let queues: Queues;
beforeAll(() => {
  queues = openQueues(inject('redisUrl'));
});
afterAll(() => queues.close());

const codeOf = ({ text }: { readonly text: string }): unknown => JSON.parse(text).code;

describe('a change through the dashboard', () => {
  let dashboard: Dashboard;
  let operator: Session;
  let viewer: Session;
  beforeAll(async () => {
    dashboard = await startDashboard({ ...queues.env, ...LOGINS });
    [operator, viewer] = [await logIn(dashboard, OPERATOR), await logIn(dashboard, VIEWER)];
  });
  afterAll(() => stopDashboard(dashboard));
  afterEach(() => queues.products.resume());

  const pauseWith = (headers: Record<string, string>) =>
    call(dashboard, PAUSE, { method: 'PUT', headers: { cookie: operator.cookie, ...headers } });

  it.each<{ title: string; headers: Record<string, string> }>([
    { title: 'without a word of where it comes from', headers: {} },
    { title: 'from another site', headers: { origin: 'https://evil.example' } },
    { title: 'from a frame without an origin', headers: { origin: 'null' } },
    { title: 'from another port of this machine', headers: { origin: 'http://127.0.0.1:1' } },
    { title: 'that the browser calls cross-site', headers: { 'sec-fetch-site': 'cross-site' } },
    { title: 'that the browser calls same-site only', headers: { 'sec-fetch-site': 'same-site' } },
    {
      title: 'that claims both to come from here and from elsewhere',
      headers: { 'sec-fetch-site': 'same-origin', origin: 'https://evil.example' },
    },
  ])('$title is refused, whoever is logged in', async ({ headers }) => {
    const reply = await pauseWith(headers);
    expect({ status: reply.status, code: codeOf(reply) }).toEqual({ status: 403, code: 'CSRF_REFUSED' });
    expect(await queues.products.isPaused()).toBe(false);
  });

  it.each<{ title: string; headers: () => Record<string, string> }>([
    { title: 'by its origin', headers: () => ({ origin: dashboard.url }) },
    { title: 'by the word of the browser', headers: () => ({ 'sec-fetch-site': 'same-origin' }) },
  ])('from a page of the dashboard is known $title', async ({ headers }) => {
    expect((await pauseWith(headers())).status).toBe(200);
    expect(await queues.products.isPaused()).toBe(true);
  });

  it('is refused for login and logout from another site as well', async () => {
    const login = await postLogin(dashboard, OPERATOR, { origin: 'https://evil.example' });
    expect({ status: login.status, cookies: login.headers.getSetCookie() }).toEqual({ status: 403, cookies: [] });
    const session = await logIn(dashboard, OPERATOR);
    await call(dashboard, '/logout', { method: 'POST', headers: { cookie: session.cookie, origin: 'null' } });
    expect((await session.get('/api/queues')).status).toBe(200);
  });

  it.each([
    ['PUT', PAUSE],
    ['PUT', '/api/queues/pause'],
    ['PUT', '/api/queues/product-categorization/empty'],
    ['PUT', '/api/queues/product-categorization/kept/clean'],
    ['POST', '/api/queues/product-categorization/add'],
    ['PATCH', '/api/queues/product-categorization/kept/update-data'],
    ['DELETE', '/api/queues/product-categorization'],
  ])('by a viewer is refused by the server: %s %s', async (method, path) => {
    await queues.products.add('product', { productId: 'A', features: [1] }, { jobId: 'kept' });
    const reply = await viewer.change(method, path, { name: 'product', data: {}, options: {} });
    expect({ status: reply.status, code: codeOf(reply) }).toEqual({ status: 403, code: 'READ_ONLY' });
    expect(await queues.products.isPaused()).toBe(false);
    expect(await queues.products.getWaitingCount()).toBe(1);
    await expect
      .poll(() => dashboard.log().at(-1), PATIENCE)
      .toMatchObject({ user: VIEWER.user, role: 'viewer', status: 403, msg: 'change through the dashboard refused' });
  });

  it('is not offered to a viewer by the board, and is to an operator', async () => {
    const modesOf = async (session: Session) =>
      JSON.parse((await session.get('/api/queues')).text).queues.map(
        ({ name, readOnlyMode }: Record<string, unknown>) => ({ name, readOnlyMode }),
      );
    const both = (readOnlyMode: boolean) => [
      { name: 'product-categorization', readOnlyMode },
      { name: 'product-categories', readOnlyMode },
    ];
    expect(await modesOf(viewer)).toEqual(both(true));
    expect(await modesOf(operator)).toEqual(both(false));
    expect((await viewer.get('/', PAGE)).text).toContain('viewer: read-only');
    expect((await operator.get('/', PAGE)).text).not.toContain('viewer: read-only');
  });

  it('and every page come with headers that keep other sites and caches out', async () => {
    for (const path of ['/', '/login', '/account', '/api/queues']) {
      const { headers } = await operator.get(path, PAGE);
      const policy = headers.get('content-security-policy') ?? '';
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("script-src 'self';");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(headers.get('x-frame-options')).toBe('DENY');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('referrer-policy')).toBe('same-origin');
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.has('x-powered-by')).toBe(false);
      expect(headers.has('strict-transport-security')).toBe(false);
    }
  });

  it('needs nothing from other servers: the page of the board names none', async () => {
    const { text } = await operator.get('/', PAGE);
    expect(text).toContain('static/js/');
    expect(text).not.toMatch(/https?:\/\//);
  });
});

describe('the dashboard behind a proxy with TLS', () => {
  let dashboard: Dashboard;
  beforeAll(async () => {
    dashboard = await startDashboard({ ...queues.env, ...LOGINS, DASHBOARD_PUBLIC_URL: 'https://queues.example' });
  });
  afterAll(() => stopDashboard(dashboard));

  const PROXY = { origin: 'https://queues.example', 'x-forwarded-proto': 'https', 'x-forwarded-for': '10.0.0.9' };

  it('sends cookies that travel over TLS alone, and logs the address of the browser', async () => {
    const reply = await postLogin(dashboard, OPERATOR, PROXY);
    expect(reply.status).toBe(303);
    for (const line of reply.headers.getSetCookie()) expect(line).toContain('; secure');
    expect(reply.headers.get('strict-transport-security')).toMatch(/^max-age=/);
    expect(dashboard.log().at(-1)).toMatchObject({ msg: 'logged in', address: '10.0.0.9' });
  });

  it('takes changes from its public origin, and not from its own address', async () => {
    expect((await postLogin(dashboard, OPERATOR, { ...PROXY, origin: dashboard.url })).status).toBe(403);
  });

  it('says what is missing where the proxy does not tell that the browser came over TLS', async () => {
    const reply = await postLogin(dashboard, OPERATOR, { origin: PROXY.origin });
    expect(reply.status).toBe(400);
    expect(reply.text).toContain('X-Forwarded-Proto');
    expect(reply.headers.getSetCookie()).toEqual([]);
  });
});

describe('the dashboard on loopback without users', () => {
  let dashboard: Dashboard;
  beforeAll(async () => {
    dashboard = await startDashboard(queues.env);
    // It listens before Redis has answered it.
    await vi.waitFor(async () => {
      expect((await sessionOf(dashboard).get('/api/queues')).status).toBe(200);
    }, PATIENCE);
  });
  afterAll(() => stopDashboard(dashboard));

  it('warns that nobody has to log in, and lets everybody be an operator', async () => {
    expect(dashboard.log()).toContainEqual(
      expect.objectContaining({ level: 40, msg: expect.stringContaining('nobody has to log in') }),
    );
    expect((await call(dashboard, '/account', { headers: PAGE })).text).toContain('Nobody has to log in here.');
    expect((await sessionOf(dashboard).change('PUT', PAUSE)).status).toBe(200);
    expect(await queues.products.isPaused()).toBe(true);
    await queues.products.resume();
  });

  it('refuses changes from other sites all the same', async () => {
    const reply = await call(dashboard, PAUSE, { method: 'PUT', headers: { origin: 'https://evil.example' } });
    expect(codeOf(reply)).toBe('CSRF_REFUSED');
  });

  it('answers only under names of this machine, so that no other name can be made to lead to it', async () => {
    expect(await statusUnderName(dashboard, `evil.example:${dashboard.port}`, '/api/queues')).toBe(403);
    expect(await statusUnderName(dashboard, `localhost:${dashboard.port}`, '/api/queues')).toBe(200);
    expect(await statusUnderName(dashboard, `127.0.0.1:${dashboard.port}`, '/api/queues')).toBe(200);
  });

  it.each([
    '/queue/%E0%A4%A',
    '/queue/product-categorization/%',
    '/api/queues/%',
    '/%',
    '/?status=%',
    '/queue/product-categorization?status=%E0%A4',
    '/api/queues/product-categorization/%E0%A4%A',
    '/api/queues?activeQueue=%25',
    '/api/queues?status=%',
    '/api/queues?activeQueue=product-categorization&status=%00',
    '/api/job-schedulers?queueName=%25E0',
  ])('answers 400 and no stack to %s', async (path) => {
    for (const accept of ['application/json', 'text/html']) {
      const { status, text } = await sessionOf(dashboard).get(path, { accept });
      expect({ status, text }).toEqual({ status: 400, text: expect.not.stringMatching(/node_modules|\.js:\d/) });
    }
  });

  it.each([
    ['jobsPerPage=1e15', 200, 100],
    ['jobsPerPage=100000', 200, 100],
    ['jobsPerPage=3', 200, 3],
    ['jobsPerPage=10&page=9007199254740993', 200, 10],
    ['jobsPerPage=0', 400, undefined],
    ['jobsPerPage=-1', 400, undefined],
    ['jobsPerPage=NaN', 400, undefined],
    ['jobsPerPage=1e400', 200, 100],
    ['jobsPerPage=1&jobsPerPage=2', 400, undefined],
    ['page=0', 400, undefined],
  ])('lists a bounded page for %s', async (query, status, perPage) => {
    const path = `/api/queues?activeQueue=product-categorization&status=waiting&${query}`;
    const reply = await sessionOf(dashboard).get(path);
    expect(reply.status).toBe(status);
    if (status !== 200) return;
    const [{ pagination }] = JSON.parse(reply.text).queues;
    expect(pagination.range.end - pagination.range.start + 1).toBe(perPage);
  });

  it.each([
    ['PUT', 'concurrency', { concurrency: 1e300 }],
    ['PUT', 'rate-limit', { max: 1e300, duration: 1 }],
    ['PUT', 'rate-limit', { max: 1, duration: 1e300 }],
    ['PATCH', 'x/delay', { runAt: 1e300 }],
    ['PUT', 'clean/meta', {}],
    ['PUT', 'clean/repeat', {}],
  ])('refuses a change that would stop the queue or empty a part of it: %s %s %j', async (method, path, body) => {
    const reply = await sessionOf(dashboard).change(method, `/api/queues/product-categorization/${path}`, body);
    expect({ status: reply.status, code: codeOf(reply) }).toEqual({ status: 400, code: 'BAD_REQUEST' });
  });
});

describe('the dashboard behind a proxy without users', () => {
  let dashboard: Dashboard;
  beforeAll(async () => {
    dashboard = await startDashboard({ ...queues.env, DASHBOARD_PUBLIC_URL: 'http://queues.example' });
  });
  afterAll(() => stopDashboard(dashboard));

  it('looks at the Host header itself, and never at what X-Forwarded-Host says', async () => {
    const asked = (host: string, forwarded?: string) =>
      statusUnderName(dashboard, host, '/account', forwarded === undefined ? {} : { 'x-forwarded-host': forwarded });
    expect(await asked('queues.example')).toBe(200);
    expect(await asked(`127.0.0.1:${dashboard.port}`, 'evil.example')).toBe(200);
    for (const forwarded of [
      'localhost',
      '127.0.0.1',
      'queues.example',
      'evil.example, localhost',
      'localhost, evil',
    ]) {
      expect(await asked('evil.example', forwarded)).toBe(403);
    }
    for (const host of ['evil.example', '127.0.0.1.evil.example', 'localhost@evil.example', '0x7f.0.0.1']) {
      expect(await asked(host)).toBe(403);
    }
  });
});
