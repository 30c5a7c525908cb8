import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createPatience } from '../../src/adapters/bullmq/patience.ts';
import { createFakeLogger } from '../support/fake-observers.ts';

const OOM = Object.assign(new Error('OOM command not allowed'), { name: 'ReplyError' });

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Refuses so many times. */
function refusing(times: number) {
  const call = vi.fn(async () => {
    if (call.mock.calls.length <= times) throw OOM;
    return 'taken';
  });
  return call;
}

it('calls until Redis takes it, with growing pauses of at most 2 s, and warns once in 10 s', async () => {
  const logger = createFakeLogger();
  const call = refusing(20);
  const outcome = createPatience({ logger }).outlast(call);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(call.mock.calls.length).toBeGreaterThan(15);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(await outcome).toBe('taken');
  expect(logger.lines.length).toBeLessThanOrEqual(4);
  expect(logger.lines[0]).toMatchObject({
    level: 'warn',
    fields: { reason: expect.stringMatching(/^OOM – /), waiting: 1 },
  });
});

it('throws other errors at once', async () => {
  const defect = new TypeError('x is not a function');
  await expect(createPatience({ logger: createFakeLogger() }).outlast(() => Promise.reject(defect))).rejects.toBe(
    defect,
  );
});

it('tries once more when it is ended, and then gives up at once', async () => {
  const patience = createPatience({ logger: createFakeLogger() });
  const call = refusing(Number.POSITIVE_INFINITY);
  const outcome = patience.outlast(call).catch((error: unknown) => error);
  await vi.advanceTimersByTimeAsync(1000);
  const before = call.mock.calls.length;
  patience.end();
  expect(await outcome).toBe(OOM);
  expect(call.mock.calls.length).toBe(before + 1);
  await expect(patience.outlast(call)).rejects.toBe(OOM);
});

it('knows for how long Redis has refused nothing', async () => {
  const patience = createPatience({ logger: createFakeLogger() });
  expect(patience.refusedWithin(5000)).toBe(false);
  patience.note(OOM);
  await vi.advanceTimersByTimeAsync(4000);
  expect(patience.refusedWithin(5000)).toBe(true);
  await vi.advanceTimersByTimeAsync(2000);
  expect(patience.refusedWithin(5000)).toBe(false);
});
