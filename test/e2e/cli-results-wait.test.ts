import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { type LiveCli, PATIENCE, startLive } from '../support/cli-live.ts';
import { addResult, categorized, failWaitingJobs, openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { createProducer, type Producer, readRows } from '../support/load.ts';
import { runCli, startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';

let workspace: Workspace;
let queues: Queues;
let producer: Producer;
let out: string;
let cli: LiveCli | undefined;
let worker: WorkerProcess | undefined;

beforeEach(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
  producer = createProducer(inject('redisUrl'), queues.prefix);
  out = workspace.path('out.jsonl');
});
afterEach(async () => {
  cli?.kill('SIGKILL');
  worker?.kill('SIGTERM');
  await Promise.all([cli?.ended, worker?.ended]);
  [cli, worker] = [undefined, undefined];
  await producer.close();
  await queues.close();
  await workspace.remove();
});

describe('results --wait', () => {
  it('without a worker says so once, and collects all when one has done the work', async () => {
    await producer.addChunks(makeProducts(300), 25, 'R');
    cli = startLive(['results', '--run', 'R', '--wait', '--out', out, '--json'], queues.env);
    const warning = 'jobs are left and no worker is connected: start one with: categorizer worker\n';
    await expect.poll(cli.stderr, PATIENCE).toBe(warning);
    worker = await startWorker(queues.env);
    expect(await cli.ended).toBe(0);
    expect(cli.stderr()).toBe(warning);
    expect(JSON.parse(cli.stdout())).toMatchObject({ products: 300, categorized: 300, failedJobs: {} });
    expect(await readRows(out)).toHaveLength(300);
  });

  it('with a worker warns of nothing, and tells of the jobs that failed', async () => {
    worker = await startWorker(queues.env);
    await producer.addOneByOne([...makeProducts(200), { productId: 'bad', features: [1] }], 'R');
    const { code, stdout, stderr } = await runCli(['results', '--run', 'R', '--wait', '--out', out, '--json'], {
      env: queues.env,
    });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ products: 200, rejected: 0, failedJobs: { WRONG_WIDTH: 1 } });
    expect(code).toBe(3);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('at %s ends with %i, and takes nothing off the queue', async (signal, exitCode) => {
    await producer.addChunks(makeProducts(3), 3, 'R');
    await addResult(queues.results, { jobId: 'early', runId: 'R', products: [categorized('P1')] });
    cli = startLive(['results', '--run', 'R', '--wait', '--out', out], queues.env);
    await expect.poll(cli.stderr, PATIENCE).toContain('no worker is connected');
    cli.kill(signal);
    expect(await cli.ended).toBe(exitCode);
    expect(cli.stdout()).toBe('');
    expect(cli.stderr()).toMatch(/\nINTERRUPTED: .*nothing was taken off the queue\n$/);
    expect(await workspace.names()).toEqual([]);
    expect(await queues.results.getWaitingCount()).toBe(1);
  });
});

describe('results --wait of a run that was sent by enqueue', () => {
  const enqueue = async (runId: string, count: number) => {
    const file = await workspace.write('c.csv', toCsv(makeProducts(count)));
    const args = ['enqueue', file, '--run', runId, '--chunk-size', '50'];
    expect((await runCli(args, { env: queues.env })).code).toBe(0);
  };

  it('is done when that run is, whatever else is on the queue', async () => {
    await enqueue('R', 200);
    // Nobody can do it: it waits to be tried again all the time.
    await queues.products.add('products', {}, { jobId: 'other', delay: 3_600_000 });
    worker = await startWorker(queues.env);
    const { code, stdout, stderr } = await runCli(['results', '--run', 'R', '--wait', '--out', out, '--json'], {
      env: queues.env,
    });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ results: 4, products: 200, missingJobs: 0 });
    expect(code).toBe(0);
    expect(await queues.products.getDelayedCount()).toBe(1);
  });

  it('counts what was collected before, and adds the rest', async () => {
    await enqueue('R', 200);
    worker = await startWorker(queues.env);
    await expect.poll(() => queues.results.getWaitingCount(), PATIENCE).toBeGreaterThan(0);
    await runCli(['results', '--run', 'R', '--out', out], { env: queues.env });
    expect((await runCli(['results', '--run', 'R', '--wait', '--out', out], { env: queues.env })).code).toBe(0);
    const again = await runCli(['results', '--run', 'R', '--wait', '--out', out, '--json'], { env: queues.env });
    expect(again.stderr).toBe('no new results on the queue\n');
    expect(JSON.parse(again.stdout)).toMatchObject({ results: 0, duplicates: 0, missingJobs: 0 });
    expect(again.code).toBe(0);
    expect(new Set((await readRows(out)).map(({ productId }) => productId)).size).toBe(200);
  });

  it('says how many of its jobs are nowhere any more, and does not wait for those', async () => {
    await enqueue('R', 200);
    await queues.products.remove('R-2');
    worker = await startWorker(queues.env);
    const { code, stdout, stderr } = await runCli(['results', '--run', 'R', '--wait', '--out', out], {
      env: queues.env,
    });
    expect(stdout).toMatch(/^categorized +150\nfailed +0\nmissing +50$/m);
    expect(stderr).toMatch(
      /^RUN_INCOMPLETE: run R: 50 products are missing; .*: categorizer enqueue .*c\.csv --run R /,
    );
    expect(code).toBe(1);
    expect(await readRows(out)).toHaveLength(150);
  });

  it('is missing a part where all runs are collected too: that ends with 1 and names the command that goes on', async () => {
    await enqueue('R', 200);
    await queues.products.remove('R-2');
    worker = await startWorker(queues.env);
    await expect.poll(() => queues.products.getCompletedCount(), PATIENCE).toBe(3);
    const { code, stderr } = await runCli(['results', '--all', '--out', out], { env: queues.env });
    expect(stderr).toMatch(/^RUN_INCOMPLETE: run R: 50 products are missing; .*categorizer enqueue .+ --run R /m);
    expect(code).toBe(1);
    expect(await readRows(out)).toHaveLength(150);
  });

  it('of which not all was sent says that the import is to be run again, and waits for that', async () => {
    const file = await workspace.write('c.csv', toCsv(makeProducts(20_000)));
    const args = ['enqueue', file, '--run', 'R', '--chunk-size', '1000', '--max-pending', '1'];
    const interrupted = startLive(args, queues.env);
    await expect.poll(interrupted.stderr, PATIENCE).toContain('--max-pending');
    interrupted.kill('SIGKILL');
    await interrupted.ended;
    worker = await startWorker(queues.env);
    cli = startLive(['results', '--run', 'R', '--wait', '--out', out], queues.env);
    await expect
      .poll(cli.stderr, PATIENCE)
      .toMatch(/^all that was sent of run R is done, .*run the same import again/m);
    expect((await runCli(args, { env: queues.env })).code).toBe(0);
    expect(await cli.ended).toBe(0);
    expect(await readRows(out)).toHaveLength(20_000);
  });
});

