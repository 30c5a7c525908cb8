import { expect, it } from 'vitest';
import { atMostEvery } from '../../src/application/at-most-every.ts';

function setUp() {
  let now = 0;
  let reads = 0;
  let failing = false;
  const read = atMostEvery(5000, { now: () => now }, async () => {
    reads++;
    if (failing) throw new Error(`reading ${reads} failed`);
    return reads;
  });
  return {
    read,
    pass: (ms: number) => {
      now += ms;
    },
    fail: (fails: boolean) => {
      failing = fails;
    },
  };
}

it('reads once for all who ask within the time, also while the reading is under way', async () => {
  const { read, pass } = setUp();
  expect(await Promise.all([read(), read()])).toEqual([1, 1]);
  pass(4999);
  expect(await read()).toBe(1);
});

it('reads again when the time is over, counted from the last reading', async () => {
  const { read, pass } = setUp();
  await read();
  pass(5000);
  expect(await read()).toBe(2);
  pass(4999);
  expect(await read()).toBe(2);
});

it('keeps no failure: who asks next gets a new reading', async () => {
  const { read, fail } = setUp();
  fail(true);
  await expect(read()).rejects.toThrow('reading 1 failed');
  fail(false);
  expect(await read()).toBe(2);
});

it('does not lose a newer reading when an older one fails late', async () => {
  let now = 0;
  const answers: { resolve(value: number): void; reject(error: Error): void }[] = [];
  const read = atMostEvery(
    5000,
    { now: () => now },
    () => new Promise<number>((resolve, reject) => answers.push({ resolve, reject })),
  );
  const older = read();
  now = 5000;
  const newer = read();
  answers[1].resolve(2);
  answers[0].reject(new Error('late'));
  await expect(older).rejects.toThrow('late');
  expect(await newer).toBe(2);
  expect(await read()).toBe(2);
  expect(answers).toHaveLength(2);
});
