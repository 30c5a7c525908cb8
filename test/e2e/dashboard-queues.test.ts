import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { packProducts, payloadKey } from '../../src/contract/index.ts';
import { PATIENCE } from '../support/cli-live.ts';
import { failWaitingJobs, openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import {
  type Dashboard,
  LOGINS,
  logIn,
  OPERATOR,
  type Session,
  startDashboard,
  stopDashboard,
} from '../support/dashboard.ts';
import { collectRun, untilDone } from '../support/load.ts';
import { runCli, startWorker } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';

const QUEUE = '/api/queues/product-categorization';

let queues: Queues;
let dashboard: Dashboard;
let operator: Session;
let workspace: Workspace;

beforeAll(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
  dashboard = await startDashboard({ ...queues.env, ...LOGINS });
  operator = await logIn(dashboard, OPERATOR);
});
afterAll(async () => {
  await stopDashboard(dashboard);
  await queues.close();
  await workspace.remove();
});
// One dashboard for all tests, and nothing on its queues before each.
beforeEach(async () => {
  const keys = await queues.redis.keys(`${queues.prefix}:*`);
  if (keys.length > 0) await queues.redis.del(keys);
});

type Data = Readonly<Record<string, unknown>>;

async function dataOf(jobId: string, queue = 'product-categorization'): Promise<Data> {
  return JSON.parse((await operator.get(`/api/queues/${queue}/${jobId}`)).text).job.data;
}

/** What a page of the board lists: id to data. */
async function listed(): Promise<Record<string, Data>> {
  const { text } = await operator.get(
    '/api/queues?activeQueue=product-categorization&status=waiting&page=1&jobsPerPage=20',
  );
  const [{ jobs }] = JSON.parse(text).queues;
  return Object.fromEntries(jobs.map(({ id, data }: { id: string; data: Data }) => [id, data]));
}

const importCsv = (products: number, run: string) =>
  runCli(['enqueue', '-', '--run', run], { env: queues.env, input: toCsv(makeProducts(products)) });

describe('a packed job', () => {
  it('is shown with its count, its width, its payload and the first ids, and never with bytes', async () => {
    await importCsv(40, 'night');
    const shown = await dataOf('night-0');
    expect(shown).toMatchObject({ count: 40, width: 16, runId: 'night', bytes: expect.any(Number) });
    expect(shown.payload).toContain(':payload:night-0:');
    expect(shown.firstIds).toEqual(makeProducts(5).map(({ productId }) => productId));
    expect(await listed()).toMatchObject({ 'night-0': { count: 40, width: 16 } });
  });

  it('is shown with ids of any length and alphabet, cut nowhere within one', async () => {
    const ids = ['Ü', '商品'.repeat(100), 'c', 'd'.repeat(200), 'last'];
    const { payload, ...announced } = packProducts({
      ids: Buffer.from(ids.join('\n')),
      features: { rows: 5, width: 2, values: new Float32Array(10) },
    });
    const key = payloadKey(queues.prefix, 'long', announced.crc32);
    await queues.redis.set(key, payload);
    await queues.products.add('products.packed', { ...announced, width: 2, payload: key }, { jobId: 'long' });
    expect((await dataOf('long')).firstIds).toEqual(ids);
  });

  it('says that its payload is gone, and reads no key that is none of a payload', async () => {
    await queues.redis.set(`${queues.prefix}:secret`, 'x'.repeat(1000));
    const job = { count: 1, width: 1, bytes: 10, crc32: 1 };
    const key = payloadKey(queues.prefix, 'gone', 1);
    await queues.products.add('products.packed', { ...job, payload: key }, { jobId: 'gone' });
    await queues.products.add('products.packed', { ...job, payload: `${queues.prefix}:secret` }, { jobId: 'foreign' });
    await queues.products.add('products.packed', { count: 'many' }, { jobId: 'broken' });
    expect((await dataOf('gone')).payloadState).toMatch(/^gone/);
    expect((await dataOf('foreign')).payloadState).toMatch(/^not read: its key/);
    expect(JSON.stringify(await dataOf('foreign'))).not.toContain('xxx');
    expect((await dataOf('broken')).payloadState).toMatch(/^not read: the job/);
  });

  it('that was categorized has its first categories in the results queue', async () => {
    await importCsv(7, 'night');
    const worker = await startWorker(queues.env);
    await untilDone(queues.products);
    worker.kill('SIGTERM');
    await worker.ended;
    const shown = await dataOf('r-night-0', 'product-categories');
    expect(shown).toMatchObject({ count: 7, runId: 'night', rejected: 0, payloadState: 'there' });
    const rows = await collectRun('night', workspace.directory, queues.env).then(
      (all) => new Map(all.map((row) => [row.productId, row])),
    );
    expect(shown.firstResults).toHaveLength(5);
    for (const first of shown.firstResults as string[]) {
      const [, productId, category, confidence] =
        /^productId (\S+), category (\S+), confidence (\S+)$/.exec(first) ?? [];
      const row = rows.get(productId);
      expect(category).toBe(row?.categoryCode);
      expect(Number(confidence)).toBeCloseTo(Number(row?.confidence), 5);
    }
  });
});