describe('the failed jobs of a run', () => {
  beforeEach(async () => {
    await producer.addOneByOne(makeProducts(2), 'R');
    await producer.addOneByOne(makeProducts(3), 'S');
    await failWaitingJobs(queues, (jobId) => (jobId === 'R-one-0' ? 'WRONG_WIDTH' : 'NON_FINITE_FEATURE'));
  });

  it('are told by code, with exit code 3', async () => {
    const { code, stdout } = await runCli(['results', '--run', 'R', '--out', out], { env: queues.env });
    expect(stdout).toMatch(
      /^failed jobs +2 \((WRONG_WIDTH 1, NON_FINITE_FEATURE 1|.+)\); see: categorizer queue status$/m,
    );
    expect(stdout).toContain('WRONG_WIDTH 1');
    expect(code).toBe(3);
  });

  it('are those of that run, and with --all those of every run', async () => {
    const other = await runCli(['results', '--run', 'S', '--out', out, '--json'], { env: queues.env });
    expect(JSON.parse(other.stdout)).toMatchObject({ failedJobs: { NON_FINITE_FEATURE: 3 } });
    expect(other.code).toBe(3);
    const all = await runCli(['results', '--all', '--out', out, '--json'], { env: queues.env });
    expect(JSON.parse(all.stdout)).toMatchObject({ failedJobs: { WRONG_WIDTH: 1, NON_FINITE_FEATURE: 4 } });
    expect(all.code).toBe(3);
  });
});
