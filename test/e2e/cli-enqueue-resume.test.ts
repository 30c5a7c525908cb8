import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { payloadKeys, waitingChunks, waitingProducts } from '../support/bulk-chunks.ts';
import { PATIENCE, startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { readRows } from '../support/load.ts';
import { runCli, startWorker } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';

/** Chunks that `enqueue` sends at once: so many may have arrived without being remembered when it is killed. */
const SENDS_IN_FLIGHT = 4;

let workspace: Workspace;
let queues: Queues;

beforeEach(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
});
afterEach(async () => {
  await queues.close();
  await workspace.remove();
});

const enqueue = (...args: string[]) => runCli(['enqueue', ...args], { env: queues.env });
const waiting = () => queues.products.getWaitingCount();

async function addWorker(): Promise<void> {
  const worker = await startWorker(queues.env);
  onTestFinished(async () => {
    worker.kill('SIGKILL');
    await worker.ended;
  });
}

describe('enqueue that was killed', () => {
  it('sends only the rest when it is run again, and every product is on the queue once', async () => {
    const products = makeProducts(15_000);
    const jobs = 1500;
    const command = [await workspace.write('c.csv', toCsv(products)), '--run', 'R', '--chunk-size', '10', '--json'];
    const killed = startLive(['enqueue', ...command], queues.env);
    await expect.poll(waiting, { ...PATIENCE, interval: 5 }).toBeGreaterThan(50);
    killed.kill('SIGKILL');
    await killed.ended;
    expect(killed.exit()).toEqual({ code: null, signal: 'SIGKILL' });
    const arrived = await waiting();
    expect(arrived).toBeLessThan(jobs);

    const { code, stdout, stderr } = await enqueue(...command);
    expect(code).toBe(0);
    const { sentBefore, ...summary } = JSON.parse(stdout);
    expect(summary).toMatchObject({ runId: 'R', products: products.length, jobs, rejected: 0 });
    expect(sentBefore.jobs).toBeLessThanOrEqual(arrived);
    expect(sentBefore.jobs).toBeGreaterThanOrEqual(arrived - SENDS_IN_FLIGHT);
    expect(sentBefore.products).toBe(10 * sentBefore.jobs);
    expect(stderr).toBe(`${sentBefore.products} products of run R were sent before, and were not sent again\n`);
    expect(await waitingProducts(queues)).toEqual(products);
    expect(await payloadKeys(queues)).toHaveLength(jobs);
  });

  it('under a run id made of the content goes on as well, wherever the content stands', async () => {
    const products = makeProducts(4);
    const [first, second] = await Promise.all(['a.csv', 'b.csv'].map((name) => workspace.write(name, toCsv(products))));
    await enqueue(first, '--chunk-size', '2');
    const { code, stdout, stderr } = await enqueue(second, '--chunk-size', '2', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ jobs: 2, sentBefore: { jobs: 2, products: 4 } });
    expect(stderr).toMatch(/^all of run import-[0-9a-f]{16} was sent before: nothing was sent now; .*--run\n$/);
    expect(await waitingProducts(queues)).toEqual(products);
  });
});

