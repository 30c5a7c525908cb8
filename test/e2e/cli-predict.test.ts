import { execFileSync } from 'node:child_process';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { PATIENCE, startLive } from '../support/cli-live.ts';
import { openQueues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { readRows as readOutcomes } from '../support/files-results.ts';
import { readRows, untilDone } from '../support/load.ts';
import { runCli, startWorker } from '../support/processes.ts';
import { makeProducts, SYNTHETIC_NOTE, toCsv, WIDTH } from '../support/products.ts';

const HEADER = 'product_id,category_code,confidence,reject_code,reject_message,model_version,result_id';
// Nothing listens on port 1: predict needs no queue.
const env = { REDIS_URL: 'redis://127.0.0.1:1' };

let workspace: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
});
afterEach(() => workspace.remove());

const predict = (args: readonly string[], input?: string) => runCli(['predict', ...args], { env, input });
const vectorOf = (value: number | string) => Array.from({ length: WIDTH }, () => value).join(',');

/** A file with one good product of each category and a bad row of each kind between them. */
const MIXED = [
  toCsv([]).trimEnd(),
  `P1,${vectorOf(0)}`,
  'P2,1,2',
  `P3,${vectorOf(3)}`,
  `"P,4",${vectorOf('x')}`,
  `,${vectorOf(3)}`,
  `P6,${vectorOf(3e38)}`,
  `"P""7",${vectorOf(-3)}`,
  '',
].join('\n');

describe('predict', () => {
  it('prints the categorized products in the order of the input, then the rejected rows, and the summary on stderr', async () => {
    const { code, stdout, stderr } = await predict([await workspace.write('c.csv', MIXED)]);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toBe(HEADER);
    expect(lines.slice(1).map((line) => line.replace(/(,[01]\.\d+|,1),,,/, ',CONFIDENCE,,,'))).toEqual([
      expect.stringMatching(/^P1,AUTOPECAS,CONFIDENCE,,,[0-9a-z]+,$/),
      expect.stringMatching(/^P3,INFORMATICA,CONFIDENCE,,,\w+,$/),
      // It is the model that cannot do this one.
      expect.stringMatching(/^P6,,,PREDICTION_FAILED,.+,\w+,$/),
      expect.stringMatching(/^"P""7",MATERIAL_CONSTRUCAO,CONFIDENCE,,,\w+,$/),
      expect.stringMatching(/^,,,INVALID_ROW,"expected 17 columns, got 3",\w+,$/),
      expect.stringMatching(/^"P,4",,,NON_FINITE_FEATURE,"feature 0 .*""x"".*feature 15 .*""x""",\w+,$/),
      expect.stringMatching(/^,,,INVALID_PRODUCT_ID,.+,\w+,$/),
    ]);
    expect(stderr).toMatch(
      /^products +7\ncategorized +3\nrejected +4 \(.+\)\ncategories +.*INFORMATICA 33\.3 %.*\nconfidence +[01]\.\d{3} on average\nto review +\d below 0\.7\nunlike training +0 \(0\.0 %\) lie far outside [^\n]+\nthe model [^\n]+ synthetic data: [^\n]+\n$/,
    );
    expect(code).toBe(3);
  });

  it('gives JSON lines where --out ends so, and one JSON object as the summary', async () => {
    const out = workspace.path('out.jsonl');
    const { code, stdout, stderr } = await predict([await workspace.write('c.csv', MIXED), '--out', out, '--json']);
    expect(stderr).toMatch(SYNTHETIC_NOTE);
    expect(JSON.parse(stdout)).toEqual({
      out,
      products: 7,
      categorized: 3,
      rejected: 4,
      byCategory: { AUTOPECAS: 1, INFORMATICA: 1, MATERIAL_CONSTRUCAO: 1 },
      rejectedByCode: { INVALID_ROW: 1, NON_FINITE_FEATURE: 1, INVALID_PRODUCT_ID: 1, PREDICTION_FAILED: 1 },
      meanConfidence: expect.any(Number),
      toReview: expect.any(Number),
      outside: 0,
      models: [{ version: expect.any(String), sha256: expect.any(String), products: 7 }],
    });
    expect(code).toBe(3);
    const rows = await readRows(out);
    expect(rows.map(({ productId, categoryCode, reject }) => [productId, categoryCode ?? reject?.code])).toEqual([
      ['P1', 'AUTOPECAS'],
      ['P3', 'INFORMATICA'],
      ['P6', 'PREDICTION_FAILED'],
      ['P"7', 'MATERIAL_CONSTRUCAO'],
      [null, 'INVALID_ROW'],
      ['P,4', 'NON_FINITE_FEATURE'],
      ['', 'INVALID_PRODUCT_ID'],
    ]);
    expect(await workspace.names()).toEqual(['c.csv', 'out.jsonl']);
  });

  it('writes Parquet where --out ends so, the same rows as CSV', async () => {
    const file = await workspace.write('c.csv', MIXED);
    for (const name of ['out.parquet', 'out.csv']) {
      expect((await predict([file, '--out', workspace.path(name)])).code).toBe(3);
    }
    const [parquet, csv] = await Promise.all([
      readOutcomes(workspace.path('out.parquet'), 'parquet'),
      readOutcomes(workspace.path('out.csv'), 'csv'),
    ]);
    // An empty cell of CSV is nothing, as a null is.
    expect(parquet.map((row) => row.map((cell) => (cell === '' ? null : cell)))).toEqual(csv);
    expect(parquet).toHaveLength(7);
  });

  it('says how many products are unlike those that the model was trained on, and warns where they are many', async () => {
    const products = makeProducts(30).map((product, i) =>
      i < 6 ? { ...product, features: product.features.map((value) => value + 8) } : product,
    );
    const { code, stdout, stderr } = await predict([
      await workspace.write('c.csv', toCsv(products)),
      ...['--out', workspace.path('o.csv')],
    ]);
    expect(stdout).toMatch(/^unlike training +6 \(20\.0 %\) lie far outside of what the model was trained on$/m);
    expect(stderr).toMatch(/\n20\.0 % of the products lie far outside of what the model was trained on: [^\n]+\n$/);
    expect(code).toBe(0);
  });

  it('counts what is worth a review below --review-below', async () => {
    const file = await workspace.write('c.csv', MIXED);
    const toReview = async (below: string) => {
      const { stdout } = await predict([file, '--out', workspace.path('o.csv'), '--review-below', below, '--json']);
      return JSON.parse(stdout).toReview;
    };
    expect([await toReview('0'), await toReview('1')]).toEqual([0, 3]);
  });

  it('reads standard input, in the format that is said', async () => {
    const line = `{"productId":"P1","features":[${vectorOf(3)}]}\n`;
    const { code, stdout } = await predict(['-', '--format', 'jsonl'], line);
    expect(stdout).toMatch(new RegExp(`^${HEADER}\nP1,INFORMATICA,[01][.\\d]*,,,\\w+,\n$`));
    expect(code).toBe(0);
  });

  it('of a header and nothing else is done, with a header and nothing else', async () => {
    const { code, stdout } = await predict(['-'], toCsv([]));
    expect(stdout).toBe(`${HEADER}\n`);
    expect(code).toBe(0);
  });

  it('says of every product what the worker says', async () => {
    const file = await workspace.write('c.csv', toCsv(makeProducts(700)));
    const queues = openQueues(inject('redisUrl'));
    const worker = await startWorker(queues.env);
    try {
      const sent = await runCli(['enqueue', file, '--run', 'R', '--chunk-size', '50'], { env: queues.env });
      expect(sent.code).toBe(0);
      await untilDone(queues.products);
      await runCli(['results', '--run', 'R', '--out', workspace.path('queue.jsonl')], { env: queues.env });
      expect((await predict([file, '--out', workspace.path('here.jsonl')])).code).toBe(0);
      const here = await readRows(workspace.path('here.jsonl'));
      const onQueue = new Map((await readRows(workspace.path('queue.jsonl'))).map((row) => [row.productId, row]));
      expect([...onQueue.keys()].sort()).toEqual(here.map(({ productId }) => productId).sort());
      for (const { productId, categoryCode, confidence } of here) {
        const same = onQueue.get(productId);
        expect(same?.categoryCode).toBe(categoryCode);
        expect(same?.confidence).toBeCloseTo(Number(confidence), 5);
      }
    } finally {
      worker.kill('SIGTERM');
      await worker.ended;
      await queues.close();
    }
  });
});

