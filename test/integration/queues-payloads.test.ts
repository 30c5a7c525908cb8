import { Redis } from 'ioredis';
import { beforeEach, describe, expect, inject, it } from 'vitest';
import { createPayloads, type Payloads } from '../../src/adapters/bullmq/payloads.ts';
import { uniquePrefix } from '../support/products.ts';

let prefix: string;
let redis: Redis;
let payloads: Payloads;
beforeEach(() => {
  prefix = uniquePrefix();
  redis = new Redis(inject('redisUrl'), { maxRetriesPerRequest: null });
  payloads = createPayloads({ connection: redis, prefix, ttlHours: 2 });
  return () => redis.disconnect();
});

const own = (name: string) => `${prefix}:payload:${name}:00000001`;
const ref = (name: string, bytes = 1000) => ({ owner: name, key: own(name), bytes });

describe('a payload', () => {
  it('comes back byte by byte, whatever the bytes are', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    await payloads.write(own('a'), bytes);
    expect(await payloads.read(ref('a', 256))).toEqual(bytes);
  });

  it('of several megabytes comes back whole', async () => {
    const bytes = Buffer.alloc(16 * 1024 * 1024, 'abc');
    await payloads.write(own('a'), bytes);
    expect((await payloads.read(ref('a', bytes.length))).equals(bytes)).toBe(true);
  });

  it('is read no further than its job announces, whatever stands behind it', async () => {
    await redis.setrange(own('a'), 200_000_000, 'x');
    const before = process.memoryUsage().arrayBuffers;
    await expect(payloads.read(ref('a', 100))).rejects.toMatchObject({
      code: 'PAYLOAD_INVALID',
      retryable: false,
      message: 'the payload has more than the 100 bytes its job announces',
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50_000_000);
  });

  it('lives for the hours that were set, from the last time it was written', async () => {
    await payloads.write(own('a'), Buffer.from('a'));
    await redis.expire(own('a'), 5);
    await payloads.write(own('a'), Buffer.from('a'));
    const seconds = await redis.ttl(own('a'));
    expect(seconds).toBeGreaterThan(2 * 3600 - 60);
    expect(seconds).toBeLessThanOrEqual(2 * 3600);
  });

  it('stays when it was read', async () => {
    await payloads.write(own('a'), Buffer.from('a'));
    await payloads.read(ref('a'));
    expect(await redis.exists(own('a'))).toBe(1);
  });

  it('that is gone is told with its key, and that sending the chunk again mends it', async () => {
    await expect(payloads.read(ref('gone'))).rejects.toMatchObject({
      code: 'PAYLOAD_MISSING',
      retryable: false,
      message: `there is no payload ${own('gone')} (any more): send the chunk again`,
    });
  });

  it('is removed with others at once; those that are gone do no harm', async () => {
    for (const name of ['a', 'b', 'c']) await payloads.write(own(name), Buffer.from(name));
    await payloads.remove([ref('a'), ref('gone'), ref('c')]);
    await payloads.remove([ref('a')]);
    await payloads.remove([]);
    expect(await redis.keys(`${prefix}:payload:*`)).toEqual([own('b')]);
  });
});

describe('a key that is none of a payload', () => {
  it.each([
    { title: 'of the queue', key: () => `${prefix}:product-categorization:1` },
    { title: 'of a run', key: () => `${prefix}:run:payload:x` },
    { title: 'of another prefix', key: () => `{other}:payload:${prefix}` },
    { title: 'with something before the prefix', key: () => `x${prefix}:payload:a` },
    { title: 'that is only the beginning of one', key: () => `${prefix}:payload` },
    { title: "of another job's payload", key: () => own('b') },
    { title: 'of a job whose id begins in the same way', key: () => own('ab') },
    { title: 'of a job whose id goes on after a colon', key: () => `${prefix}:payload:a:b:00000001` },
  ])('$title is not read', async ({ key }) => {
    await redis.set(key(), 'secret');
    const refusal = await payloads.read({ owner: 'a', key: key(), bytes: 6 }).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: 'INVALID_JOB', retryable: false });
    expect(String(refusal)).toContain(`${prefix}:payload:`);
    expect(String(refusal)).not.toContain('secret');
    await redis.del(key());
  });

  it('is not removed, and the payloads beside it are', async () => {
    const foreign = `${prefix}:product-categorization:1`;
    await redis.set(foreign, 'x');
    await payloads.write(own('a'), Buffer.from('a'));
    await payloads.write(own('b'), Buffer.from('b'));
    await payloads.remove([{ owner: 'a', key: foreign }, { owner: 'a', key: own('b') }, ref('a')]);
    await payloads.remove([{ owner: 'a', key: foreign }]);
    expect(await redis.exists(own('b')), 'a copy of a job removes nothing of its original').toBe(1);
    expect(await redis.exists(foreign)).toBe(1);
    expect(await redis.exists(own('a'))).toBe(0);
  });
});
