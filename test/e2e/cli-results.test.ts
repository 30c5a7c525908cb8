import { mkdir, readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import type { ProductOutcome } from '../../src/contract/index.ts';
import { writeParquet } from '../support/bulk-input.ts';
import { addResult, categorized, openQueues, type Queues, TEST_MODEL } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { readRows as readOutcomes } from '../support/files-results.ts';
import { readRows } from '../support/load.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts } from '../support/products.ts';

const HEADER = 'product_id,category_code,confidence,reject_code,reject_message,model_version,result_id\n';

let workspace: Workspace;
let queues: Queues;
let out: string;

beforeEach(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
  out = workspace.path('out.csv');
});
afterEach(async () => {
  await queues.close();
  await workspace.remove();
});

const results = (...args: string[]) => runCli(['results', ...args], { env: queues.env });
const add = (jobId: string, products: readonly ProductOutcome[], runId: string | undefined = 'R') =>
  addResult(queues.results, { jobId, runId, products });
const left = () => queues.results.getWaitingCount();
const ids = async (path: string) => (await readRows(path)).map(({ productId }) => productId);

const HOSTILE: readonly ProductOutcome[] = [
  categorized('a,"b"', 'AUTOPECAS', 0.25),
  { productId: 'line\nbreak', reject: { code: 'INVALID_PRODUCT_ID', message: 'no, "not" this' } },
  { productId: null, reject: { code: 'WRONG_WIDTH', message: 'expected 16 features, got 2' } },
];
const HOSTILE_CSV = [
  '"a,""b""",AUTOPECAS,0.25,,,v1,r-1',
  '"line\nbreak",,,INVALID_PRODUCT_ID,"no, ""not"" this",v1,r-1',
  ',,,WRONG_WIDTH,"expected 16 features, got 2",v1,r-1',
  '',
].join('\n');

