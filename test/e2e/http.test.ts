import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type Answer, ask, postPredict, scrape } from '../support/cli-http.ts';
import { PATIENCE } from '../support/cli-live.ts';
import { sampleValue } from '../support/cli-metrics.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { runCli, startWorker, type WorkerProcess } from '../support/processes.ts';
import { makeProducts, WIDTH } from '../support/products.ts';

const GOOD = Array.from({ length: WIDTH }, () => 3);
const withFeature = (value: unknown) => ({ features: [...GOOD.slice(1), value] });

let queues: Queues;
let worker: WorkerProcess;

beforeAll(async () => {
  queues = openQueues(inject('redisUrl'));
  worker = await startWorker({ ...queues.env, BATCH_MAX_WAIT_MS: '50' });
});
afterAll(async () => {
  worker.kill('SIGTERM');
  expect(await worker.ended).toBe(0);
  await queues.close();
});

describe('GET /healthz', () => {
  it('answers ok', async () => {
    expect(await ask(worker, '/healthz')).toMatchObject({ status: 200, body: { status: 'ok' } });
  });
});

describe('GET /readyz', () => {
  it('answers ready when Redis is there', async () => {
    await expect.poll(() => ask(worker, '/readyz'), PATIENCE).toMatchObject({ status: 200, body: { status: 'ready' } });
  });
});

describe('POST /predict', () => {
  it('gives the same category and probability as the predict command', async () => {
    const products = makeProducts(6);
    const input = products.map((product) => `${JSON.stringify(product)}\n`).join('');
    const { code, stdout, stderr } = await runCli(['predict', '-'], { input });
    expect(code, stderr).toBe(0);
    const said = stdout.trimEnd().split('\n').slice(1);
    const answers = await Promise.all(products.map(({ features }) => postPredict(worker, { features })));
    for (const [i, { status, body }] of answers.entries()) {
      const [, categoryCode, confidence] = said[i].split(',');
      expect(status).toBe(200);
      expect(Object.keys(body).sort()).toEqual(['category_code', 'category_name', 'probabilities']);
      expect(body.category_code).toBe(categoryCode);
      const probabilities = Array.isArray(body.probabilities) ? body.probabilities.map(Number) : [];
      expect(probabilities).toHaveLength(3);
      expect(Math.max(...probabilities)).toBeCloseTo(Number(confidence), 5);
      expect(probabilities.reduce((sum, probability) => sum + probability, 0)).toBeCloseTo(1, 5);
    }
  });

  it('reads JSON whatever its content type says', async () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    expect((await postPredict(worker, { features: GOOD }, headers)).status).toBe(200);
  });

  it.each([
    ['too few features', { features: GOOD.slice(1) }, 'WRONG_WIDTH', 'expected 16 features, got 15'],
    ['too many features', { features: [...GOOD, 3] }, 'WRONG_WIDTH', 'expected 16 features, got 17'],
    ['features that are an object', { features: { length: 16 } }, 'WRONG_WIDTH', 'expected 16 features, got an object'],
    ['features that are null', { features: null }, 'WRONG_WIDTH', 'expected 16 features, got null'],
    ['a null among the features', withFeature(null), 'NON_FINITE_FEATURE', 'feature 15 .*: null'],
    ['a string among the features', withFeature('1.5'), 'NON_FINITE_FEATURE', 'feature 15 .*: "1.5"'],
    ['a list among the features', withFeature([1]), 'NON_FINITE_FEATURE', 'feature 15 .*: an array'],
    ['a number beyond float32', withFeature(1e39), 'NON_FINITE_FEATURE', 'feature 15 .*: 1e\\+39'],
  ])('refuses %s and says what was expected', async (_case, request, code, message) => {
    const { status, body } = await postPredict(worker, request);
    expect(status).toBe(400);
    expect(body).toEqual({ code, error: expect.stringMatching(message) });
  });

  it.each([
    ['text that is no JSON', '{"features":', /JSON/],
    ['a list', JSON.stringify(GOOD), /expected a JSON object with features, got an array/],
    ['an object without features', '{"feature":[1]}', /expected a JSON object with features, got an object/],
    ['null', 'null', /expected a JSON object with features, got null/],
    ['a string', '"features"', /expected a JSON object with features, got "features"/],
    ['nothing', '', /expected a JSON object with features, got /],
    ['a number beyond float64', `{"features":[${[...GOOD.slice(1), '1e400']}]}`, /feature 15 .*: Infinity/],
    ['NaN, which JSON has not', '{"features":[NaN]}', /JSON/],
  ])('refuses %s with 400 and a sentence', async (_case, text, message) => {
    const { status, body, type } = await ask(worker, '/predict', { method: 'POST', body: text });
    expect(status).toBe(400);
    expect(body.error).toMatch(message);
    expect(type).toMatch(/^application\/json/);
  });

  const large = JSON.stringify({ features: GOOD, padding: 'x'.repeat(2 << 20) });
  it.each<[string, () => RequestInit]>([
    ['that says its length', () => ({ body: large })],
    ['that does not', () => ({ body: new Blob([large]).stream(), duplex: 'half' })],
  ])('refuses a body of 2 MiB %s with 413 and the limit', async (_case, request) => {
    const { status, body } = await ask(worker, '/predict', { method: 'POST', ...request() });
    expect(status).toBe(413);
    expect(body.error).toMatch(/too large.*1048576/);
  });

  it('answers 64 requests at once from fewer batches than requests', async () => {
    const before = await scrape(worker);
    const products = makeProducts(64, 3);
    const answers = await Promise.all(products.map(({ features }) => postPredict(worker, { features })));
    const after = await scrape(worker);
    expect(answers.map(({ status }) => status)).toEqual(products.map(() => 200));
    const grown = (name: string) => sampleValue(after, name) - sampleValue(before, name);
    expect(grown('categorizer_batch_rows_sum')).toBe(64);
    expect(grown('categorizer_batch_rows_count')).toBeLessThan(64);
  });
});

