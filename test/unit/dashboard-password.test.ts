import { beforeAll, describe, expect, it } from 'vitest';
import { createGate, createPasswordCheck, hashPassword } from '../../src/adapters/http/dashboard/password.ts';

let ada: { readonly name: string; readonly passwordHash: string };
beforeAll(async () => {
  ada = { name: 'ada', passwordHash: await hashPassword('correct horse') };
});

describe('the check of a password', () => {
  it('finds the user of that name with that password, and nobody else', async () => {
    const vic = { name: 'vic', passwordHash: await hashPassword('battery staple') };
    const findUser = createPasswordCheck([ada, vic]);
    expect(await findUser('ada', 'correct horse')).toBe(ada);
    expect(await findUser('vic', 'battery staple')).toBe(vic);
    expect(await findUser('vic', 'correct horse')).toBeUndefined();
    expect(await findUser('ada', '')).toBeUndefined();
    expect(await findUser('eve', 'correct horse')).toBeUndefined();
  });

  it('takes about as long for a user that does not exist', async () => {
    const findUser = createPasswordCheck([ada]);
    const secondsFor = async (name: string) => {
      const start = performance.now();
      await findUser(name, 'wrong');
      return performance.now() - start;
    };
    await secondsFor('ada');
    const [known, unknown] = [await secondsFor('ada'), await secondsFor('eve')];
    // Without the work of scrypt it would be a thousand times less.
    expect(unknown).toBeGreaterThan(known / 10);
  });
});

describe('the gate before the checks', () => {
  it('lets so many run and so many wait, refuses the others, and is open again after them', async () => {
    const inTurn = createGate(2, 3);
    const started: number[] = [];
    const finish: (() => void)[] = [];
    const start = (number: number) =>
      inTurn(async () => {
        started.push(number);
        await new Promise<void>((resolve) => finish.push(resolve));
        return number;
      });
    const all = [0, 1, 2, 3, 4, 5, 6].map(start);
    const outcomes = Promise.allSettled(all);
    await expect(all[5]).rejects.toMatchObject({ status: 503, code: 'BUSY' });
    await expect(all[6]).rejects.toMatchObject({ status: 503, code: 'BUSY' });
    expect(started).toEqual([0, 1]);
    for (let i = 0; i < 5; i++) {
      await expect.poll(() => finish.length).toBeGreaterThan(i);
      expect(started.length).toBeLessThanOrEqual(i + 2);
      finish[i]();
    }
    expect((await outcomes).slice(0, 5)).toEqual([0, 1, 2, 3, 4].map((value) => ({ status: 'fulfilled', value })));
    const next = start(7);
    finish[5]();
    expect(await next).toBe(7);
  });

  it('keeps no place for what failed', async () => {
    const inTurn = createGate(1, 0);
    await expect(inTurn(() => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    expect(await inTurn(async () => 'next')).toBe('next');
  });
});
