import { gzipSync } from 'node:zlib';
import { afterEach, beforeAll, beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { payloadKeys } from '../support/bulk-chunks.ts';
import { writeParquet } from '../support/bulk-input.ts';
import { PATIENCE, startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { type ResultRow, readRows as readOutcomes } from '../support/files-results.ts';
import { predictedCategories } from '../support/load.ts';
import { type Environment, runCli, startWorker } from '../support/processes.ts';
import { makeProducts, SYNTHETIC_NOTE, type TestProduct, toCsv } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

const NO_WORKER = 'jobs are left and no worker is connected: start one with: categorizer worker\n';

/** Every test takes some of them, from the first on. */
const MOST_PRODUCTS = 10_000;
let predicted: Map<string, string>;

let workspace: Workspace;
let queues: Queues;

beforeAll(async () => {
  const own = await createWorkspace();
  predicted = await predictedCategories(makeProducts(MOST_PRODUCTS), own.directory);
  await own.remove();
  expect(predicted.size).toBe(MOST_PRODUCTS);
});
beforeEach(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
});
afterEach(async () => {
  await queues.close();
  await workspace.remove();
});

const run = (...args: string[]) => runCli(['run', ...args], { env: queues.env });

async function addWorker(env: Environment = queues.env): Promise<void> {
  const worker = await startWorker(env);
  onTestFinished(async () => {
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
  });
}

function start(args: readonly string[], env: Environment = queues.env) {
  const cli = startLive(args, env);
  onTestFinished(async () => {
    cli.kill('SIGKILL');
    await cli.ended;
  });
  return cli;
}

/** Each product once, with what `predict` says of it. */
function expectCategories(rows: readonly ResultRow[], products: readonly TestProduct[]): void {
  expect(rows).toHaveLength(products.length);
  expect(new Map(rows.map(([id, category]) => [id, category]))).toEqual(
    new Map(products.map(({ productId }) => [productId, predicted.get(productId)])),
  );
}

describe('run', () => {
  const products = makeProducts(500);

  it('with a running worker takes CSV to Parquet, and leaves no payload in Redis', async () => {
    await addWorker();
    const file = await workspace.write('c.csv.gz', gzipSync(toCsv(products)));
    const out = workspace.path('out.parquet');
    const { code, stdout, stderr } = await run(file, '--out', out, '--run', 'R', '--chunk-size', '64');
    expect(stderr).toMatch(SYNTHETIC_NOTE);
    expect(stdout).toMatch(
      /^run +R\nread +500\nrejected +0\nsent now +500\nsent before +0\ncategorized +500\nfailed +0\nmissing +0\nmodel \w+ +500 products\ncategories +/,
    );
    expect(stdout).toContain(out);
    expect(code).toBe(0);
    expectCategories(await readOutcomes(out, 'parquet'), products);
    expect(await queues.results.getWaitingCount()).toBe(0);
    await expect.poll(() => payloadKeys(queues), PATIENCE).toEqual([]);
  });

  it('with --local needs no worker, and takes Parquet to CSV', async () => {
    const file = await writeParquet(workspace.path('c.parquet'), products, 'productId, features');
    const out = workspace.path('out.csv');
    const { code, stderr } = await run(file, '--out', out, '--local');
    expect(stderr).toMatch(SYNTHETIC_NOTE);
    expect(code).toBe(0);
    expectCategories(await readOutcomes(out, 'csv'), products);
    expect(await payloadKeys(queues)).toEqual([]);
  });

  it('with --json prints one object: the import, and the results', async () => {
    const out = workspace.path('out.jsonl');
    const file = await workspace.write('c.csv', toCsv(products));
    const args = [file, '--out', out, '--run', 'R', '--local', '--review-below', '1', '--json'];
    const { code, stdout, stderr } = await run(...args);
    expect(stderr).toMatch(SYNTHETIC_NOTE);
    const { import: imported, results, totals, ...rest } = JSON.parse(stdout);
    expect(rest).toEqual({});
    expect(totals).toEqual({
      runId: 'R',
      ...{ read: 500, skipped: 0, rejected: 0, rejectedByCode: {}, sent: 500, sentNow: 500, sentBefore: 0 },
      ...{ categorized: 500, answered: 0, waiting: 0, failed: 0, failedByCode: {}, missing: 0, missingJobs: 0 },
      models: [{ version: expect.any(String), sha256: expect.any(String), products: 500 }],
    });
    expect(results.totals).toEqual(totals);
    expect(imported).toEqual({
      runId: 'R',
      products: 500,
      jobs: 1,
      sentNow: { jobs: 1, products: 500 },
      sentBefore: { jobs: 0, products: 0 },
      rejected: 0,
      skipped: 0,
      rejectedByCode: {},
      rejectFiles: [],
    });
    expect(results).toMatchObject({
      out,
      products: 500,
      categorized: 500,
      rejected: 0,
      failedJobs: {},
      missingJobs: 0,
    });
    const byCategory: Record<string, number> = results.byCategory;
    expect(Object.values(byCategory).reduce((sum, count) => sum + count, 0)).toBe(500);
    expect(results.meanConfidence).toBeGreaterThan(0.5);
    expect(results.toReview).toBeGreaterThan(0);
    expect(results.outside).toBe(0);
    expect(code).toBe(0);
  });

  it('of a file with bad rows ends with 3, puts those aside, and categorizes the rest', async () => {
    const file = await workspace.write('c.csv', `${toCsv(products)}bad,1\n`);
    const { code, stdout } = await run(file, '--out', workspace.path('out.jsonl'), '--local');
    expect(stdout).toMatch(/^rejected +1 \(INVALID_ROW 1\)$/m);
    expect(stdout).toContain(workspace.path('c.csv.rejects.csv'));
    expect(code).toBe(3);
    expect(await workspace.names()).toEqual(['c.csv', 'c.csv.rejects.csv', 'c.csv.rejects.jsonl', 'out.jsonl']);
    expectCategories(await readOutcomes(workspace.path('out.jsonl'), 'jsonl'), products);
  });

  it('of a product that the model cannot do ends with 3 and has it in the file, rejected', async () => {
    const bad = { productId: 'bad', features: products[0].features.map(() => 3e38) };
    const file = await workspace.write('c.csv', toCsv([...products.slice(0, 3), bad]));
    const { code, stdout } = await run(file, '--out', workspace.path('out.jsonl'), '--local');
    expect(stdout).toMatch(/^rejected +1 \(PREDICTION_FAILED 1\)$/m);
    expect(code).toBe(3);
    const rows = await readOutcomes(workspace.path('out.jsonl'), 'jsonl');
    expect(rows[3].slice(0, 4)).toEqual(['bad', null, null, 'PREDICTION_FAILED']);
  });

  it.each(['csv', 'jsonl', 'parquet'] as const)(
    'a second time says that all was sent before, and leaves the rows of the %s as they were',
    async (format) => {
      const file = await workspace.write('c.csv', toCsv(products));
      const out = workspace.path(`out.${format}`);
      await run(file, '--out', out, '--local', '--chunk-size', '100');
      const rows = await readOutcomes(out, format);
      const { code, stdout, stderr } = await run(file, '--out', out, '--local', '--chunk-size', '100', '--json');
      expect(stderr).toMatch(
        /\nall of run import-\w+ was sent before: nothing was sent now; .*--run\nno new results on the queue\n$/,
      );
      expect(JSON.parse(stdout)).toMatchObject({
        import: { jobs: 5, sentBefore: { jobs: 5, products: 500 } },
        results: { products: 0, duplicates: 0, missingJobs: 0 },
        totals: { read: 500, sentNow: 0, sentBefore: 500, categorized: 500, missing: 0 },
      });
      expect(code).toBe(0);
      expect(await readOutcomes(out, format)).toEqual(rows);
    },
  );
});

describe('run that is interrupted', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('by %s ends with %i and writes nothing; run again it finishes the job', async (signal, exitCode) => {
    const products = makeProducts(2000);
    const file = await workspace.write('c.csv', toCsv(products));
    const out = workspace.path('out.jsonl');
    const command = ['run', file, '--out', out, '--run', 'R', '--chunk-size', '100'];
    const cli = start(command);
    await expect.poll(cli.stderr, PATIENCE).toBe(NO_WORKER);
    cli.kill(signal);
    expect(await cli.ended).toBe(exitCode);
    expect(cli.stdout()).toBe('');
    expect(cli.stderr().slice(NO_WORKER.length)).toMatch(/^INTERRUPTED: [^\n]+\n$/);
    expect(await workspace.names()).toEqual(['c.csv']);

    const again = await runCli([...command, '--local', '--json'], { env: queues.env });
    expect(again.code).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({ import: { products: 2000 }, results: { products: 2000 } });
    expectCategories(await readOutcomes(out, 'jsonl'), products);
  });

  it('while it sends can be run again, too', async () => {
    const products = makeProducts(MOST_PRODUCTS);
    const file = await workspace.write('c.csv', toCsv(products));
    const out = workspace.path('out.parquet');
    const command = ['run', file, '--out', out, '--run', 'R', '--chunk-size', '10'];
    const cli = start([...command, '--local']);
    await expect.poll(() => queues.results.getWaitingCount(), { ...PATIENCE, interval: 5 }).toBeGreaterThan(20);
    cli.kill('SIGINT');
    expect(await cli.ended).toBe(130);
    expect(await workspace.names()).toEqual(['c.csv']);
    const again = await runCli([...command, '--local', '--json'], { env: queues.env });
    expect(again.code).toBe(0);
    const { sentBefore, jobs } = JSON.parse(again.stdout).import;
    expect(sentBefore.jobs).toBeGreaterThan(0);
    expect(sentBefore.jobs).toBeLessThan(jobs);
    expectCategories(await readOutcomes(out, 'parquet'), products);
  });
});

