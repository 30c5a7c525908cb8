import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { browserMissing, launchBrowser, overflowOf, startVisit, type Visit } from '../support/browser.ts';
import { call, OPERATOR, sessionOf, VIEWER } from '../support/dashboard.ts';
import {
  cardOf,
  controlsOf,
  cookieOfPage,
  dataOf,
  expectToBeReadable,
  saveScreenshot,
  sendLogin,
  withIcon,
} from '../support/dashboard-pages.ts';
import { type DashboardStack, startDashboardStack } from '../support/dashboard-stack.ts';
import { untilDone } from '../support/load.ts';
import { makeProducts } from '../support/products.ts';

const PATIENCE = { timeout: 20_000, interval: 50 };

const REFUSED_LOGIN = '/login: Failed to load resource: the server responded with a status of 401 (Unauthorized)';
const TOO_MANY_LOGINS =
  '/login: Failed to load resource: the server responded with a status of 429 (Too Many Requests)';

const missing = browserMissing();
if (missing !== undefined) console.warn(`the dashboard is not tested in a browser: ${missing}`);

describe.skipIf(missing !== undefined)('the dashboard in Chromium', () => {
  let browser: Browser;
  let stack: DashboardStack;
  let visits: Visit[];

  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser.close());

  beforeEach(async () => {
    stack = await startDashboardStack();
    visits = [];
  });

  afterEach(async () => {
    await Promise.all(visits.map(({ context }) => context.close()));
    await stack.close();
    expect(visits.flatMap(({ problems }) => problems)).toEqual([]);
  });

  async function visit(viewport?: { width: number; height: number }): Promise<Visit> {
    const opened = await startVisit(browser, stack.dashboard.url, viewport);
    visits.push(opened);
    return opened;
  }

  /** A browser in which that user is logged in, at the overview. */
  async function visitAs(user: typeof OPERATOR): Promise<Page> {
    const { page } = await visit();
    await page.goto('/login');
    await sendLogin(page, user);
    await page.getByRole('link', { name: 'product-categories' }).first().waitFor();
    return page;
  }

  it('lets nobody in with a wrong password, and with the right one to the page that was asked for', async () => {
    const { page, problems } = await visit();
    await page.goto('/');
    await page.getByLabel('Password').waitFor();
    await saveScreenshot(page, 'dashboard-login.png');
    await page.goto('/queue/product-categories');

    await sendLogin(page, { ...OPERATOR, password: 'not the password' });
    expect(await page.getByRole('alert').textContent()).toBe('The user or the password is wrong.');
    expect(await page.getByLabel('User').inputValue()).toBe(OPERATOR.user);
    expect(problems.splice(0)).toEqual([REFUSED_LOGIN]);

    await sendLogin(page, OPERATOR);
    await page.getByRole('heading', { name: 'product-categories' }).waitFor();
    expect(new URL(page.url()).pathname).toBe('/queue/product-categories');
  });

  it('takes no more logins after ten that failed, the right password included, and says for how long', async () => {
    const { page, problems } = await visit();
    await page.goto('/login');
    for (let attempt = 1; attempt <= 10; attempt++) {
      await sendLogin(page, { ...OPERATOR, password: `guess ${attempt}` });
      expect(await page.getByRole('alert').textContent()).toBe('The user or the password is wrong.');
    }
    await sendLogin(page, OPERATOR);
    expect(await page.getByRole('alert').textContent()).toMatch(/^Too many attempts: try again in 1[45] minutes\.$/);
    expect(problems.splice(0)).toEqual([...Array.from({ length: 10 }, () => REFUSED_LOGIN), TOO_MANY_LOGINS]);
    await page.goto('/');
    expect(new URL(page.url()).pathname).toBe('/login');
  });

  it('shows both queues: their jobs, how many failed, and that no worker is there', async () => {
    await stack.startWorker();
    await stack.producer.addOneByOne(makeProducts(10), 'erp');
    await stack.producer.addOneByOne([{ productId: 'P-bad', features: [1, 2] }], 'erp-bad');
    await stack.producer.addChunks(makeProducts(2000), 1000, 'import-7');
    await untilDone(stack.producer.queue);
    await stack.stopWorkers();
    await stack.enqueuePacked('night-2026-11-20', 20_000, 8);

    const page = await visitAs(OPERATOR);
    const [products, results] = [cardOf(page, 'product-categorization'), cardOf(page, 'product-categories')];
    await products.getByText('21 Jobs', { exact: true }).waitFor();
    await products.getByRole('link', { name: 'Failed 1', exact: true }).waitFor();
    await products.getByText('No workers').waitFor();
    await results.getByText('12 Jobs', { exact: true }).waitFor();
    await saveScreenshot(page, 'dashboard-queues.png');
  });

  it('shows of a packed job what it holds, in words and short', async () => {
    const [jobId = ''] = await stack.enqueuePacked('night-2026-11-20', 3000);
    await stack.redis.hset(stack.producer.queue.toKey(jobId), 'timestamp', Date.UTC(2026, 10, 20, 2));
    const page = await visitAs(OPERATOR);
    await page.getByRole('main').getByRole('link', { name: 'product-categorization' }).click();
    await page.getByRole('link', { name: jobId }).click();
    const text = await dataOf(page);
    expect(text).toContain('count:3000,');
    expect(text).toContain('width:16,');
    expect(text).toContain('runId:"night-2026-11-20"');
    expect(text).toContain('firstIds:["SKU-10000","SKU-10001","SKU-10002","SKU-10003","SKU-10004"]');
    expectToBeReadable(text);
    await saveScreenshot(page, 'dashboard-packed-job.png');
  });

  it('shows of a chunk how many products it has and the first of them, and a product whole', async () => {
    const products = makeProducts(1001);
    await stack.producer.addChunks(products.slice(1), 1000, 'import-7');
    await stack.producer.addOneByOne(products.slice(0, 1), 'erp');
    const page = await visitAs(VIEWER);
    await page.goto('/queue/product-categorization/import-7-chunk-0');
    const chunk = await dataOf(page);
    expect(chunk).toContain('count:1000,');
    expect(chunk.match(/"productId [^,]+,/g)).toEqual([1, 2, 3, 4, 5].map((i) => `"productId P-1-${i},`));
    await page.goto('/queue/product-categorization/erp-one-0');
    const product = await dataOf(page);
    expect(product).toContain('productId:"P-1-0"');
    expect(product).toContain(String(products[0]?.features[15]));
  });

  it('lets an operator retry a job that failed, and shows that it completed and its result', async () => {
    const jobId = await stack.failForLackOfPermission('night-2');
    const page = await visitAs(OPERATOR);
    await page.goto('/queue/product-categorization?status=failed');
    await page.getByText('NOPERM').first().waitFor();
    await page.getByRole('link', { name: jobId }).click();
    await withIcon(page.getByRole('main').getByRole('button'), 'refresh-cw').click();
    await page.getByRole('button', { name: 'Confirm' }).click();
    await page.getByText('Finished at').waitFor();
    expect(await dataOf(page)).toContain('payloadState:"gone');

    await page.goto(`/queue/product-categories/r-${jobId}`);
    const result = await dataOf(page);
    expect(result).toContain('count:500,');
    expect(result).toMatch(/firstResults:\["productId SKU-10000, category [A-Z_]+, confidence [01]/);
    expectToBeReadable(result);
  });

  it('shows a viewer nothing that changes a queue, where an operator sees it', async () => {
    const jobId = await stack.failForLackOfPermission('night-2');
    const [operator, viewer] = [await visitAs(OPERATOR), await visitAs(VIEWER)];
    const seen = { operator: await controlsOf(operator, jobId), viewer: await controlsOf(viewer, jobId) };
    expect(seen.operator).toEqual({
      overview: ['ellipsis-vertical', 'ellipsis-vertical', 'ellipsis-vertical'],
      queue: ['ellipsis-vertical', 'Retry all', 'Clean all', 'refresh-cw', 'files', 'pencil', 'trash2', 'copy'],
      job: ['refresh-cw', 'files', 'pencil', 'trash2', 'copy'],
    });
    expect(seen.viewer).toEqual({ overview: ['ellipsis-vertical'], queue: ['copy'], job: ['copy'] });
    await viewer.goto('/');
    await withIcon(viewer.getByRole('main').getByRole('button'), 'ellipsis-vertical').click();
    expect(await viewer.getByRole('menu').textContent()).toMatch(/^Sort by(Alphabetical \(A-Z\)(\w+ Jobs)+)?$/);
    expect(await viewer.getByText('viewer: read-only').count()).toBe(1);
  });

  it("refuses a change that is made by hand with a viewer's cookie, and does it with an operator's", async () => {
    const jobId = await stack.failForLackOfPermission('night-2');
    const retryAs = async (user: typeof OPERATOR) => {
      const page = await visitAs(user);
      const path = `/api/queues/product-categorization/${jobId}/retry`;
      return sessionOf(stack.dashboard, await cookieOfPage(page)).change('PUT', path);
    };
    const refused = await retryAs(VIEWER);
    expect(refused.status).toBe(403);
    expect(JSON.parse(refused.text)).toMatchObject({ code: 'READ_ONLY' });
    expect(await stack.producer.queue.getJobState(jobId)).toBe('failed');

    expect((await retryAs(OPERATOR)).status).toBeLessThan(300);
    await vi.waitFor(async () => expect(await stack.producer.queue.getJobState(jobId)).toBe('completed'), PATIENCE);
  });

  it('shows nothing any more after a logout, not by going back and not to a copy of the cookie', async () => {
    const page = await visitAs(VIEWER);
    const cookie = await cookieOfPage(page);
    const askApi = async () => (await call(stack.dashboard, '/api/queues', { headers: { cookie } })).status;
    expect(await askApi()).toBe(200);

    await withIcon(page.getByRole('button'), 'circle-user').click();
    await page.getByRole('menuitem', { name: 'Account and logout' }).click();
    expect(await page.getByRole('main').textContent()).toContain(`Logged in as ${VIEWER.user}.`);
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByLabel('Password').waitFor();

    for (const login of ['/login?to=%2Faccount', '/login']) {
      await page.goBack();
      await page.getByLabel('Password').waitFor();
      expect(page.url()).toBe(stack.dashboard.url + login);
    }
    expect(await askApi()).toBe(401);
  });

  it('fits on the screen of a telephone: login, its errors, and the account', async () => {
    const { page, problems } = await visit({ width: 390, height: 800 });
    await page.goto('/login');
    expect(await overflowOf(page)).toBe(0);
    await sendLogin(page, { ...VIEWER, password: 'not the password' });
    await page.getByRole('alert').waitFor();
    expect(await overflowOf(page)).toBe(0);
    expect(problems.splice(0)).toEqual([REFUSED_LOGIN]);
    await sendLogin(page, VIEWER);
    await page.getByRole('link', { name: 'product-categories' }).first().waitFor();
    await page.goto('/account');
    await page.getByRole('button', { name: 'Log out' }).waitFor();
    expect(await overflowOf(page)).toBe(0);
  });
});
