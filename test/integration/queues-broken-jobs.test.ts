import type { Redis } from 'ioredis';
import { describe, expect, inject, it, vi } from 'vitest';
import { connectPatiently } from '../../src/adapters/bullmq/connection.ts';
import { createQueueMonitor } from '../../src/adapters/bullmq/queue-monitor.ts';
import { createRunQueue, RUN_QUEUE } from '../../src/adapters/bullmq/run-queue.ts';
import { createRunWorker } from '../../src/adapters/bullmq/run-worker.ts';
import { cronCalendar as calendar } from '../../src/adapters/cron/calendar.ts';
import { MAX_CHUNK_JSON_BYTES, PRODUCT_JOB, PRODUCTS_JOB } from '../../src/contract/index.ts';
import { createFakeLogger, createGate } from '../support/fake-observers.ts';
import { PRODUCT, useWorkerSetting } from '../support/fake-worker-setting.ts';

const { addProduct, makeWorker, prefix, queue, redis, stored } = useWorkerSetting();

type Breakage = (connection: Redis, key: string) => Promise<unknown>;

const set =
  (...values: string[]): Breakage =>
  (connection, key) =>
    connection.hset(key, ...values);

const put =
  (...command: [string, ...string[]]): Breakage =>
  async (connection, key) => {
    await connection.del(key);
    await connection.call(command[0], key, ...command.slice(1));
  };

/** What fails a job, and a word of the sentence that says so. */
const FATAL: Readonly<Record<string, [Breakage, RegExp]>> = {
  'opts that are not JSON': [set('opts', '{broken'), /opts: not JSON/],
  'opts that are null': [set('opts', 'null'), /opts: not an object/],
  'opts that are a list': [set('opts', '[1]'), /opts: not an object/],
  'attempts that are no number': [set('opts', '{"attempts":{}}'), /opts: attempts/],
  'a retention that is no number': [set('opts', '{"removeOnFail":{"age":"x"}}'), /opts: removeOnFail/],
  'a parent that is not JSON': [set('parent', '{broken'), /parent: not JSON/],
  'a parent that is a number': [set('parent', '5'), /parent: not an object/],
  'a parent without a name': [set('parent', '{}'), /parent: names no job/],
  'progress that is not JSON': [set('progress', '{broken'), /progress: not JSON/],
  'data that is not JSON': [set('data', '{broken'), /data: not JSON/],
  'no data': [(connection, key) => connection.hdel(key, 'data'), /data: missing/],
  'no name': [(connection, key) => connection.hdel(key, 'name'), /name: missing/],
  'no timestamp': [(connection, key) => connection.hdel(key, 'timestamp'), /timestamp: missing/],
  'a timestamp that is no number': [set('timestamp', 'abc'), /timestamp: not a number/],
  'attempts made that are no number': [set('atm', 'abc'), /atm: not a whole number/],
  'stalls that are no number': [set('stc', '1.5'), /stc: not a whole number/],
  'a priority that is no number': [set('priority', 'nan'), /priority: not a number/],
  'a scheduler that is not there': [set('rjk', 'nosuch'), /rjk: there is no scheduler nosuch/],
  'a string under its key': [put('SET', 'x'), /its key holds no job but a string/],
  'a list under its key': [put('RPUSH', 'x'), /its key holds no job but a list/],
  'nothing under its key': [(connection, key) => connection.del(key), /name, data, timestamp: missing/],
};

/** What only people look at, or what means nothing to this program. */
const HARMLESS: Readonly<Record<string, Breakage>> = {
  'a return value that is not JSON': set('returnvalue', '{broken'),
  'traces that are not JSON': set('stacktrace', '{broken'),
  'traces that are a number': set('stacktrace', '5'),
  'times that are no numbers': set('processedOn', 'abc', 'finishedOn', 'abc'),
  'starts that are no number': set('ats', 'abc'),
  'no opts': (connection, key) => connection.hdel(key, 'opts'),
};

const optionsOf = { waiting: {}, prioritized: { priority: 5 }, delayed: { delay: 200 } } as const;

