import { Queue } from 'bullmq';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { createResultQueue } from '../../src/adapters/bullmq/result-queue.ts';
import type { CollectedResult } from '../../src/application/ports.ts';
import { CATEGORIES_RESULT, CATEGORY_RESULT, RESULT_QUEUE } from '../../src/contract/index.ts';
import { createFakeLogger } from '../support/fake-observers.ts';
import { describeResultQueue, readAll, someResult } from '../support/fake-result-queue-suite.ts';
import { uniquePrefix } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

const MODEL = { version: '1', sha256: '0'.repeat(64) };

let prefix: string;
let redis: Redis;
let published: Queue;
beforeEach(() => {
  prefix = uniquePrefix();
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  published = new Queue(RESULT_QUEUE, { connection: redis, prefix });
  return async () => {
    await published.close();
    redis.disconnect();
  };
});

function open(connection = redis) {
  const logger = createFakeLogger();
  const queue = createResultQueue({ connection, prefix, logger });
  onTestFinished(queue.close);
  return { queue, logger };
}

/** As a worker publishes it: a chunk, whatever its size. */
function toJob({ resultId, runId, rows }: CollectedResult) {
  const results = rows.map(({ productId, categoryCode, confidence }) => ({ productId, categoryCode, confidence }));
  return { name: CATEGORIES_RESULT, data: { results, model: MODEL, runId, jobId: 'job' }, opts: { jobId: resultId } };
}

async function add(results: readonly CollectedResult[]): Promise<void> {
  await published.addBulk(results.map(toJob));
}

describeResultQueue('the results queue in Redis', async () => ({ queue: open().queue, add }));

describe('results', () => {
  it('of single products are rows like those of chunks', async () => {
    const { queue } = open();
    const category = { code: 'A', name: 'Category A' };
    const data = { productId: 'P1', category, confidence: 0.75, probabilities: [0.75, 0.25], model: MODEL, jobId: '1' };
    await published.add(CATEGORY_RESULT, data, { jobId: 'r-1-1000' });
    expect(await readAll(queue, undefined)).toEqual([
      {
        resultId: 'r-1-1000',
        runId: undefined,
        rows: [{ productId: 'P1', categoryCode: 'A', confidence: 0.75, modelVersion: '1', resultId: 'r-1-1000' }],
      },
    ]);
  });

  it('of chunks have their rejects as rows', async () => {
    const { queue } = open();
    const reject = { code: 'WRONG_WIDTH', message: 'expected 16 features, got 2' };
    const results = [
      { productId: 'P1', reject },
      { productId: null, reject },
    ];
    await published.add(CATEGORIES_RESULT, { results, model: MODEL, jobId: '1' }, { jobId: 'r-job' });
    const [{ rows }] = await readAll(queue, undefined);
    expect(rows).toEqual([
      { productId: 'P1', reject, modelVersion: '1', resultId: 'r-job' },
      { productId: null, reject, modelVersion: '1', resultId: 'r-job' },
    ]);
  });

  it('beyond a page are all read, once, in their order', async () => {
    const { queue } = open();
    const results = Array.from({ length: 1150 }, (_, i) => someResult(`r-${i}`, i % 3 === 0 ? 'other' : 'run'));
    await add(results);
    expect(await readAll(queue, undefined)).toEqual(results);
    expect(await readAll(queue, 'run')).toEqual(results.filter(({ runId }) => runId === 'run'));
  });

  it('come in pages of bounded size, also where chunks are large and single products lie between them', async () => {
    const { queue } = open();
    const results = Array.from({ length: 60 }, (_, i) => someResult(`r-${i}`, 'run', i % 20 === 19 ? 1 : 1000));
    await add(results);
    const pages: number[] = [];
    for await (const page of queue.read('run')) pages.push(page.reduce((sum, { rows }) => sum + rows.length, 0));
    expect(pages.reduce((sum, products) => sum + products, 0)).toBe(57 * 1000 + 3);
    expect(Math.max(...pages)).toBeLessThanOrEqual(10_000);
  });

  it('are still read to the end when some of them vanish meanwhile', async () => {
    const { queue } = open();
    await add(Array.from({ length: 20 }, (_, i) => someResult(`r-${i}`)));
    const ids = new Set<string>();
    for await (const page of queue.read('run')) {
      for (const { resultId } of page) ids.add(resultId);
      await published.remove('r-19');
    }
    expect(ids.size).toBe(19);
  });

  it('are all read while another collector takes those of its own run off the queue', async () => {
    const runOf = fc.constantFrom('run', 'run', 'other');
    const runs = fc.array(runOf, { minLength: 1, maxLength: 300, size: 'max' });
    // How many results the other collector removes after each page that was read here, from the oldest on.
    const removals = fc.array(fc.nat(60), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(runs, removals, async (all, removed) => {
        await published.obliterate({ force: true });
        const results = all.map((runId, i) => someResult(`r-${i}`, runId));
        await add(results);
        const others = results.filter(({ runId }) => runId === 'other');
        const { queue } = open();
        const read = new Set<string>();
        let page = 0;
        for await (const found of queue.read('run')) {
          for (const { resultId } of found) read.add(resultId);
          for (const { resultId } of others.splice(0, removed[page++] ?? 0)) await published.remove(resultId);
        }
        const wanted = results.filter(({ runId }) => runId === 'run').map(({ resultId }) => resultId);
        expect([...read].toSorted()).toEqual(wanted.toSorted());
      }),
      { numRuns: 25 },
    );
  });

  it('with emoji and other scripts in their ids come out as they went in', async () => {
    const { queue } = open();
    const productId = '🔩 peça-№5-部品 "x"\u2028';
    const results = [{ productId, categoryCode: 'A', confidence: 1 }];
    await published.add(CATEGORIES_RESULT, { results, model: MODEL, jobId: '1' }, { jobId: 'r-job' });
    expect((await readAll(queue, undefined))[0].rows[0].productId).toBe(productId);
  });
});