describe('run that fails', () => {
  it('because there is no Redis says so in one line and writes nothing', async () => {
    const file = await workspace.write('c.csv', toCsv(makeProducts(3)));
    const env = { REDIS_URL: 'redis://127.0.0.1:1' };
    const { code, stdout, stderr } = await runCli(['run', file, '--out', workspace.path('out.csv')], { env });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^REDIS_UNAVAILABLE: Redis at redis:\/\/127\.0\.0\.1:1 [^\n]+\n$/);
    expect(code).toBe(1);
    expect(await workspace.names()).toEqual(['c.csv']);
  });

  it.each([
    ['while it waits for workers', '100'],
    ['while it waits for room', '1'],
  ])('because Redis goes away %s says so in one line, and the output is as it was', async (_case, maxPending) => {
    const redis = await startRedis();
    onTestFinished(redis.remove);
    const file = await workspace.write('c.csv', toCsv(makeProducts(20_000)));
    const out = await workspace.write('out.csv', '');
    const cli = start(['run', file, '--out', out, '--chunk-size', '1000', '--max-pending', maxPending], {
      REDIS_URL: redis.url,
    });
    await expect.poll(cli.stderr, PATIENCE).toMatch(maxPending === '1' ? /--max-pending/ : /no worker is connected/);
    const said = cli.stderr();
    await redis.stop();
    expect(await cli.ended).toBe(1);
    expect(cli.stdout()).toBe('');
    expect(cli.stderr().slice(said.length)).toMatch(/^REDIS_UNAVAILABLE: [^\n]+\n$/);
    expect(await workspace.names()).toEqual(['c.csv', 'out.csv']);
    expect(await workspace.read('out.csv')).toBe('');
  });

  it('because another file was sent under the same --run leaves the output alone', async () => {
    const out = workspace.path('out.csv');
    await run(await workspace.write('c.csv', toCsv(makeProducts(3))), '--out', out, '--run', 'R', '--local');
    const before = await workspace.read('out.csv');
    const changed = await workspace.write('c.csv', toCsv(makeProducts(3, 2)));
    const { code, stdout, stderr } = await run(changed, '--out', out, '--run', 'R', '--local');
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^RUN_CONFLICT: [^\n]+\n$/);
    expect(code).toBe(1);
    expect(await workspace.read('out.csv')).toBe(before);
    expect(await workspace.names()).toEqual(['c.csv', 'out.csv']);
  });

  it('because the output is a file of somebody else leaves that alone', async () => {
    const out = await workspace.write('out.csv', 'name,price\nscreen,3\n');
    const file = await workspace.write('c.csv', toCsv(makeProducts(3)));
    const { code, stderr } = await run(file, '--out', out, '--local');
    expect(stderr).toMatch(/^OUTPUT_CONFLICT: [^\n]+\n$/);
    expect(code).toBe(1);
    expect(await workspace.read('out.csv')).toBe('name,price\nscreen,3\n');
  });

  it('because the model of --local is not there says so, and writes nothing', async () => {
    const file = await workspace.write('c.csv', toCsv(makeProducts(3)));
    const { code, stdout, stderr } = await runCli(['run', file, '--out', workspace.path('out.csv'), '--local'], {
      env: { ...queues.env, MODEL_PATH: workspace.path('none.onnx') },
    });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^MODEL_NOT_FOUND: [^\n]+\n$/);
    expect(code).toBe(1);
    expect(await workspace.names()).toEqual(['c.csv']);
  });
});
