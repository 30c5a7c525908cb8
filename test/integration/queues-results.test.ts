import { Queue } from 'bullmq';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { createImportRecords } from '../../src/adapters/bullmq/import-records.ts';
import { createPayloads } from '../../src/adapters/bullmq/payloads.ts';
import { createResultQueue } from '../../src/adapters/bullmq/result-queue.ts';
import type { CollectedResult } from '../../src/application/ports.ts';
import {
  CATEGORIES_RESULT,
  CATEGORY_RESULT,
  PACKED_CATEGORIES_RESULT,
  type PackedCategoriesResultData,
  packIds,
  packOutcomes,
  payloadKey,
  RESULT_QUEUE,
} from '../../src/contract/index.ts';
import { NO_CATEGORY } from '../../src/domain/category.ts';
import { createFakeLogger } from '../support/fake-observers.ts';
import { productIdsIn } from '../support/fake-result-queue.ts';
import { describeResultQueue, readAll, someResult } from '../support/fake-result-queue-suite.ts';
import { result } from '../support/files-results.ts';
import { uniquePrefix } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

const MODEL = { version: '1', sha256: 'a'.repeat(64) };

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
  const payloads = createPayloads({ connection, prefix, ttlHours: 1 });
  const imports = createImportRecords({ connection, prefix });
  const queue = createResultQueue({ connection, prefix, payloads, imports, logger });
  onTestFinished(queue.close);
  return { queue, logger, imports };
}

/** As a worker publishes it: the payload first. */
async function toJob({ resultId, runId, jobId, products }: CollectedResult) {
  const { ids, categoryIndexes, confidences, categories, rejects } = products;
  if (!(ids instanceof Uint8Array)) throw new Error('a packed result has packed ids');
  const { payload, ...announced } = packOutcomes({ ids, categoryIndexes, confidences });
  const key = payloadKey(prefix, resultId, announced.crc32);
  await redis.set(key, payload);
  const data = { ...announced, payload: key, categories, rejects, model: MODEL, runId, jobId };
  return { name: PACKED_CATEGORIES_RESULT, data, opts: { jobId: resultId } };
}

async function add(results: readonly CollectedResult[]): Promise<void> {
  await published.addBulk(await Promise.all(results.map(toJob)));
}

/** A packed result with something else in what it says of itself. */
async function addOdd(resultId: string, change: Partial<Record<keyof PackedCategoriesResultData, unknown>>) {
  const { name, data, opts } = await toJob(someResult(resultId));
  await published.add(name, { ...data, ...change }, opts);
}

function payloadKeys(): Promise<string[]> {
  return redis.keys(`${prefix}:payload:*`);
}

describeResultQueue('the results queue in Redis', async () => ({
  queue: open().queue,
  add,
  async addBroken(broken) {
    const job = await toJob(broken);
    await published.add(job.name, job.data, job.opts);
    await redis.del(job.data.payload);
  },
}));