describe('what is not there', () => {
  it.each([
    ['GET', '/'],
    ['GET', '/predict/1'],
    ['POST', '/nothing?really'],
    ['GET', '/%E0%A4%A'],
  ])('%s %s is answered with 404 and JSON', async (method, path) => {
    const { status, body, type } = await ask(worker, path, { method });
    expect(status).toBe(404);
    expect(body.error).toMatch(new RegExp(`^no such route: ${method} /`));
    expect(type).toMatch(/^application\/json/);
  });

  it.each([
    ['GET', '/predict'],
    ['DELETE', '/predict'],
    ['POST', '/healthz'],
    ['PUT', '/metrics'],
  ])('%s %s, a wrong method, is refused with JSON', async (method, path) => {
    const { status, body } = await ask(worker, path, { method });
    expect([404, 405]).toContain(status);
    expect(body.error).toContain(`${method} ${path}`);
  });
});

describe('the request id', () => {
  const idOf = async (given?: string) =>
    (await ask(worker, '/healthz', { headers: given === undefined ? {} : { 'x-request-id': given } })).requestId;

  it.each(['a', 'req-1', 'A.b_c:d-9', 'x'.repeat(100)])('%s is given back', async (id) => {
    expect(await idOf(id)).toBe(id);
  });

  it.each(['<script>', 'a b', 'a,b', '{"a":1}', 'é', 'x'.repeat(101), ''])('%s is replaced', async (id) => {
    expect(await idOf(id)).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('is made up where none came, a new one each time', async () => {
    const ids = await Promise.all([idOf(), idOf(), idOf()]);
    expect(new Set(ids).size).toBe(3);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('is on errors as well', async () => {
    const headers = { 'x-request-id': 'mine' };
    const answers: Answer[] = await Promise.all([
      ask(worker, '/nothing', { headers }),
      ask(worker, '/predict', { method: 'POST', body: '{', headers }),
      ask(worker, '/predict', { method: 'POST', body: ' '.repeat(2 << 20), headers }),
      postPredict(worker, { features: [] }, headers),
    ]);
    expect(answers.map(({ status, requestId }) => [status, requestId])).toEqual([
      [404, 'mine'],
      [400, 'mine'],
      [413, 'mine'],
      [400, 'mine'],
    ]);
  });
});