describe('results', () => {
  it('moves a run from the queue to a CSV file and says what was in it', async () => {
    await add('1', HOSTILE);
    await add('2', [categorized('P4', 'INFORMATICA', 1)]);
    const { code, stdout, stderr } = await results('--run', 'R', '--out', out);
    expect(await workspace.read('out.csv')).toBe(`${HEADER}${HOSTILE_CSV}P4,INFORMATICA,1,,,v1,r-2\n`);
    expect(stderr).toBe('');
    expect(stdout).toMatch(
      /^run +R\nproducts +4\ncategorized +2\nrejected +2 \(.*WRONG_WIDTH 1.*\)\ncategories +AUTOPECAS 50\.0 %, .+\nconfidence +0\.625 on average\nto review +1 below 0\.7\n/,
    );
    expect(stdout).toMatch(/^model v1 \(a{12}\) +4 products$/m);
    expect(stdout).toContain(out);
    expect(code).toBe(3);
    expect(await left()).toBe(0);
    expect(await workspace.names()).toEqual(['out.csv']);
  });

  it.each([
    ['by the ending of --out', 'out.jsonl', []],
    ['by the ending of --out', 'out.ndjson', []],
    ['by --format', 'out.csv', ['--format', 'jsonl']],
  ])('writes JSON lines %s (%s)', async (_how, name, args) => {
    await add('1', HOSTILE);
    const { code, stdout, stderr } = await results('--run', 'R', '--out', workspace.path(name), '--json', ...args);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      runId: 'R',
      out: workspace.path(name),
      results: 1,
      products: 3,
      categorized: 1,
      rejected: 2,
      byCategory: { AUTOPECAS: 1 },
      rejectedByCode: { INVALID_PRODUCT_ID: 1, WRONG_WIDTH: 1 },
      meanConfidence: 0.25,
      toReview: 1,
      duplicates: 0,
      unreadable: 0,
      foreign: 0,
      written: true,
      models: [{ ...TEST_MODEL, products: 3 }],
      held: [],
      failedJobs: {},
      missingJobs: 0,
    });
    expect(code).toBe(3);
    expect(await readRows(workspace.path(name))).toEqual(
      HOSTILE.map((row) => ({ ...row, modelVersion: 'v1', resultId: 'r-1' })),
    );
  });

  it('without --out prints the rows to stdout and the summary to stderr', async () => {
    await add('1', [categorized('P1')]);
    const { code, stdout, stderr } = await results('--all');
    expect(stdout).toBe(`${HEADER}P1,AUTOPECAS,0.5,,,v1,r-1\n`);
    expect(stderr).toMatch(
      /^products +1\ncategorized +1\nrejected +0\ncategories +AUTOPECAS 100\.0 %\nconfidence +0\.500 on average\nto review +1 below 0\.7\nfailed jobs +0\nmodel v1 .+ 1 product\nrecord +none: .+\n$/,
    );
    expect(code).toBe(0);
    expect(await left()).toBe(0);
  });

  it('--format goes for stdout, too', async () => {
    await add('1', [categorized('P1')]);
    const { stdout } = await results('--all', '--format', 'jsonl');
    expect(JSON.parse(stdout)).toEqual({ ...categorized('P1'), modelVersion: 'v1', resultId: 'r-1' });
  });

  it.each(['out.csv', 'out.jsonl'])('a second time keeps the rows of %s and adds the new ones', async (name) => {
    const path = workspace.path(name);
    await add('1', HOSTILE);
    await results('--run', 'R', '--out', path);
    const first = await workspace.read(name);
    await add('2', [categorized('P4')]);
    const { code, stdout } = await results('--run', 'R', '--out', path, '--json');
    expect(JSON.parse(stdout)).toMatchObject({ results: 1, products: 1, duplicates: 0 });
    expect(code).toBe(0);
    const second = await workspace.read(name);
    expect(second.slice(0, first.length)).toBe(first);
    expect(second.slice(first.length)).toMatch(/^.*P4.*r-2.*\n$/);
  });

  it('writes Parquet by the ending of --out, and a second time keeps its rows and adds the new ones', async () => {
    const path = workspace.path('out.parquet');
    await add('1', HOSTILE);
    expect((await results('--run', 'R', '--out', path)).code).toBe(3);
    const first = await readOutcomes(path, 'parquet');
    expect(first).toEqual([
      ['a,"b"', 'AUTOPECAS', 0.25, null, null, 'v1', 'r-1'],
      ['line\nbreak', null, null, 'INVALID_PRODUCT_ID', 'no, "not" this', 'v1', 'r-1'],
      [null, null, null, 'WRONG_WIDTH', 'expected 16 features, got 2', 'v1', 'r-1'],
    ]);
    await add('2', [categorized('P4')]);
    expect((await results('--run', 'R', '--out', path)).code).toBe(0);
    expect(await readOutcomes(path, 'parquet')).toEqual([...first, ['P4', 'AUTOPECAS', 0.5, null, null, 'v1', 'r-2']]);
    expect(await left()).toBe(0);
    expect(await workspace.names()).toEqual(['out.parquet']);
  });

  it('counts what is worth a review below --review-below', async () => {
    await add('1', [categorized('P1', 'A', 0.5), categorized('P2', 'A', 0.75), categorized('P3', 'A', 0.875)]);
    const { stdout } = await results('--run', 'R', '--out', out, '--review-below', '0.875', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ toReview: 2, meanConfidence: (0.5 + 0.75 + 0.875) / 3 });
  });

  it('with nothing new leaves the file as it is and says so', async () => {
    await add('1', HOSTILE);
    await results('--run', 'R', '--out', out);
    const first = await workspace.read('out.csv');
    const { code, stdout, stderr } = await results('--run', 'R', '--out', out, '--json');
    expect(JSON.parse(stdout)).toMatchObject({ results: 0, products: 0 });
    expect(stderr).toBe('no new results on the queue\n');
    expect(code).toBe(0);
    expect(await workspace.read('out.csv')).toBe(first);
    // A file that holds none of them would say that there was nothing.
    const other = await results('--run', 'R', '--out', workspace.path('other.csv'), '--json');
    expect(other.stdout).toBe('');
    expect(other.stderr).toMatch(/^RUN_COLLECTED: what came of run R was collected before, .* no file was written; /m);
    expect(other.code).toBe(1);
    expect(await workspace.names()).toEqual(['out.csv']);
  });

  it('collects results of more than one page, each once and in the order of the queue', async () => {
    const jobs = Array.from({ length: 1300 }, (_, i) => i);
    await Promise.all(jobs.map((i) => add(`job-${i}`, [categorized(`P${i}`)])));
    const path = workspace.path('out.jsonl');
    expect((await results('--run', 'R', '--out', path)).code).toBe(0);
    expect(await ids(path)).toEqual(jobs.map((i) => `P${i}`));
    expect(await left()).toBe(0);
  });

  it('takes one run with --run, and every result with --all', async () => {
    await add('a', [categorized('PA')], 'A');
    await add('b', [categorized('PB')], 'B');
    await addResult(queues.results, { jobId: 'none', products: [categorized('PN')] });
    expect((await results('--run', 'B', '--out', workspace.path('b.jsonl'))).code).toBe(0);
    expect(await ids(workspace.path('b.jsonl'))).toEqual(['PB']);
    expect(await left()).toBe(2);
    const all = await results('--all', '--out', workspace.path('all.jsonl'), '--json');
    expect(JSON.parse(all.stdout)).not.toHaveProperty('runId');
    expect(await ids(workspace.path('all.jsonl'))).toEqual(['PA', 'PN']);
    expect(await left()).toBe(0);
  });
});

