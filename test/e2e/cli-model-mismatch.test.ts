import { readFile, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, inject, it, onTestFinished } from 'vitest';
import { ask, scrape } from '../support/cli-http.ts';
import { PATIENCE } from '../support/cli-live.ts';
import { sampleValue } from '../support/cli-metrics.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { newModel } from '../support/nightly-models.ts';
import { type Environment, runCli, startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';

const SPACE = 'erp-tfidf:v2';
const QUEUE = { queue: 'product-categorization' };

let queues: Queues;
let workspace: Workspace;
/** The same network, which was made for other vectors. */
let otherModel: Environment;

beforeEach(async () => {
  queues = openQueues(inject('redisUrl'));
  workspace = await createWorkspace();
  otherModel = await newModel();
  const path = otherModel.MODEL_PATH.replace(/model\.onnx$/, 'manifest.json');
  const manifest = JSON.parse(await readFile(path, 'utf8'));
  await writeFile(path, JSON.stringify({ ...manifest, input: { ...manifest.input, space: SPACE } }));
});
afterEach(async () => {
  await queues.close();
  await workspace.remove();
});

const run = (args: readonly string[], env: Environment = {}) => runCli(args, { env: { ...queues.env, ...env } });

async function addWorker(env: Environment): Promise<WorkerProcess> {
  const worker = await startWorker({ ...queues.env, ...env });
  onTestFinished(async () => {
    worker.kill('SIGKILL');
    await worker.ended;
  });
  return worker;
}

async function expectJobs(states: Readonly<Record<string, number>>): Promise<void> {
  await expect.poll(() => queues.products.getJobCounts(), PATIENCE).toMatchObject(states);
}

async function end(worker: WorkerProcess): Promise<void> {
  worker.kill('SIGTERM');
  expect(await worker.ended).toBe(0);
}

it('jobs for another model are left by a worker that says so everywhere, fail in the end, and are answered when they are put back for one that fits', async () => {
  const products = makeProducts(300);
  const file = await workspace.write('c.csv', toCsv(products));
  const misfit = await addWorker({});
  const sent = await run(['enqueue', file, '--run', 'R', '--chunk-size', '100'], otherModel);
  expect(sent.code, sent.stderr).toBe(0);
  await expect
    .poll(async () => (await ask(misfit, '/readyz')).body, PATIENCE)
    .toMatchObject({
      problems: [expect.stringMatching(/^all 3 jobs .*erp-tfidf:v2.* answers synthetic-16 \(width 16\)/)],
    });
  const metrics = await scrape(misfit);
  expect(sampleValue(metrics, 'categorizer_jobs_returned_total', { ...QUEUE, space: SPACE })).toBeGreaterThan(2);
  expect(sampleValue(metrics, 'categorizer_products_total', { outcome: 'rejected' })).toBe(0);
  expect((await run(['queue', 'status'])).stdout).toMatch(/^wait for another model: erp-tfidf:v2 3$/m);

  const lines = misfit.log().map(({ msg }) => String(msg));
  expect(lines.filter((line) => line.startsWith('jobs are left for a worker with another model: '))).not.toEqual([]);
  expect(lines.filter((line) => line.includes('was trained on synthetic data'))).toHaveLength(1);
  await end(misfit);

  // The time counts from when a worker gave them back for the first time.
  const impatient = await addWorker({ MODEL_MISMATCH_TIMEOUT: '1s' });
  await expectJobs({ failed: 3, delayed: 0, active: 0, completed: 0 });
  await end(impatient);
  for (const { failedReason, attemptsMade } of await queues.products.getFailed()) {
    expect(failedReason).toMatch(/^MODEL_MISMATCH: .*erp-tfidf:v2.*synthetic-16/);
    expect(attemptsMade).toBe(1);
  }
  expect((await run(['queue', 'retry-failed', '--code', 'MODEL_MISMATCH'])).stdout).toBe('3 put back\n');

  await addWorker(otherModel);
  const out = workspace.path('out.csv');
  const collected = await run(['results', '--run', 'R', '--wait', '--out', out]);
  expect(collected.code, collected.stderr).toBe(0);
  const rows = (await workspace.read('out.csv')).trimEnd().split('\n').slice(1);
  const centres = ['AUTOPECAS', 'INFORMATICA', 'MATERIAL_CONSTRUCAO'];
  expect(new Map(rows.map((row) => row.split(',').slice(0, 2) as [string, string]))).toEqual(
    new Map(products.map(({ productId }, i) => [productId, centres[i % 3]])),
  );
});

it('chunks that failed for want of a model are sent again by the same import', async () => {
  const file = await workspace.write('c.csv', toCsv(makeProducts(50)));
  const misfit = await addWorker({ MODEL_MISMATCH_TIMEOUT: '1s' });
  const send = (...args: string[]) => run(['enqueue', file, '--run', 'R', ...args]);
  expect((await send('--space', SPACE)).code).toBe(0);
  await expectJobs({ failed: 1 });
  expect((await send()).code).toBe(0);
  await expectJobs({ failed: 0, completed: 1 });
  await end(misfit);
});

it('a space that none can have is wrong usage', async () => {
  const { code, stderr } = await run(['enqueue', 'c.csv', '--space', 'with blank']);
  expect(stderr).toContain('expected 1 to 100 of A-Z a-z 0-9 . _ : -');
  expect(code).toBe(2);
});