describe('predict that fails', () => {
  it.each([
    ['a file that is not there', undefined, /^INPUT_NOT_READABLE: .*ENOENT/],
    ['a width that is not the model’s', 'product_id,f0\nP1,1\n', /^WRONG_WIDTH: .*expects 16 feature columns.*got 1/],
    ['a gzipped file that is cut off', gzipSync(MIXED).subarray(0, -20), /^INPUT_NOT_READABLE: .*c\.csv/],
  ])('at %s leaves the output as it was', async (_case, content, message) => {
    if (content !== undefined) await workspace.write('c.csv', content);
    await workspace.write('out.csv', 'of yesterday\n');
    const { code, stdout, stderr } = await predict([workspace.path('c.csv'), '--out', workspace.path('out.csv')]);
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
    expect(await workspace.read('out.csv')).toBe('of yesterday\n');
    expect((await workspace.names()).filter((name) => name !== 'c.csv')).toEqual(['out.csv']);
  });

  it.each([
    ['a directory that is not there', 'nowhere/out.csv'],
    ['a directory', 'directory'],
  ])('because the output is in %s says so and leaves nothing', async (_case, out) => {
    await mkdir(workspace.path('directory'));
    const file = await workspace.write('c.csv', toCsv(makeProducts(3)));
    const { code, stdout, stderr } = await predict([file, '--out', workspace.path(out)]);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^OUTPUT_NOT_WRITABLE: cannot write .+\n$/);
    expect(code).toBe(1);
    expect(await workspace.names()).toEqual(['c.csv', 'directory']);
  });

  it('because the output is no regular file leaves that alone', async () => {
    execFileSync('mkfifo', [workspace.path('pipe')]);
    const file = await workspace.write('c.csv', toCsv(makeProducts(3)));
    const { code } = await predict([file, '--out', workspace.path('pipe')]);
    expect((await stat(workspace.path('pipe'))).isFIFO()).toBe(true);
    expect(code).toBe(1);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('at the first %s while standard input gives nothing ends with %i', async (signal, exitCode) => {
    const temporary = workspace.path('tmp');
    await mkdir(temporary);
    const cli = startLive(['predict', '-'], { ...env, TMPDIR: temporary });
    try {
      cli.stdin.write(toCsv(makeProducts(4)));
      // All of it is read before anything is categorized.
      await expect
        .poll(async () => (await readdir(temporary, { recursive: true })).length, PATIENCE)
        .toBeGreaterThan(1);
      cli.kill(signal);
      await expect.poll(cli.exit, { timeout: 5_000 }).toEqual({ code: exitCode, signal: null });
      expect(cli.stdout()).toBe('');
      expect(await readdir(temporary)).toEqual([]);
    } finally {
      cli.kill('SIGKILL');
      await cli.ended;
    }
  });
});