describe('a second result for the same input job', () => {
  it.each([
    ['to the same file', 'out.csv'],
    ['to another file', 'other.csv'],
  ])('is dropped when the first was collected and removed (%s)', async (_case, second) => {
    await add('1', [categorized('P1', 'AUTOPECAS')]);
    await results('--run', 'R', '--out', out);
    expect(await queues.results.getJob('r-1')).toBeUndefined();
    await add('1', [categorized('P1', 'INFORMATICA')]);
    const { code, stdout, stderr } = await results('--run', 'R', '--out', workspace.path(second));
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^collected before +1 results, dropped$/m);
    expect(code).toBe(0);
    expect(await workspace.read('out.csv')).toBe(`${HEADER}P1,AUTOPECAS,0.5,,,v1,r-1\n`);
    expect(await workspace.read(second)).not.toContain('INFORMATICA');
    expect(await left()).toBe(0);
  });

  it('is dropped when it is in the file and nothing else remembers it', async () => {
    await add('1', [categorized('P1')]);
    await results('--run', 'R', '--out', out);
    const file = await workspace.read('out.csv');
    await queues.redis.del(await queues.redis.keys(`${queues.prefix}:collected:*`));
    await add('1', [categorized('P1')]);
    const { stdout } = await results('--run', 'R', '--out', out, '--json');
    expect(JSON.parse(stdout)).toMatchObject({ results: 0, duplicates: 1 });
    expect(await workspace.read('out.csv')).toBe(file);
    expect(await left()).toBe(0);
  });
});

const OTHER_PARQUET = 'a table of other columns';

describe('results that cannot be written', () => {
  beforeEach(() => add('1', [categorized('P1')]));

  it.each([
    ['text', 'out.csv', 'a 19" screen\n'],
    ['another table', 'out.csv', 'product_id,category\nP1,X\n'],
    ['JSON lines where CSV is to be', 'out.csv', '{"productId":"P1","resultId":"r-1"}\n'],
    ['JSON lines of something else', 'out.jsonl', '{"productId":"P1"}\n'],
    ['CSV where JSON lines are to be', 'out.jsonl', HEADER],
    ['CSV where Parquet is to be', 'out.parquet', HEADER],
    ['Parquet of something else', 'other.parquet', OTHER_PARQUET],
  ])('into a file of somebody else (%s, %s) leave it and the queue alone', async (_case, name, content) => {
    if (content === OTHER_PARQUET) await writeParquet(workspace.path(name), makeProducts(1), 'productId');
    else await workspace.write(name, content);
    const before = await readFile(workspace.path(name));
    const { code, stdout, stderr } = await results('--all', '--out', workspace.path(name));
    expect(await readFile(workspace.path(name))).toEqual(before);
    expect(await workspace.names()).toEqual([name]);
    expect(await left()).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^OUTPUT_CONFLICT: .*\.(csv|jsonl|parquet) exists and .+\n$/);
    expect(code).toBe(1);
  });

  it.each([
    ['a directory that is not there', 'nowhere/out.csv'],
    ['a directory that is a file', 'file/out.csv'],
    ['a place where a directory is (CSV)', 'directory'],
    ['a place where a directory is (JSON lines)', 'directory.jsonl'],
  ])('into %s stay on the queue', async (_case, name) => {
    await workspace.write('file', '');
    await mkdir(workspace.path('directory'));
    await mkdir(workspace.path('directory.jsonl'));
    const { code, stdout, stderr } = await results('--all', '--out', workspace.path(name));
    expect(await left()).toBe(1);
    expect(await workspace.names()).toEqual(['directory', 'directory.jsonl', 'file']);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^OUTPUT_\w+: .+\n$/);
    expect(code).toBe(1);
  });
});

describe('a job on the results queue that is no result', () => {
  it('is left there, with a line on stderr, and the rest is collected', async () => {
    const data = { results: [categorized('P2')], model: TEST_MODEL, runId: 'R', jobId: 'x' };
    const foreign = [
      { name: 'thumbnail', data: { url: 'x' } },
      { name: 'categories', data: { ...data, results: [] } },
      { name: 'categories', data: { ...data, model: undefined } },
      { name: 'category', data },
      { name: 'category', data: null },
    ].map((job, i) => ({ ...job, opts: { jobId: `foreign-${i}` } }));
    await queues.results.addBulk(foreign);
    await add('1', [categorized('P1')]);
    const { code, stdout, stderr } = await results('--all');
    expect(stdout).toBe(`${HEADER}P1,AUTOPECAS,0.5,,,v1,r-1\n`);
    const warnings = stderr.split('\n').filter((line) => line.startsWith('{'));
    expect(warnings.map((line) => JSON.parse(line).resultId)).toEqual(foreign.map(({ opts }) => opts.jobId));
    expect(stderr).toMatch(/^unreadable +5 results, left on the queue; the log says why$/m);
    expect(code).toBe(1);
    expect((await queues.results.getWaiting()).map(({ id }) => id).sort()).toEqual(
      foreign.map(({ opts }) => opts.jobId),
    );
  });
});
