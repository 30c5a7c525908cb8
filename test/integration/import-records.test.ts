import { Queue, Worker } from 'bullmq';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { createCollectorClaims } from '../../src/adapters/bullmq/collector-claims.ts';
import { createImportRecords } from '../../src/adapters/bullmq/import-records.ts';
import { createPayloads } from '../../src/adapters/bullmq/payloads.ts';
import { createProductQueue } from '../../src/adapters/bullmq/product-queue.ts';
import { createResultQueue } from '../../src/adapters/bullmq/result-queue.ts';
import { accountForImport } from '../../src/application/import-tracker.ts';
import type { CollectedKey, CollectedResult, OutgoingChunk } from '../../src/application/ports.ts';
import {
  CATEGORIES_RESULT,
  PACKED_CATEGORIES_RESULT,
  PRODUCT_QUEUE,
  packIds,
  packOutcomes,
  payloadKey,
  RESULT_QUEUE,
  resultIdOf,
} from '../../src/contract/index.ts';
import { createFakeLogger } from '../support/fake-observers.ts';
import { uniquePrefix } from '../support/products.ts';

const RUN = 'night-8';
const ROWS = 3;
const MODEL = { version: 'v1', sha256: 'a'.repeat(64) };

let prefix: string;
let redis: Redis;
let jobs: Queue;
let results: Queue;
beforeEach(() => {
  prefix = uniquePrefix();
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  jobs = new Queue(PRODUCT_QUEUE, { connection: redis, prefix });
  results = new Queue(RESULT_QUEUE, { connection: redis, prefix });
  return async () => {
    await Promise.all([jobs.close(), results.close()]);
    redis.disconnect();
  };
});

function open() {
  const logger = createFakeLogger();
  const payloads = createPayloads({ connection: redis, prefix, ttlHours: 1 });
  const records = createImportRecords({ connection: redis, prefix });
  const shared = { connection: redis, prefix, payloads, imports: records };
  const producer = createProductQueue({ ...shared, tracer: { enqueue: (_queue, _jobs, send) => send(undefined) } });
  const collector = createResultQueue({ ...shared, logger });
  onTestFinished(async () => {
    await producer.close();
    await collector.close();
  });
  return { records, producer, collector, logger };
}

type Opened = ReturnType<typeof open>;

const idsOf = (number: number) => Array.from({ length: ROWS }, (_, row) => `P${number}-${row}`);

function chunk(number: number): OutgoingChunk {
  const values = Float32Array.from({ length: ROWS * 2 }, (_, i) => number + i);
  return { number, runId: RUN, products: { ids: packIds(idsOf(number)), features: { rows: ROWS, width: 2, values } } };
}

const totalsOf = (chunks: number) => ({
  jobs: chunks,
  products: chunks * ROWS,
  rejected: 0,
  rejectedByCode: {},
  skipped: 0,
});

/** Sends all of an import as `enqueue` does. */
async function send({ producer }: Opened, chunks: number): Promise<void> {
  const { stateOf, lost } = await producer.begin(RUN, 'a1', 'categorizer enqueue');
  await producer.clear(RUN, lost);
  for (let number = 0; number < chunks; number++) {
    if (['collected', 'answered', 'waiting'].includes(stateOf(number) ?? '')) continue;
    await producer.enqueue(chunk(number));
  }
  await producer.finish(RUN, totalsOf(chunks));
}

/** Publishes a result for a job, as a worker does. @param ids of its products */
async function publish(jobId: string, ids: readonly string[], runId = RUN): Promise<void> {
  const resultId = resultIdOf(jobId, 0);
  const { payload, ...announced } = packOutcomes({
    ids: packIds(ids),
    categoryIndexes: new Uint16Array(ids.length),
    confidences: new Float32Array(ids.length).fill(0.5),
  });
  const key = payloadKey(prefix, resultId, announced.crc32);
  await redis.set(key, payload, 'EX', 60);
  const data = { ...announced, payload: key, categories: ['A'], rejects: [], model: MODEL, runId, jobId };
  await results.add(PACKED_CATEGORIES_RESULT, data, { jobId: resultId });
}