describe('a job that people can read', () => {
  it('is shown as a summary where it is a chunk, and is not read for a list where it is large', async () => {
    const products = makeProducts(3000);
    await queues.products.add('products', { products: products.slice(0, 50) }, { jobId: 'small' });
    await queues.products.add('products', { products, runId: 'big' }, { jobId: 'large' });
    const list = await listed();
    const firstProducts = products
      .slice(0, 5)
      .map(({ productId, features: [first] }) =>
        expect.stringContaining(`productId ${productId}, features [${first},`),
      );
    expect(list.small).toEqual({ count: 50, firstProducts });
    expect(list.large).toEqual({ bytes: expect.any(Number), note: expect.stringContaining('open the job') });
    expect(await dataOf('large')).toEqual({ runId: 'big', count: 3000, firstProducts });
  });

  it('is shown as it is where it is one product', async () => {
    const [product] = makeProducts(1);
    await queues.products.add('product', product, { jobId: 'one' });
    expect(await dataOf('one')).toEqual(product);
  });

  it('is shown whatever its data is, and does not hide the others', async () => {
    await queues.products.add('product', { productId: 'A', features: [1] }, { jobId: 'good' });
    await queues.products.add('products', { products: 'none' }, { jobId: 'wrong' });
    await queues.products.add('old', { blob: Buffer.alloc(3000, 7).toString('base64') }, { jobId: 'blob' });
    await queues.products.add('old', null, { jobId: 'nothing' });
    await queues.products.add('product', {}, { jobId: 'no-json' });
    await queues.redis.hset(queues.products.toKey('no-json'), 'data', '{');
    const list = await listed();
    expect(Object.keys(list).sort()).toEqual(['blob', 'good', 'no-json', 'nothing', 'wrong']);
    expect(list.wrong).toEqual({ products: 'none' });
    expect(String(list.blob.blob).length).toBeLessThan(300);
    expect(list['no-json']).toBeNull();
  });
});

