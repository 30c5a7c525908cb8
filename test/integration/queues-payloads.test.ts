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

const own = (name: string) => `${prefix}:payload:${name}`;

describe('a payload', () => {
  it('comes back byte by byte, whatever the bytes are', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    await payloads.write(own('a'), bytes);
    expect(await payloads.read(own('a'))).toEqual(bytes);
  });

  it('of several megabytes comes back whole', async () => {
    const bytes = Buffer.alloc(16 * 1024 * 1024, 'abc');
    await payloads.write(own('a'), bytes);
    expect((await payloads.read(own('a'))).equals(bytes)).toBe(true);
  });

  it('that is empty is a payload, and not one that is gone', async () => {
    await payloads.write(own('a'), Buffer.alloc(0));
    expect(await payloads.read(own('a'))).toHaveLength(0);
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
    await payloads.read(own('a'));
    expect(await redis.exists(own('a'))).toBe(1);
  });

  it('that is gone is told with its key, and that sending the chunk again mends it', async () => {
    await expect(payloads.read(own('gone'))).rejects.toMatchObject({
      code: 'PAYLOAD_MISSING',
      retryable: false,
      message: `there is no payload ${own('gone')} (any more): send the chunk again`,
    });
  });

  it('is removed with others at once; those that are gone do no harm', async () => {
    for (const name of ['a', 'b', 'c']) await payloads.write(own(name), Buffer.from(name));
    await payloads.remove([own('a'), own('gone'), own('c')]);
    await payloads.remove([own('a')]);
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
  ])('$title is not read', async ({ key }) => {
    await redis.set(key(), 'secret');
    const refusal = await payloads.read(key()).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: 'INVALID_JOB', retryable: false });
    expect(String(refusal)).toContain(`${prefix}:payload:`);
    expect(String(refusal)).not.toContain('secret');
    await redis.del(key());
  });

  it('is not removed, and the payloads beside it are', async () => {
    const foreign = `${prefix}:product-categorization:1`;
    await redis.set(foreign, 'x');
    await payloads.write(own('a'), Buffer.from('a'));
    await payloads.remove([foreign, own('a')]);
    await payloads.remove([foreign]);
    expect(await redis.exists(foreign)).toBe(1);
    expect(await redis.exists(own('a'))).toBe(0);
  });
});