async function failedReasons(): Promise<Map<string, string>> {
  const monitor = createQueueMonitor({ connection: redis(), prefix: prefix() });
  const reasons = new Map<string, string>();
  for await (const { jobId, code, message } of monitor.failed()) reasons.set(jobId, `${code}: ${message}`);
  await monitor.close();
  return reasons;
}

describe('a broken job', () => {
  it.each(['waiting', 'prioritized', 'delayed'] as const)(
    'that is %s fails once with INVALID_JOB and what is wrong with it, and the others are done',
    async (state) => {
      const names = [...Object.keys(FATAL), ...Object.keys(HARMLESS), 'good'];
      for (const name of names) await addProduct({ ...optionsOf[state], jobId: name });
      for (const [name, [breakIt]] of Object.entries(FATAL)) await breakIt(redis(), queue().toKey(name));
      for (const [name, breakIt] of Object.entries(HARMLESS)) await breakIt(redis(), queue().toKey(name));
      const { worker, observer } = makeWorker({ lockMs: 1000 });
      worker.start();
      const finished = await observer.untilFinished(names.length);
      const outcomes = Object.fromEntries(finished.map(({ jobId, outcome }) => [jobId, outcome]));
      for (const name of [...Object.keys(HARMLESS), 'good'])
        expect([name, outcomes[name]]).toEqual([name, 'completed']);
      const reasons = await failedReasons();
      expect([...reasons.keys()].toSorted()).toEqual(Object.keys(FATAL).toSorted());
      for (const [name, [, sentence]] of Object.entries(FATAL)) {
        expect(reasons.get(name)).toMatch(/^INVALID_JOB: the job in Redis is broken: /);
        expect(reasons.get(name)).toMatch(sentence);
      }
      expect(finished).toHaveLength(names.length);
      for (const { seconds } of finished) expect(Number.isFinite(seconds)).toBe(true);
      expect(await queue().getJobCountByTypes('active', 'waiting', 'delayed', 'prioritized')).toBe(0);
    },
  );

  it('whose worker died with it is taken by another and fails', async () => {
    const id = await addProduct({ jobId: 'left-behind' });
    await redis().hset(queue().toKey(id), 'stc', 'abc', 'ats', 'abc', 'atm', 'abc', 'parent', '5');
    await redis().lrem(queue().toKey('wait'), 0, id);
    await redis().lpush(queue().toKey('active'), id);
    const { worker, observer } = makeWorker({ lockMs: 100 });
    worker.start();
    await observer.untilFinished(1);
    expect((await failedReasons()).get(id)).toMatch(/^INVALID_JOB: .*parent/);
  });

  it('that names a part of the queue fails, and removing it leaves the queue as it is', async () => {
    await queue().setGlobalConcurrency(7);
    await redis().lpush(queue().toKey('wait'), 'meta', 'wait', 'failed');
    const { worker, observer } = makeWorker();
    worker.start();
    await observer.untilFinished(3);
    const id = await addProduct({ jobId: 'good' });
    await observer.untilFinished(4);
    for (const name of ['meta', 'wait', 'failed'])
      expect(await redis().zscore(queue().toKey('failed'), name)).not.toBeNull();
    expect(await (await stored(id)).getState()).toBe('completed');
    expect(await queue().getGlobalConcurrency()).toBe(7);
  });

  it('whose parent cannot hear of it is finished all the same', async () => {
    const parent = `${prefix()}:other:p`;
    await redis().set(`${parent}:dependencies`, 'x');
    const id = await addProduct({ jobId: 'child' });
    const link = JSON.stringify({ id: 'p', queueKey: `${prefix()}:other`, idof: true });
    await redis().hset(queue().toKey(id), 'parent', link, 'parentKey', parent);
    const { worker, observer } = makeWorker();
    worker.start();
    const [{ outcome }] = await observer.untilFinished(1);
    expect(outcome).toBe('completed');
  });

  it('that can be neither retried nor completed is moved to the failed set by force', async () => {
    const id = await addProduct({ attempts: 3, backoff: { type: 'linear', delay: 1 } });
    const { worker, observer } = makeWorker({
      categorizeJob: async () => {
        throw new Error('the network is away');
      },
    });
    worker.start();
    const [finished] = await observer.untilFinished(1);
    expect(finished).toMatchObject({ outcome: 'failed', error: { message: 'the network is away' } });
    expect(await (await stored(id)).getState()).toBe('failed');
    expect(await queue().getActiveCount()).toBe(0);
  });

  it('is done when it is put back after what was broken stood at its default', async () => {
    const id = await addProduct({ jobId: 'mended' });
    await redis().hset(queue().toKey(id), 'progress', '{broken');
    const { worker, observer } = makeWorker();
    worker.start();
    await observer.untilFinished(1);
    const monitor = createQueueMonitor({ connection: redis(), prefix: prefix() });
    expect(await monitor.retryFailed([id])).toBe(1);
    await vi.waitFor(async () => expect(await (await stored(id)).getState()).toBe('completed'), { timeout: 10_000 });
    await monitor.close();
  });
});