describe('results', () => {
  it('of single products are products like those of chunks', async () => {
    const { queue } = open();
    const category = { code: 'A', name: 'Category A' };
    const data = { productId: 'P1', category, confidence: 0.75, probabilities: [0.75, 0.25], model: MODEL, jobId: '1' };
    await published.add(CATEGORY_RESULT, data, { jobId: 'r-1-1000' });
    expect(await readAll(queue, undefined)).toEqual([
      {
        ...result('r-1-1000', [{ id: 'P1', category: 'A', confidence: 0.75 }], false, '1'),
        modelSha256: MODEL.sha256,
        runId: undefined,
        jobId: '1',
      },
    ]);
  });

  it('of readable chunks have the same arrays as packed ones, with their rejects in their places', async () => {
    const { queue } = open();
    const reject = { code: 'WRONG_WIDTH', message: 'expected 16 features, got 2' } as const;
    const results = [
      { productId: 'P0', categoryCode: 'B', confidence: 0.25 },
      { productId: 'P1', reject },
      { productId: 'P2', categoryCode: 'A', confidence: 0.5 },
      { productId: null, reject },
      { productId: 'P4', categoryCode: 'B', confidence: 1 },
    ];
    await published.add(CATEGORIES_RESULT, { results, model: MODEL, runId: 'run', jobId: '1' }, { jobId: 'r-job' });
    expect(await readAll(queue, undefined)).toEqual([
      {
        resultId: 'r-job',
        jobId: '1',
        runId: 'run',
        modelVersion: '1',
        modelSha256: MODEL.sha256,
        products: {
          rows: 5,
          ids: ['P0', 'P1', 'P2', null, 'P4'],
          categories: ['B', 'A'],
          categoryIndexes: Uint16Array.of(0, NO_CATEGORY, 1, NO_CATEGORY, 0),
          confidences: Float32Array.of(0.25, Number.NaN, 0.5, Number.NaN, 1),
          rejects: [
            { row: 1, ...reject },
            { row: 3, ...reject },
          ],
        },
      },
    ]);
  });

  it('of packed chunks have their ids as they are, all categories of the model, and their rejects', async () => {
    const { queue } = open();
    const ids = packIds(['🔩 peça-№5-部品 "x"\u2028', 'bad', 'P2']);
    const packed: CollectedResult = {
      resultId: 'r-job',
      jobId: 'job',
      runId: 'run',
      modelVersion: '1',
      modelSha256: MODEL.sha256,
      products: {
        rows: 3,
        ids,
        categories: ['A', 'B', 'C'],
        categoryIndexes: Uint16Array.of(2, NO_CATEGORY, 0),
        confidences: Float32Array.of(0.3, Number.NaN, 0.9),
        rejects: [{ row: 1, code: 'NON_FINITE_FEATURE', message: 'feature 0 is not a finite float32 number: NaN' }],
      },
    };
    await add([packed]);
    const read = await readAll(queue, undefined);
    expect(read).toEqual([packed]);
    expect(productIdsIn(read)[0]).toBe('🔩 peça-№5-部品 "x"\u2028');
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
    const results = Array.from({ length: 60 }, (_, i) => someResult(`r-${i}`, 'run', i % 20 === 19 ? 1 : 8000));
    await add(results);
    const pages: number[] = [];
    for await (const page of queue.scan('run', new Set())) {
      pages.push(page.reduce((sum, { products }) => sum + products.rows, 0));
    }
    expect(pages.reduce((sum, products) => sum + products, 0)).toBe(57 * 8000 + 3);
    expect(Math.max(...pages)).toBeLessThanOrEqual(80_000);
    expect(pages.length, 'not one by one').toBeLessThan(30);
  });

  it('are still read to the end when some of them vanish meanwhile', async () => {
    const { queue } = open();
    await add(Array.from({ length: 20 }, (_, i) => someResult(`r-${i}`)));
    const ids = new Set<string>();
    for await (const page of queue.scan('run', new Set())) {
      for (const { resultId } of page) ids.add(resultId);
      await published.remove('r-19');
    }
    expect(ids.size).toBe(19);
  });

  it('are all read while another collector takes those of its own run off the queue, and more come', async () => {
    const runOf = fc.constantFrom('run', 'run', 'other');
    const runs = fc.array(runOf, { minLength: 1, maxLength: 300, size: 'max' });
    // How many results the other collector removes after each page that was read here, from the oldest on.
    const removals = fc.array(fc.nat(60), { maxLength: 12 });
    const lateRuns = fc.array(fc.array(runOf, { maxLength: 9 }), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(runs, removals, lateRuns, async (all, removed, late) => {
        await published.obliterate({ force: true });
        const results = all.map((runId, i) => someResult(`r-${i}`, runId));
        await add(results);
        const { queue } = open();
        const read = new Set<string>();
        let page = 0;
        let taken = 0;
        const met = new Set<string>();
        for (const next of [...late, undefined]) {
          for await (const found of queue.scan('run', met)) {
            for (const { resultId } of found) read.add(resultId);
            const others = results.filter(({ runId }) => runId === 'other');
            const until = taken + (removed[page++] ?? 0);
            for (const { resultId } of others.slice(taken, until)) await published.remove(resultId);
            taken = Math.min(until, others.length);
          }
          const more = (next ?? []).map((runId, i) => someResult(`r-${results.length + i}`, runId));
          results.push(...more);
          await add(more);
        }
        const wanted = results.filter(({ runId }) => runId === 'run').map(({ resultId }) => resultId);
        expect([...read].toSorted()).toEqual(wanted.toSorted());
      }),
      { numRuns: 25 },
    );
  });
});