describe('what is no result of the contract', () => {
  it.each([
    { title: 'of another name', name: 'news', data: {} },
    { title: 'of a later version', name: 'categories.packed', data: { count: 1 } },
    { title: 'without data', name: CATEGORIES_RESULT, data: null },
    { title: 'without results', name: CATEGORIES_RESULT, data: { model: MODEL, jobId: '1' } },
    { title: 'with a bad result', name: CATEGORIES_RESULT, data: { results: [{}], model: MODEL, jobId: '1' } },
    { title: 'without a category', name: CATEGORY_RESULT, data: { productId: 'a', model: MODEL, jobId: '1' } },
  ])('$title is left on the queue, and the log names it; the others are read', async ({ name, data }) => {
    const { queue, logger } = open();
    await published.add(name, data, { jobId: 'odd' });
    await add([someResult('r-1')]);
    expect(await readAll(queue, undefined)).toEqual([someResult('r-1')]);
    expect(logger.lines).toMatchObject([{ level: 'warn', fields: { resultId: 'odd' } }]);
    expect(await published.getWaitingCount()).toBe(2);
  });
});

describe('a result whose data is not JSON', () => {
  it('is left on the queue, and the log names it; the others are read', async () => {
    const { queue, logger } = open();
    await add([someResult('odd'), someResult('r-1')]);
    await redis.hset(published.toKey('odd'), 'data', '{broken');
    expect(await readAll(queue, undefined)).toEqual([someResult('r-1')]);
    expect(logger.lines).toMatchObject([{ level: 'warn', fields: { resultId: 'odd' } }]);
    expect(await published.getWaitingCount()).toBe(2);
  });
});

describe('what was collected', () => {
  it('is remembered for a month, in one key for each run', async () => {
    const { queue } = open();
    const results = [someResult('r-1', 'a'), someResult('r-2', 'a'), someResult('r-3', 'b')];
    await add(results);
    await queue.remove(results);
    const keys = await redis.keys(`${prefix}:collected:*`);
    expect(keys.toSorted()).toEqual([`${prefix}:collected:a`, `${prefix}:collected:b`]);
    for (const key of keys) expect(await redis.ttl(key)).toBeGreaterThan(29 * 24 * 3600);
  });

  it('leaves nothing of the job behind', async () => {
    const { queue } = open();
    await add([someResult('r-1')]);
    await queue.remove([someResult('r-1')]);
    expect(await published.getJob('r-1')).toBeUndefined();
    expect(await published.getJobCounts('waiting', 'completed', 'failed')).toMatchObject({
      waiting: 0,
      completed: 0,
      failed: 0,
    });
  });
});

describe('a Redis that goes away', () => {
  it('ends the collection with a code, at once', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const connection = new Redis(server.url, { maxRetriesPerRequest: 0, retryStrategy: () => null });
    connection.on('error', () => undefined);
    const { queue } = open(connection);
    await readAll(queue, undefined);
    await server.stop();
    const gone = { code: 'REDIS_UNAVAILABLE', retryable: true };
    await expect(readAll(queue, undefined)).rejects.toMatchObject(gone);
    await expect(queue.collectedBefore([someResult('r-1')])).rejects.toMatchObject(gone);
    await expect(queue.remove([someResult('r-1')])).rejects.toMatchObject(gone);
  });
});