describe('enqueue of what was sent completely', () => {
  it('sends nothing, says so, and leaves the reject files', async () => {
    const file = await workspace.write('c.csv', `${toCsv(makeProducts(5))}bad,1\n`);
    const first = await enqueue(file, '--run', 'R');
    expect(first.code).toBe(3);
    const names = await workspace.names();
    expect(names).toEqual(['c.csv', 'c.csv.rejects.csv', 'c.csv.rejects.jsonl']);
    const chunks = await waitingChunks(queues);
    const { code, stdout, stderr } = await enqueue(file, '--run', 'R', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ products: 5, rejected: 1, sentBefore: { jobs: 1, products: 5 } });
    expect(stderr).toMatch(/^all of run R was sent before: nothing was sent now/);
    expect(code).toBe(3);
    expect(await workspace.names()).toEqual(names);
    expect(await waitingChunks(queues)).toEqual(chunks);
  });

  it('is not sent again when its jobs are done and gone', async () => {
    const command = [await workspace.write('c.csv', toCsv(makeProducts(5))), '--run', 'R', '--json'];
    await enqueue(...command);
    await addWorker();
    const out = workspace.path('out.jsonl');
    expect((await runCli(['results', '--run', 'R', '--wait', '--out', out], { env: queues.env })).code).toBe(0);
    await queues.products.obliterate();
    expect(JSON.parse((await enqueue(...command)).stdout)).toMatchObject({ sentBefore: { jobs: 1, products: 5 } });
    expect(await queues.products.getJobCounts('waiting', 'active', 'completed')).toEqual({
      waiting: 0,
      active: 0,
      completed: 0,
    });
  });
});

describe('enqueue under a run id that is taken', () => {
  let taken: Queues;

  beforeAll(async () => {
    taken = openQueues(inject('redisUrl'));
    const args = ['enqueue', '-', '--run', 'R', '--chunk-size', '2'];
    expect((await runCli(args, { env: taken.env, input: toCsv(makeProducts(4)) })).code).toBe(0);
  });
  afterAll(() => taken.close());

  it.each([
    ['a changed file', makeProducts(4, 2), ['--chunk-size', '2']],
    ['another --chunk-size', makeProducts(4), ['--chunk-size', '3']],
    ['another --on-duplicate', makeProducts(4), ['--chunk-size', '2', '--on-duplicate', 'last']],
  ])('is refused for %s, and nothing is sent', async (_case, products, args) => {
    const chunks = await waitingChunks(taken);
    const file = await workspace.write('c.csv', toCsv(products));
    const { code, stdout, stderr } = await runCli(['enqueue', file, '--run', 'R', ...args], { env: taken.env });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^RUN_CONFLICT: run R was begun \d{4}-.* another .*--run\n$/);
    expect(code).toBe(1);
    expect(chunks).toHaveLength(2);
    expect(await waitingChunks(taken)).toEqual(chunks);
    expect(await workspace.names()).toEqual(['c.csv']);
  });
});

describe('a chunk whose payload is gone', () => {
  it('is told as failed, sent again by the same command, and its products come out', async () => {
    const products = makeProducts(6);
    const command = [await workspace.write('c.csv', toCsv(products)), '--run', 'R', '--chunk-size', '2', '--json'];
    await enqueue(...command);
    const lost = (await payloadKeys(queues)).filter((key) => key.includes(':R-1:'));
    expect(await queues.redis.del(lost)).toBe(1);
    await addWorker();
    const out = workspace.path('out.jsonl');
    const collect = ['results', '--run', 'R', '--wait', '--out', out, '--json'];

    const without = await runCli(collect, { env: queues.env });
    expect(JSON.parse(without.stdout)).toMatchObject({
      products: 4,
      failedJobs: { PAYLOAD_MISSING: 1 },
      totals: { read: 6, categorized: 4, failed: 2, failedByCode: { PAYLOAD_MISSING: 1 }, missing: 0 },
    });
    expect(without.stderr).toMatch(
      /^RUN_INCOMPLETE: run R: 2 products failed \(PAYLOAD_MISSING 1\); .*: categorizer enqueue /,
    );
    expect(without.code).toBe(1);

    const { code, stdout } = await enqueue(...command);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ jobs: 3, products: 6, sentBefore: { jobs: 2, products: 4 } });
    const whole = await runCli(collect, { env: queues.env });
    expect(JSON.parse(whole.stdout)).toMatchObject({ products: 2, failedJobs: {}, missingJobs: 0 });
    expect(whole.code).toBe(0);
    const ids = (await readRows(out)).map(({ productId }) => productId);
    expect(ids.sort()).toEqual(products.map(({ productId }) => productId).sort());
  });
});