describe('what is no result of the contract', () => {
  it.each([
    { title: 'of another name', name: 'news', data: {} },
    { title: 'of a later version', name: 'categories.compressed', data: { count: 1 } },
    { title: 'without data', name: CATEGORIES_RESULT, data: null },
    { title: 'without results', name: CATEGORIES_RESULT, data: { model: MODEL, jobId: '1' } },
    { title: 'with a bad result', name: CATEGORIES_RESULT, data: { results: [{}], model: MODEL, jobId: '1' } },
    { title: 'without a category', name: CATEGORY_RESULT, data: { productId: 'a', model: MODEL, jobId: '1' } },
    { title: 'that says nothing of its payload', name: PACKED_CATEGORIES_RESULT, data: { count: 1 } },
  ])('$title is left on the queue, and the log names it; the others are read', async ({ name, data }) => {
    const { queue, logger } = open();
    await published.add(name, data, { jobId: 'odd' });
    await add([someResult('r-1')]);
    expect(await readAll(queue, undefined)).toEqual([someResult('r-1')]);
    expect(logger.lines).toMatchObject([{ level: 'warn', fields: { resultId: 'odd', code: 'INVALID_JOB' } }]);
    expect(queue.unreadable()).toBe(1);
    expect(await published.getWaitingCount()).toBe(2);
  });

  it.each([
    { title: 'with a count below zero', change: { count: -5 } },
    { title: 'with a count of zero', change: { count: 0 } },
    { title: 'with a count that is no number', change: { count: 'many' } },
    { title: 'with a count beyond the limit', change: { count: 1e300 } },
    { title: 'whose indexes stand for no category', change: { categories: [] } },
    {
      title: 'with a reject of a product that it does not have',
      change: { rejects: [{ row: 1, code: 'WRONG_WIDTH', message: '' }] },
    },
  ])(
    '$title is left on the queue, and the log names it; the others are read',
    async ({ change }) => {
      const { queue, logger } = open();
      await add([someResult('r-0')]);
      await addOdd('odd', change);
      await add([someResult('r-1')]);
      const read = await readAll(queue, undefined);
      expect(read.map(({ resultId }) => resultId)).toEqual(['r-0', 'r-1']);
      expect(logger.lines).toMatchObject([{ level: 'warn', fields: { resultId: 'odd' } }]);
      expect(queue.unreadable()).toBe(1);
    },
    5000,
  );
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

describe('a packed result', () => {
  it('whose payload is gone is left on the queue, and the log says so; the others are read', async () => {
    const { queue, logger } = open();
    await add([someResult('gone'), someResult('r-1')]);
    const data = (await published.getJob('gone'))?.data;
    await redis.del(data.payload);
    expect(await readAll(queue, 'run')).toEqual([someResult('r-1')]);
    expect(logger.lines).toMatchObject([
      {
        level: 'warn',
        fields: { resultId: 'gone', code: 'PAYLOAD_MISSING', reason: expect.stringContaining(data.payload) },
      },
    ]);
    expect(queue.unreadable()).toBe(1);
    expect(await published.getWaitingCount()).toBe(2);
  });

  it.each([
    { title: 'has another length', damage: (key: string) => redis.append(key, 'x'), reason: 'bytes' },
    { title: 'has another content', damage: (key: string) => redis.setrange(key, 0, '\u0001'), reason: 'CRC-32' },
  ])('whose payload $title is left on the queue, and so is the payload', async ({ damage, reason }) => {
    const { queue, logger } = open();
    await add([someResult('odd', 'run', 3)]);
    await damage((await published.getJob('odd'))?.data.payload);
    expect(await readAll(queue, 'run')).toEqual([]);
    expect(logger.lines).toMatchObject([
      { fields: { resultId: 'odd', code: 'PAYLOAD_INVALID', reason: expect.stringContaining(reason) } },
    ]);
    expect(await payloadKeys()).toHaveLength(1);
  });

  it('that names a key which is none of a payload is left on the queue, and the key is neither read nor deleted', async () => {
    const { queue, logger } = open();
    const foreign = `${prefix}:secret`;
    const payload = await redis.getBuffer((await toJob(someResult('odd'))).data.payload);
    await redis.set(foreign, payload ?? '');
    await addOdd('odd', { payload: foreign });
    expect(await readAll(queue, 'run')).toEqual([]);
    expect(logger.lines).toMatchObject([{ fields: { resultId: 'odd', code: 'INVALID_JOB' } }]);
    await queue.remove([someResult('odd')]);
    expect(await redis.exists(foreign)).toBe(1);
  });

  it('that cannot be read is counted once, though the queue is read again from further back', async () => {
    const { queue } = open();
    const others = Array.from({ length: 12 }, (_, i) => someResult(`other-${i}`, 'other'));
    await add(others.slice(0, 6));
    await addOdd('odd', { crc32: 1 });
    await add(others.slice(6));
    await add(Array.from({ length: 12 }, (_, i) => someResult(`r-${i}`)));
    let pages = 0;
    const read = new Set<string>();
    for await (const page of queue.scan('run', new Set())) {
      for (const { resultId } of page) read.add(resultId);
      // Another collector takes its own off the queue, so that places move.
      if (++pages === 4) for (const { resultId } of others) await published.remove(resultId);
    }
    expect(read.size).toBe(12);
    expect(queue.unreadable()).toBe(1);
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

  it('is forgotten after a month, although something is collected every day', async () => {
    const { queue } = open();
    const key = `${prefix}:collected:`;
    const long = { resultId: 'r-long-ago' };
    await redis.zadd(key, Date.now() - 31 * 24 * 3_600_000, long.resultId);
    await queue.remove([{ resultId: 'r-today' }]);
    expect(await queue.collectedBefore([long, { resultId: 'r-today' }])).toEqual(new Set(['r-today']));
    expect(await redis.zcard(key)).toBe(1);
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

  it('loses its payload then, and not before', async () => {
    const { queue } = open();
    await add([someResult('r-1'), someResult('r-2'), someResult('r-3')]);
    const [first, second] = await readAll(queue, 'run');
    expect(await payloadKeys()).toHaveLength(3);
    await queue.remove([first, second]);
    const { payload } = (await published.getJob('r-3'))?.data ?? {};
    expect(await payloadKeys()).toEqual([payload]);
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

  it('while a payload is read is no reason to take the result for unreadable', async () => {
    const server = await startRedis();
    onTestFinished(() => server.remove());
    const connection = new Redis(server.url, { maxRetriesPerRequest: 0, retryStrategy: () => null });
    connection.on('error', () => undefined);
    const logger = createFakeLogger();
    const payloads = {
      ...createPayloads({ connection, prefix, ttlHours: 1 }),
      async read({ key }: { key: string }) {
        await server.stop();
        return (await connection.getBuffer(key)) ?? Buffer.alloc(0);
      },
    };
    const imports = createImportRecords({ connection, prefix });
    const queue = createResultQueue({ connection, prefix, payloads, imports, logger });
    onTestFinished(queue.close);
    const own = new Queue(RESULT_QUEUE, { connection, prefix });
    const { name, data, opts } = await toJob(someResult('r-1'));
    await own.add(name, data, opts);
    await expect(readAll(queue, undefined)).rejects.toMatchObject({ code: 'REDIS_UNAVAILABLE' });
    expect(queue.unreadable()).toBe(0);
    expect(logger.lines).toEqual([]);
  });
});