describe('an operator', () => {
  const lastLine = () => dashboard.log().at(-1);

  it('retries a failed job: it is done with all of its attempts, and the log says who did what to it', async () => {
    await queues.products.add('product', makeProducts(1)[0], { jobId: 'bad-day', attempts: 5 });
    await failWaitingJobs(queues, () => 'PREDICTOR_UNAVAILABLE');
    const reply = await operator.change('PUT', `${QUEUE}/bad-day/retry`);
    expect(reply.status).toBe(204);
    const job = await queues.products.getJob('bad-day');
    expect(await job?.getState()).toBe('waiting');
    expect(job?.attemptsMade).toBe(0);
    await expect.poll(lastLine, PATIENCE).toMatchObject({
      msg: 'changed through the dashboard',
      user: OPERATOR.user,
      role: 'operator',
      action: 'retry job',
      queue: 'product-categorization',
      jobId: 'bad-day',
      status: 204,
    });
    const worker = await startWorker(queues.env);
    await untilDone(queues.products);
    worker.kill('SIGTERM');
    await worker.ended;
    expect(await job?.getState()).toBe('completed');
  });

  it('retries all failed jobs at once, more than are read at a time', async () => {
    const jobs = Array.from({ length: 130 }, (_, i) => ({ name: 'product', data: {}, opts: { jobId: `bad-${i}` } }));
    await queues.products.addBulk(jobs);
    await failWaitingJobs(queues, () => 'INVALID_JOB');
    const { text } = await operator.change('PUT', `${QUEUE}/retry/failed`);
    expect(JSON.parse(text)).toEqual({ retried: 130, skipped: 0 });
    expect(await queues.products.getWaitingCount()).toBe(130);
    await expect.poll(lastLine, PATIENCE).toMatchObject({ action: 'retry all', state: 'failed', retried: 130 });
  });

  it('mends the data of one product and adds one, which the log tells without the features', async () => {
    await queues.products.add('product', { productId: 'A', features: [0.123456] }, { jobId: 'one' });
    const data = { productId: 'A', features: [0.654321] };
    expect((await operator.change('PATCH', `${QUEUE}/one/update-data`, { jobData: data })).status).toBe(200);
    expect((await queues.products.getJob('one'))?.data).toEqual(data);
    await expect.poll(lastLine, PATIENCE).toMatchObject({ action: 'change data of job', jobId: 'one' });
    const added = await operator.change('POST', `${QUEUE}/add`, { name: 'product', data, options: {} });
    expect(added.status).toBe(200);
    await expect.poll(lastLine, PATIENCE).toMatchObject({ action: 'add job', jobId: JSON.parse(added.text).job.id });
    expect(dashboard.cli.stderr()).not.toMatch(/0\.123456|0\.654321/);
  });

  it('cannot put the summary of a chunk in the place of its products, nor add a copy of it', async () => {
    const data = { products: makeProducts(9) };
    await queues.products.add('products', data, { jobId: 'chunk' });
    const summary = await dataOf('chunk');
    const update = await operator.change('PATCH', `${QUEUE}/chunk/update-data`, { jobData: summary });
    const add = await operator.change('POST', `${QUEUE}/add`, { name: 'products', data: summary, options: {} });
    for (const { status, text } of [update, add]) {
      expect({ status, code: JSON.parse(text).code }).toEqual({ status: 409, code: 'CHANGE_REFUSED' });
    }
    expect((await queues.products.getJob('chunk'))?.data).toEqual(data);
    expect(await queues.products.getWaitingCount()).toBe(1);
    await expect.poll(lastLine, PATIENCE).toMatchObject({ msg: 'change through the dashboard refused', status: 409 });
  });

  it('cannot retry what completed, nor obliterate a queue, and can empty it', async () => {
    await importCsv(3, 'night');
    const worker = await startWorker(queues.env);
    await untilDone(queues.products);
    worker.kill('SIGTERM');
    await worker.ended;
    expect((await operator.change('PUT', `${QUEUE}/night-0/retry`)).status).toBe(409);
    await queues.products.add('product', { productId: 'A', features: [1] }, { jobId: 'waiting' });
    await operator.change('PUT', `${QUEUE}/pause`);
    expect((await operator.change('PUT', `${QUEUE}/obliterate`)).status).toBe(409);
    expect(await queues.products.getWaitingCount()).toBe(1);
    expect((await operator.change('PUT', `${QUEUE}/empty`)).status).toBe(200);
    expect(await queues.products.getWaitingCount()).toBe(0);
    expect(await queues.products.getCompletedCount()).toBe(1);
  });

  it('sets a limit, and the log tells which', async () => {
    expect((await operator.change('PUT', `${QUEUE}/concurrency`, { concurrency: 7 })).status).toBe(200);
    expect(await queues.products.getGlobalConcurrency()).toBe(7);
    await expect
      .poll(lastLine, PATIENCE)
      .toMatchObject({ action: 'set concurrency', queue: 'product-categorization', settings: { concurrency: 7 } });
  });

  it('is warned of missing workers on the queue that has any, and not on the results', async () => {
    const { queues: shown } = JSON.parse((await operator.get('/api/queues')).text);
    expect(shown.map(({ name, hasWorkers }: Data) => ({ name, hasWorkers }))).toEqual([
      { name: 'product-categorization', hasWorkers: false },
      { name: 'product-categories', hasWorkers: null },
    ]);
  });
});