describe('the broken job of a run', () => {
  it('fails, is made anew when the run is looked at again, and then goes on', async () => {
    const connection = connectPatiently(inject('redisUrl'), createFakeLogger());
    const advanced = createGate();
    const logger = createFakeLogger();
    const runs = createRunQueue({ connection, prefix: prefix(), calendar });
    const worker = createRunWorker({
      connection,
      prefix: prefix(),
      lockMs: 1000,
      calendar,
      advance: async () => {
        advanced.open();
        return 'over';
      },
      startDue: async () => undefined,
      giveUp: async () => undefined,
      logger,
    });
    await runs.ensure('night-1');
    await redis().hset(`${prefix()}:${RUN_QUEUE}:night-1`, 'opts', '{broken', 'parent', '5');
    worker.start();
    await logger.untilLogged('the job of a run is broken in Redis; it is made anew');
    expect(await redis().zcard(`${prefix()}:${RUN_QUEUE}:failed`)).toBe(1);
    await runs.ensure('night-1');
    await advanced.passed;
    await worker.close();
    await runs.close();
    connection.disconnect();
  });
});

describe('a job with more data than the contract allows', () => {
  const sized = (bytes: number) => {
    const text = JSON.stringify({ products: [{ ...PRODUCT, note: '' }] });
    // Two bytes of UTF-8 for one character.
    return {
      products: [
        { ...PRODUCT, note: `${'é'.repeat((bytes - text.length) >> 1)}${'x'.repeat((bytes - text.length) & 1)}` },
      ],
    };
  };

  it('fails without being read, however much it is, and one of exactly as much is done', async () => {
    await addProduct({ jobId: 'exact' }, sized(MAX_CHUNK_JSON_BYTES), PRODUCTS_JOB);
    await addProduct({ jobId: 'over' }, sized(MAX_CHUNK_JSON_BYTES + 1), PRODUCTS_JOB);
    await addProduct({ jobId: 'single' }, PRODUCT, PRODUCT_JOB);
    await addProduct({ jobId: 'huge' }, PRODUCT, PRODUCT_JOB);
    const many = 100 * 1024 * 1024;
    await redis().eval(
      `redis.call('HSET', KEYS[1], 'data', string.rep('x', tonumber(ARGV[1]))) return 1`,
      1,
      queue().toKey('huge'),
      many,
    );
    const before = process.memoryUsage().arrayBuffers;
    const { worker, observer } = makeWorker();
    worker.start();
    const finished = await observer.untilFinished(4);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(many / 2);
    const outcomes = Object.fromEntries(finished.map(({ jobId, outcome }) => [jobId, outcome]));
    expect(outcomes).toEqual({ exact: 'completed', over: 'failed', single: 'completed', huge: 'failed' });
    const reasons = await failedReasons();
    expect(reasons.get('over')).toMatch(/^INVALID_JOB: .*data: 8,388,609 bytes, and at most 8,388,608 are allowed/);
    expect(reasons.get('huge')).toMatch(/^INVALID_JOB: .*data: 104,857,600 bytes/);
  });
});