/** Takes the oldest job, answers it and completes it. @returns its id */
async function work(fail?: Error): Promise<string | undefined> {
  const worker = new Worker(PRODUCT_QUEUE, null, { connection: redis, prefix });
  const job = await worker.getNextJob('token');
  const number = Number(/-(\d+)(?:\.\d+)?$/.exec(job?.id ?? '')?.[1]);
  if (job && fail) {
    job.opts.attempts = 1;
    await job.moveToFailed(fail, 'token');
  } else if (job?.id) {
    await publish(job.id, idsOf(number));
    await job.moveToCompleted(null, 'token', false);
  }
  await worker.close();
  return job?.id;
}

async function answersIn({ collector, records }: Opened): Promise<CollectedResult[]> {
  const found: CollectedResult[] = [];
  for await (const page of collector.answers(RUN, await records.numbers(RUN))) found.push(...page);
  return found;
}

/** Collects what is there, as `results` does. @returns the product ids */
async function collect(opened: Opened): Promise<(string | null)[]> {
  const found = await answersIn(opened);
  const answer = { model: MODEL, rejected: {} };
  await opened.collector.remove(found.map((one): CollectedKey => ({ ...one, answer })));
  return found.flatMap(({ products: { ids } }) =>
    Buffer.from(ids as Uint8Array)
      .toString()
      .split('\n'),
  );
}

const accountOf = ({ records }: Opened) => accountForImport(records, RUN);

describe('the account of an import in Redis', () => {
  it('follows its chunks from the queue to the file', async () => {
    const opened = open();
    await send(opened, 3);
    expect(await accountOf(opened)).toMatchObject({ read: 9, waiting: 9, answered: 0, categorized: 0, missing: 0 });
    await work();
    await work(new Error('REDIS_REFUSED: full'));
    expect(await accountOf(opened)).toMatchObject({
      waiting: 3,
      answered: 3,
      failed: 3,
      failedByCode: { REDIS_REFUSED: 1 },
    });
    expect(await collect(opened)).toEqual(idsOf(0));
    expect(await accountOf(opened)).toMatchObject({ waiting: 3, answered: 0, categorized: 3, failed: 3 });
    await send(opened, 3);
    await work();
    await work();
    expect(await collect(opened)).toEqual([...idsOf(1), ...idsOf(2)]);
    expect(await accountOf(opened)).toMatchObject({ categorized: 9, failed: 0, missing: 0, models: [MODEL] });
    expect((await results.getJobCounts('waiting')).waiting).toBe(0);
  });

  it('never claims more than there is, whatever happens to its chunks in whatever order', async () => {
    const events = fc.array(
      fc.constantFrom(
        ...(['send', 'work', 'work', 'fail', 'collect', 'lose a payload', 'lose a job', 'lose a result'] as const),
        ...(['forge', 'flush', 'lose the record'] as const),
      ),
      { minLength: 1, maxLength: 14 },
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), events, async (chunks, happening) => {
        const stale = await redis.keys(`${prefix}:*`);
        if (stale.length > 0) await redis.del(...stale);
        const opened = open();
        /** What is in the file; it survives whatever becomes of Redis. */
        const file: (string | null)[] = [];
        let collectedSinceFlush = 0;
        await send(opened, chunks);
        for (const event of happening) {
          if (event === 'send') await send(opened, chunks);
          if (event === 'work') await work();
          if (event === 'fail') await work(new Error('PREDICTOR_UNAVAILABLE: closed'));
          if (event === 'collect') {
            const ids = await collect(opened);
            file.push(...ids);
            collectedSinceFlush += ids.length;
          }
          if (event === 'lose a payload') {
            const [key] = await redis.keys(`${prefix}:payload:*`);
            if (key) await redis.del(key);
          }
          if (event === 'lose a job') {
            const [job] = await jobs.getJobs(['waiting', 'failed', 'completed']);
            if (job?.id) await jobs.remove(job.id);
          }
          if (event === 'lose a result') {
            const [job] = await results.getJobs(['waiting']);
            if (job?.id) await results.remove(job.id);
          }
          if (event === 'forge') await publish(`${RUN}-0`, ['FORGED']);
          if (event === 'lose the record' || event === 'flush') {
            const keys = await redis.keys(event === 'flush' ? `${prefix}:*` : `${prefix}:run:*`);
            if (keys.length > 0) await redis.del(...keys);
            if (event === 'flush') collectedSinceFlush = 0;
          }

          const account = await accountOf(opened);
          if (!account) continue;
          const { read = 0, categorized, answered, waiting, failed, missing } = account;
          expect(categorized, event).toBe(collectedSinceFlush);
          expect(categorized + answered + waiting + failed + missing, event).toBe(read);
          const there = await jobs.getJobCounts('waiting', 'active', 'delayed', 'failed');
          expect(waiting, event).toBeLessThanOrEqual(ROWS * (there.waiting + there.active + there.delayed));
          expect(failed, event).toBeLessThanOrEqual(ROWS * there.failed);
          expect(answered, event).toBeLessThanOrEqual(ROWS * (await results.getWaitingCount()));
        }

        // Whatever happened, the same import and a collection finish it; forged answers cost one more round.
        for (let round = 0; round < 3; round++) {
          await send(opened, chunks);
          while (await work());
          file.push(...(await collect(opened)));
        }
        expect(await accountOf(opened)).toMatchObject({
          categorized: chunks * ROWS,
          failed: 0,
          missing: 0,
          waiting: 0,
        });
        expect(file).not.toContain('FORGED');
        const wanted = Array.from({ length: chunks }, (_, number) => idsOf(number)).flat();
        expect(new Set(file)).toEqual(new Set(wanted));
        if (!happening.includes('flush')) expect(file).toHaveLength(wanted.length);
      }),
      { numRuns: 60 },
    );
  });
});

