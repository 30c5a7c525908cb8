import { cp, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { PRODUCTS_JOB } from '../../src/contract/index.ts';
import { payloadKeys } from '../support/bulk-chunks.ts';
import { PATIENCE, startLive } from '../support/cli-live.ts';
import { addResult, categorized, openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runForAccount } from '../support/import-account.ts';
import { readRows, untilDone } from '../support/load.ts';
import { type Environment, runCli, startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, type TestProduct, toCsv } from '../support/products.ts';

const MODEL = fileURLToPath(new URL('../../model', import.meta.url));

let workspace: Workspace;
let queues: Queues;
let out: string;

beforeEach(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
  out = workspace.path('out.jsonl');
});
afterEach(async () => {
  await queues.close();
  await workspace.remove();
});

const run = (...args: string[]) => runCli(args, { env: queues.env });
const account = (...args: string[]) => runForAccount(args, queues.env);

async function addWorker(settings: Environment = {}): Promise<WorkerProcess> {
  const worker = await startWorker({ ...queues.env, ...settings });
  onTestFinished(async () => {
    worker.kill('SIGKILL');
    await worker.ended;
  });
  return worker;
}

async function expectEachOnce(products: readonly TestProduct[]): Promise<void> {
  const rows = await readRows(out);
  expect(rows.map(({ productId }) => productId).sort()).toEqual(products.map(({ productId }) => productId).sort());
}

describe('an import whose ids somebody else uses', () => {
  it('is sent around the jobs of another producer, and only its own products are collected', async () => {
    const products = makeProducts(3000);
    const theirs = makeProducts(4, 2);
    for (const [i, product] of theirs.entries()) {
      await queues.products.add(PRODUCTS_JOB, { products: [product], runId: 'night-8' }, { jobId: `night-8-${i}` });
    }
    const file = await workspace.write('c.csv', toCsv(products));
    const { code, account: totals } = await account(
      ...['run', file, '--run', 'night-8', '--chunk-size', '1000', '--out', out, '--local'],
    );
    expect(totals).toMatchObject({ read: 3000, sentNow: 3000, categorized: 3000, missing: 0, failed: 0 });
    expect(code).toBe(0);
    await expectEachOnce(products);
  });

  it('leaves results alone that it did not ask for, and sends again what they stood in the way of', async () => {
    const products = makeProducts(6);
    const enqueue = ['enqueue', await workspace.write('c.csv', toCsv(products)), '--run', 'R', '--chunk-size', '2'];
    await run(...enqueue);
    // Under ids of their own, with one that looks like a chunk, and under the very id of a result that is still to come.
    const foreign = ['x', 'R-7', 'R-0'];
    for (const jobId of foreign) {
      await addResult(queues.results, { jobId, runId: 'R', products: [categorized('foreign'), categorized('P-1-1')] });
    }
    await addWorker();
    const collect = ['results', '--run', 'R', '--wait', '--out', out];
    const first = await run(...collect);
    expect(first.stdout).toMatch(/^categorized +4\nfailed +0\nmissing +2$/m);
    expect(first.stdout).toMatch(/^left alone +3 results that name the run and answer none of its jobs$/m);
    expect(first.stderr).toMatch(/^RUN_INCOMPLETE: run R: 2 products are missing; .*: categorizer enqueue /m);
    expect(first.code).toBe(1);

    expect((await account(...enqueue)).account).toMatchObject({ sentNow: 2, sentBefore: 4 });
    const whole = await account(...collect);
    expect(whole.account).toMatchObject({ read: 6, categorized: 6, missing: 0 });
    expect(whole.code).toBe(0);
    await expectEachOnce(products);
    const left = (await queues.results.getWaiting()).map(({ id }) => id);
    expect(left.sort()).toEqual(foreign.map((jobId) => `r-${jobId}`).sort());
  });
});

describe('two collectors of one run', () => {
  it('the second is refused with who holds it and since when, and gets it when the first has died', async () => {
    const products = makeProducts(4);
    await run('enqueue', await workspace.write('c.csv', toCsv(products)), '--run', 'R');
    const before = Date.now();
    const other = workspace.path('a.csv');
    const first = startLive(['results', '--run', 'R', '--wait', '--out', other], queues.env);
    onTestFinished(async () => {
      first.kill('SIGKILL');
      await first.ended;
    });
    await expect.poll(first.stderr, PATIENCE).toContain('no worker is connected');
    const second = ['results', '--run', 'R', '--wait', '--out', out, '--json'];
    const refused = await run(...second);
    expect(refused.stdout).toBe('');
    const said = /^RUN_HELD: run R is being collected since (\S+Z) by process (\d+) on (\S+), into (\S+); /.exec(
      refused.stderr,
    );
    expect(said?.slice(2)).toEqual([`${first.pid}`, hostname(), other]);
    expect(Date.parse(said?.[1] ?? '')).toBeGreaterThanOrEqual(before);
    expect(refused.code).toBe(1);
    expect(await workspace.names()).not.toContain('out.jsonl');

    first.kill('SIGKILL');
    await first.ended;
    await addWorker();
    const taken = await run(...second);
    expect(taken.code, taken.stderr).toBe(0);
    expect(JSON.parse(taken.stdout).totals).toMatchObject({ categorized: 4, missing: 0 });
    await expectEachOnce(products);
  });
});

describe('a run that two models answered', () => {
  /** The shipped model under another version. */
  async function copyModel(): Promise<string> {
    const directory = workspace.path('model');
    await cp(MODEL, directory, { recursive: true });
    const manifest = join(directory, 'manifest.json');
    await writeFile(manifest, JSON.stringify({ ...JSON.parse(await readFile(manifest, 'utf8')), version: 'next' }));
    return join(directory, 'model.onnx');
  }

  it('has a line for each, and ends with 3 unless --any-model', async () => {
    const products = makeProducts(10);
    const file = await workspace.write('c.csv', toCsv(products));
    const enqueue = ['enqueue', file, '--run', 'R', '--chunk-size', '6'];
    await run(...enqueue);
    const old = await addWorker();
    await untilDone(queues.products);
    old.kill('SIGTERM');
    expect(await old.ended).toBe(0);
    // One of the two answers is lost, and the other model answers that chunk.
    await queues.results.remove('r-R-1');
    await queues.redis.del((await payloadKeys(queues)).filter((key) => key.includes(':r-R-1:')));
    expect((await account(...enqueue)).account).toMatchObject({ answered: 6, waiting: 4, sentNow: 4 });
    await addWorker({ MODEL_PATH: await copyModel() });

    const collect = ['results', '--run', 'R', '--wait', '--out', out];
    const { stdout, stderr, code } = await run(...collect);
    expect(stdout).toMatch(/^model \w{12} +6 products\nmodel next \(\w{12}\) +4 products$/m);
    expect(stderr).toMatch(/^2 models answered this run \(--any-model accepts that\)$/m);
    expect(code).toBe(3);
    const again = await account(...collect, '--any-model');
    expect(again.account.models.map(({ version, products: count }) => [version, count])).toEqual([
      [expect.not.stringMatching('next'), 6],
      ['next', 4],
    ]);
    expect(again.stderr).not.toContain('models answered');
    expect(again.code).toBe(0);
    await expectEachOnce(products);
  });
});
