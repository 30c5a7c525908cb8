import { beforeAll, beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { payloadKeys } from '../support/bulk-chunks.ts';
import { type LiveCli, PATIENCE, startLive } from '../support/cli-live.ts';
import { addResult, categorized } from '../support/cli-queues.ts';
import { createWorkspace } from '../support/cli-workspace.ts';
import { predictedCategories } from '../support/load.ts';
import { type Nightly, openNightly } from '../support/nightly-commands.ts';
import { createErp, DATABASE_PASSWORD, WRITE_BACK } from '../support/nightly-erp.ts';
import { newModel } from '../support/nightly-models.ts';
import { createWay } from '../support/nightly-outage.ts';
import { type Environment, startWorker } from '../support/processes.ts';
import { makeProducts } from '../support/products.ts';
import { startRedis } from '../support/redis-server.ts';

const PRODUCTS = makeProducts(300);
const SLICES = 15;
const NIGHT = ['recategorize', '--run', 'night', ...WRITE_BACK, '--slice-size', '20'];

/** What `predict` says. */
let predicted: Map<string, string>;
let night: Nightly;

beforeAll(async () => {
  const workspace = await createWorkspace();
  predicted = await predictedCategories(PRODUCTS, workspace.directory);
  await workspace.remove();
});

async function createNight(redisUrl?: string): Promise<Nightly> {
  const erp = await createErp(inject('postgresUrl'));
  await erp.put(PRODUCTS);
  return openNightly(erp, { redisUrl });
}

/** Ends it as it should end. */
async function addWorker(settings: Environment = {}) {
  const worker = await startWorker({ ...night.env, ...settings });
  const stop = async () => {
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
  };
  onTestFinished(stop);
  return { stop };
}

/** A command that waits for workers: all of its chunks are on the queue, and it knows that. */
async function startWaiting(settings: Environment = {}): Promise<LiveCli> {
  const cli = startLive([...NIGHT, '--json'], { ...night.env, ...settings });
  onTestFinished(async () => {
    cli.kill('SIGKILL');
    await cli.ended;
  });
  const { redis, prefix } = night.queues;
  await expect.poll(() => redis.hlen(`${prefix}:chunks:night`), PATIENCE).toBe(SLICES);
  return cli;
}

/** Every product has its category, once, and nothing is left on the queues. */
async function expectAll(): Promise<void> {
  const { erp, queues } = night;
  expect(await erp.categories()).toEqual(predicted);
  expect(await erp.recorded()).toEqual(predicted);
  expect(await erp.rows('SELECT FROM categorizer.history')).toHaveLength(PRODUCTS.length);
  expect(await queues.results.getJobCountByTypes('waiting', 'active', 'delayed', 'failed')).toBe(0);
  expect(await payloadKeys(queues)).toEqual([]);
}

describe('recategorize', () => {
  beforeEach(async () => {
    night = await createNight();
  });

  it('with workers of another model fails and touches nothing; with the right ones runs resume ends it', async () => {
    const { erp, queues, json } = night;
    const worker = await addWorker(await newModel());
    const before = await erp.written();
    const failed = await json(NIGHT);
    expect(failed.said).toMatchObject({
      state: 'failed',
      failure: {
        state: 'running',
        code: 'MODEL_MISMATCH',
        message: expect.stringMatching(/^the run was planned for model [0-9a-f]{12} .* used model new .*runs resume$/),
      },
    });
    expect(failed.code).toBe(1);
    expect(await erp.written()).toEqual(before);
    // Of a run that nobody resumes nothing is left for others to collect.
    expect(await queues.results.getWaitingCount()).toBe(0);

    await worker.stop();
    const { code, said } = await json(['runs', 'resume', 'night', '--local']);
    expect(said).toMatchObject({ state: 'finished', counts: { added: 300 } });
    expect(code).toBe(0);
    await expectAll();
  });

  it('applies no answer of a job or a result that somebody else put under its ids', async () => {
    const { queues } = night;
    const chunk = (ids: readonly string[]) => ids.map((productId) => ({ productId, features: Array(16).fill(3) }));
    const ids = PRODUCTS.slice(0, 20).map(({ productId }) => productId);
    // A chunk of the same products with other vectors, and answers: of other products, and of fewer than the slice has.
    await queues.products.add('products', { products: chunk(ids) }, { jobId: 'night-0' });
    const answers = (count: number, start = '') =>
      Array.from({ length: count }, (_, i) => categorized(`${start}${ids[i]}`, 'MATERIAL_CONSTRUCAO', 1));
    await addResult(queues.results, { jobId: 'night-1', runId: 'night', products: answers(20, 'X') });
    await addResult(queues.results, { jobId: 'night-2', runId: 'night', products: answers(3) });
    await addWorker();
    const { code, said } = await night.json(NIGHT);
    expect(said).toMatchObject({ state: 'finished', counts: { added: 300, rejected: 0 } });
    expect(code).toBe(0);
    expect(await night.erp.categories()).toEqual(predicted);
    expect(await night.erp.recorded()).toEqual(predicted);
  });

  it('loses nothing when somebody else collects its results', async () => {
    const cli = await startWaiting();
    // While it does not look, all of them are made and taken.
    cli.kill('SIGSTOP');
    await addWorker();
    await expect.poll(() => night.queues.results.getWaitingCount(), PATIENCE).toBe(SLICES);
    const stolen = await night.run(['results', '--all', '--out', '-']);
    expect(stolen.stdout.trimEnd().split('\n')).toHaveLength(1 + PRODUCTS.length);
    expect(await night.queues.results.getWaitingCount()).toBe(0);
    cli.kill('SIGCONT');
    expect(await cli.ended).toBe(0);
    expect(JSON.parse(cli.stdout())).toMatchObject({ state: 'finished', counts: { added: 300, rejected: 0 } });
    await expectAll();
  });

  it('keeps others from starting while it waits; interrupted, it goes on with runs resume', async () => {
    const { run, json } = night;
    const cli = await startWaiting();
    const second = await run(['recategorize', '--run', 'other', ...WRITE_BACK]);
    expect(second.stderr).toMatch(
      /^RUN_LOCKED: run night holds the lock since 2\d{3}-\S+Z and is running: categorizer runs resume night goes on/,
    );
    expect(second.code).toBe(1);

    cli.kill('SIGINT');
    expect(await cli.ended).toBe(130);
    expect(cli.stdout()).toBe('');
    expect(cli.stderr()).toMatch(/^INTERRUPTED: [^\n]*run night is running; categorizer runs resume night goes on/m);
    // It works, or would: that is no failure.
    expect(await json(['runs', 'show', 'night'])).toMatchObject({ code: 0, said: { state: 'running' } });

    const { code, said } = await json(['runs', 'resume', 'night', '--local']);
    expect(said).toMatchObject({ state: 'finished', counts: { added: 300 } });
    expect(code).toBe(0);
    await expectAll();
  });

  it('waits for a database that goes away in the middle, and says so', async () => {
    const way = await createWay(night.env.DATABASE_URL);
    onTestFinished(way.close);
    const cli = await startWaiting({ DATABASE_URL: way.url });
    await way.close();
    await expect.poll(cli.stderr, PATIENCE).toMatch(/\nDATABASE_UNAVAILABLE: [^\n]+; it is waited for\n/);
    await way.open();
    await addWorker();
    expect(await cli.ended, cli.stderr()).toBe(0);
    expect(cli.stderr()).not.toContain(DATABASE_PASSWORD);
    expect(JSON.parse(cli.stdout())).toMatchObject({ state: 'finished', counts: { added: 300, rejected: 0 } });
    await expectAll();
  });

  it('can be cancelled before it is applied: nothing changes, and its chunks leave the queue', async () => {
    const { erp, queues, json, run } = night;
    const cli = await startWaiting();
    const before = await erp.written();
    expect(await run(['runs', 'cancel', 'night', '--by', 'ana'])).toMatchObject({ code: 0, stderr: '' });
    expect(await cli.ended).toBe(1);
    expect(JSON.parse(cli.stdout())).toMatchObject({ state: 'cancelled', decidedBy: 'ana' });
    expect(await erp.written()).toEqual(before);
    expect(await queues.products.getJobCountByTypes('waiting', 'active', 'delayed')).toBe(0);
    expect(await payloadKeys(queues)).toEqual([]);
    expect(await json(['recategorize', '--run', 'night-2', ...WRITE_BACK, '--local'])).toMatchObject({
      code: 0,
      said: { counts: { added: 300 } },
    });
  });
});

it('a Redis that loses everything in the middle of a run delays it, and no more', async () => {
  const redis = await startRedis();
  onTestFinished(redis.remove);
  night = await createNight(redis.url);
  const cli = await startWaiting();
  await night.queues.redis.flushall();
  await expect.poll(cli.stderr, PATIENCE).toContain('\nno worker is connected: start one with: categorizer worker\n');
  await addWorker();
  expect(await cli.ended).toBe(0);
  expect(JSON.parse(cli.stdout())).toMatchObject({ state: 'finished', counts: { added: 300, rejected: 0 } });
  await expectAll();
});