describe('a result that does not answer its chunk', () => {
  it.each([
    { title: 'has other products', forge: () => publish(`${RUN}-0`, ['X', 'Y', 'Z']) },
    { title: 'has fewer products', forge: () => publish(`${RUN}-0`, idsOf(0).slice(1)) },
    { title: 'has them in another order', forge: () => publish(`${RUN}-0`, idsOf(0).toReversed()) },
    { title: 'cannot be read', forge: () => results.add('nothing', {}, { jobId: `r-${RUN}-0` }) },
  ])('because it $title is left alone, and the chunk is sent under another id', async ({ forge }) => {
    const opened = open();
    await send(opened, 1);
    await forge();
    expect(await accountOf(opened)).toMatchObject({ waiting: ROWS, answered: 0 });
    await work();
    expect(await answersIn(opened)).toEqual([]);
    expect(opened.collector.foreign()).toBe(1);
    expect(await accountOf(opened)).toMatchObject({ missing: ROWS, answered: 0, waiting: 0 });
    await send(opened, 1);
    expect(await work()).toBe(`${RUN}-0.1`);
    expect(await collect(opened)).toEqual(idsOf(0));
    expect(await results.getJob(`r-${RUN}-0`)).toBeDefined();
    expect(await accountOf(opened)).toMatchObject({ categorized: ROWS });
  });

  it('or any of its jobs is found by its run id, counted and left alone', async () => {
    const opened = open();
    await send(opened, 1);
    await work();
    const forged = [{ productId: 'X', categoryCode: 'A', confidence: 1 }];
    for (const jobId of ['hand-1', `${RUN}-77`, `${RUN}-0.9`, `${RUN}-x`]) {
      await results.add(
        CATEGORIES_RESULT,
        { results: forged, model: MODEL, runId: RUN, jobId },
        { jobId: `r-${jobId}` },
      );
    }
    await publish('other-0', ['X'], 'other');
    await opened.collector.findForeign(RUN);
    expect(opened.collector.foreign()).toBe(4);
    expect(await collect(opened)).toEqual(idsOf(0));
    expect(await results.getWaitingCount()).toBe(5);
  });

  it('is not given to who collects all runs either, and answers of other runs are', async () => {
    const opened = open();
    await send(opened, 2);
    await publish('hand-1', ['X']);
    await publish('unrecorded-0', ['U'], 'unrecorded');
    await work();
    const found: CollectedResult[] = [];
    for await (const page of opened.collector.scan(undefined, new Set())) found.push(...page);
    expect(found.map(({ resultId }) => resultId).toSorted()).toEqual([`r-${RUN}-0`, 'r-unrecorded-0']);
    expect(found.find(({ runId }) => runId === RUN)?.chunk).toBe(0);
  });
});

