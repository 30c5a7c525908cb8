import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { PATIENCE } from '../support/cli-live.ts';
import { addResult, categorized, failWaitingJobs, openQueues, type Queues } from '../support/cli-queues.ts';
import { createProducer, type Producer, untilDone } from '../support/load.ts';
import { runCli, startWorker } from '../support/processes.ts';
import { makeProducts } from '../support/products.ts';

let queues: Queues;
let producer: Producer;

beforeEach(() => {
  queues = openQueues(inject('redisUrl'));
  producer = createProducer(inject('redisUrl'), queues.prefix);
});
afterEach(async () => {
  await producer.close();
  await queues.close();
});

const queue = (...args: string[]) => runCli(['queue', ...args], { env: queues.env });

/** Two failed jobs of run R and three of run S, with two codes. */
async function makeFailedJobs(): Promise<void> {
  await producer.addOneByOne(makeProducts(2), 'R');
  await producer.addOneByOne(makeProducts(3), 'S');
  await failWaitingJobs(queues, (jobId) => (jobId.endsWith('-0') ? 'WRONG_WIDTH' : 'PREDICTOR_UNAVAILABLE'));
}

const waitingIds = async () => (await queues.products.getWaiting(0, -1)).map(({ id }) => id).sort();

describe('queue status', () => {
  it('shows both queues, the workers and why jobs failed', async () => {
    await makeFailedJobs();
    await producer.addOneByOne(makeProducts(4), 'T');
    await addResult(queues.results, { jobId: '1', products: [categorized('P1')] });
    const { code, stdout, stderr } = await queue('status');
    expect(stderr).toBe('');
    const [header, input, results, ...rest] = stdout.split('\n');
    expect(header).toMatch(/^queue +waiting +active +delayed +prioritized +failed +completed +oldest waits$/);
    expect(input).toMatch(/^product-categorization +4 +0 +0 +0 +5 +0 +\d+\.\d s$/);
    expect(results).toMatch(/^product-categories +1 +0 +0 +0 +0 +0 +\d+\.\d s$/);
    expect(rest.join('\n')).toBe('\nworkers connected: 0\nfailed by code: PREDICTOR_UNAVAILABLE 3, WRONG_WIDTH 2\n');
    expect(code).toBe(0);
  });

  it('--json prints one object', async () => {
    await makeFailedJobs();
    const worker = await startWorker(queues.env);
    try {
      await expect.poll(() => queues.products.getWorkersCount(), PATIENCE).toBe(1);
      const { code, stdout, stderr } = await queue('status', '--json');
      expect(stderr).toBe('');
      const none = { waiting: 0, active: 0, delayed: 0, prioritized: 0, failed: 0, completed: 0 };
      const idle = { oldestWaitingAgeSeconds: 0, paused: false };
      expect(JSON.parse(stdout)).toEqual({
        queues: [
          { queue: 'product-categorization', jobs: { ...none, failed: 5 }, ...idle, workers: 1 },
          { queue: 'product-categories', jobs: none, ...idle, workers: 0 },
        ],
        workers: 1,
        failedByCode: { WRONG_WIDTH: 2, PREDICTOR_UNAVAILABLE: 3 },
      });
      expect(code).toBe(0);
    } finally {
      worker.kill('SIGTERM');
      await worker.ended;
    }
  });

  it('of queues that never were is all zeros', async () => {
    const { code, stdout } = await queue('status');
    expect(stdout).toMatch(/\n\nworkers connected: 0\nfailed by code: -\n$/);
    expect(code).toBe(0);
  });

  it('says that a queue is paused', async () => {
    await queues.products.pause();
    await producer.addOneByOne(makeProducts(2), 'R');
    expect((await queue('status')).stdout).toMatch(/^product-categorization +2 .* paused$/m);
  });
});

describe('queue retry-failed', () => {
  beforeEach(makeFailedJobs);

  it.each([
    ['all', [], ['R-one-0', 'R-one-1', 'S-one-0', 'S-one-1', 'S-one-2']],
    ['those of a run', ['--run', 'S'], ['S-one-0', 'S-one-1', 'S-one-2']],
    ['those with a code', ['--code', 'WRONG_WIDTH'], ['R-one-0', 'S-one-0']],
    ['those of a run with a code', ['--run', 'S', '--code', 'PREDICTOR_UNAVAILABLE'], ['S-one-1', 'S-one-2']],
    ['none where none fits', ['--run', 'T'], []],
  ])('puts back %s', async (_case, args, expected) => {
    const { code, stdout, stderr } = await queue('retry-failed', ...args);
    expect(stderr).toBe('');
    expect(stdout).toBe(`${expected.length} put back\n`);
    expect(code).toBe(0);
    expect(await waitingIds()).toEqual(expected);
    expect(await queues.products.getFailedCount()).toBe(5 - expected.length);
  });

  it('--dry-run says how many and puts none back', async () => {
    const { code, stdout } = await queue('retry-failed', '--run', 'S', '--dry-run');
    expect(stdout).toBe('3 would be put back\n');
    expect(code).toBe(0);
    expect(await waitingIds()).toEqual([]);
  });

  it('--json prints one object, and says of a dry run that none came back', async () => {
    const dry = await queue('retry-failed', '--code', 'WRONG_WIDTH', '--dry-run', '--json');
    expect(JSON.parse(dry.stdout)).toEqual({ matched: 2, retried: 0 });
    const done = await queue('retry-failed', '--code', 'WRONG_WIDTH', '--json');
    expect(JSON.parse(done.stdout)).toEqual({ matched: 2, retried: 2 });
  });

  it('gives the jobs all of their attempts again, and a worker categorizes them', async () => {
    await queue('retry-failed');
    expect((await queues.products.getWaiting(0, -1)).map(({ attemptsMade }) => attemptsMade)).toEqual([0, 0, 0, 0, 0]);
    const worker = await startWorker(queues.env);
    try {
      await untilDone(queues.products);
      expect(await queues.products.getFailedCount()).toBe(0);
      expect(await queues.results.getWaitingCount()).toBe(5);
    } finally {
      worker.kill('SIGTERM');
      await worker.ended;
    }
  });
});

it('puts back more failed jobs than fit into one page', async () => {
  await producer.addOneByOne(makeProducts(1100), 'R');
  await failWaitingJobs(queues, () => 'PREDICTOR_UNAVAILABLE');
  expect((await queue('retry-failed', '--run', 'R')).stdout).toBe('1100 put back\n');
  expect(await queues.products.getWaitingCount()).toBe(1100);
});