describe('a second answer to a chunk that was collected', () => {
  it('is dropped when all runs are collected, and when foreign results are looked for', async () => {
    const opened = open();
    await send(opened, 1);
    await work();
    await collect(opened);
    await publish(`${RUN}-0`, idsOf(0));
    const found: CollectedResult[] = [];
    for await (const page of opened.collector.scan(undefined, new Set())) found.push(...page);
    expect(found).toMatchObject([{ resultId: `r-${RUN}-0`, products: { rows: 0 } }]);
    await opened.collector.findForeign(RUN);
    expect(await results.getWaitingCount()).toBe(0);
    expect(opened.collector.foreign()).toBe(0);
  });
});

describe('the results of one run', () => {
  it('are found without reading those of the others', async () => {
    const opened = open();
    await send(opened, 2);
    await work();
    await work();
    for (let i = 0; i < 50; i++) await publish(`other-${i}`, ['X'], 'other');
    const asked = vi.spyOn(redis, 'sendCommand');
    expect(await collect(opened)).toHaveLength(2 * ROWS);
    await opened.collector.findForeign(RUN);
    // A job or a result is read with HGETALL.
    expect(asked.mock.calls.filter(([{ name }]) => name.toLowerCase() === 'hgetall').length).toBeLessThan(10);
    expect(asked.mock.calls.length, 'it was asked at all').toBeGreaterThan(5);
  });
});

describe('the claim of a collector', () => {
  const claimsOf = (out: string) => createCollectorClaims({ connection: redis, prefix, out });

  it('is held by one at a time, for each run, and says who has it since when', async () => {
    const [first, second] = [claimsOf('a.csv'), claimsOf('b.csv')];
    expect(await first.take('R')).toBeUndefined();
    expect(await first.take('R'), 'its own').toBeUndefined();
    expect(await second.take('R')).toMatchObject({ pid: process.pid, out: 'a.csv', since: expect.any(String) });
    expect(await second.take('S')).toBeUndefined();
    await first.release();
    expect(await second.take('R')).toBeUndefined();
    await second.release();
    expect(await redis.keys(`${prefix}:collector:*`)).toEqual([]);
  });

  it('of a process of this machine that died is taken over at once; of another machine it runs out by itself', async () => {
    const claims = claimsOf('b.csv');
    onTestFinished(claims.release);
    await claims.take('R');
    const key = `${prefix}:collector:R`;
    const own: Record<string, unknown> = JSON.parse((await redis.get(key)) ?? '');
    const ttl = await redis.pttl(key);
    expect(ttl).toBeGreaterThan(0);
    expect(ttl).toBeLessThanOrEqual(30_000);
    // No process has an id of that size.
    await redis.set(`${prefix}:collector:S`, JSON.stringify({ ...own, pid: 2 ** 30, token: 'x' }));
    expect(await claims.take('S')).toBeUndefined();
    await redis.set(`${prefix}:collector:T`, JSON.stringify({ ...own, host: 'elsewhere', token: 'x' }));
    expect(await claims.take('T')).toMatchObject({ host: 'elsewhere' });
  });

  it('that was lost is found out before anything is written', async () => {
    const claims = claimsOf('a.csv');
    onTestFinished(claims.release);
    await claims.take('R');
    await expect(claims.confirm()).resolves.toBeUndefined();
    await redis.del(`${prefix}:collector:R`);
    await expect(claims.confirm()).rejects.toMatchObject({ code: 'RUN_HELD' });
  });
});
