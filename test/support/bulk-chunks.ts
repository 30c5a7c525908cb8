import { Redis } from 'ioredis';
import {
  chunkJobId,
  PACKED_PRODUCTS_JOB,
  type PackedProductsJobData,
  packedProductsJobSchema,
  packIds,
  packProducts,
  payloadKey,
  unpackProducts,
} from '../../src/contract/index.ts';
import type { Queues } from './cli-queues.ts';
import type { Producer } from './load.ts';
import type { TestProduct } from './products.ts';

/** A chunk as a worker would read it. */
export interface WaitingChunk {
  readonly id: string;
  readonly runId: string | undefined;
  readonly products: readonly TestProduct[];
}

type Connections = Pick<Queues, 'products' | 'redis'>;

/** The chunks that wait, in the order of their numbers. @throws where a job or a payload is none of the contract */
export async function waitingChunks({ products, redis }: Connections): Promise<WaitingChunk[]> {
  const jobs = await products.getWaiting(0, -1);
  const chunks = await Promise.all(
    jobs.map(async ({ id = '', name, data }): Promise<WaitingChunk> => {
      if (name !== PACKED_PRODUCTS_JOB) throw new Error(`job ${id} is a ${name}`);
      const packed = packedProductsJobSchema.strict().parse(data);
      const payload = await redis.getBuffer(packed.payload);
      if (payload === null) throw new Error(`job ${id} has no payload`);
      const { ids, features } = unpackProducts(payload, packed);
      const { width, values } = features;
      const names = Buffer.from(ids).toString('utf8').split('\n');
      return {
        id,
        runId: packed.runId,
        products: names.map((productId, row) => ({
          productId,
          features: [...values.subarray(row * width, (row + 1) * width)],
        })),
      };
    }),
  );
  return chunks.sort((a, b) => a.id.localeCompare(b.id, 'en', { numeric: true }));
}

/** All products that wait, in the order of their chunks. */
export async function waitingProducts(queues: Connections): Promise<TestProduct[]> {
  return (await waitingChunks(queues)).flatMap(({ products }) => products);
}

/** Packed chunks of a producer of the tests' own, which checks nothing. @param products each of the same width */
export async function addPackedChunks(
  { queue }: Producer,
  redisUrl: string,
  products: readonly TestProduct[],
  chunkSize: number,
  runId: string,
): Promise<void> {
  const redis = new Redis(redisUrl);
  const prefix = queue.opts.prefix ?? '';
  for (let start = 0; start < products.length; start += chunkSize) {
    const chunk = products.slice(start, start + chunkSize);
    const width = chunk[0].features.length;
    const values = Float32Array.from(chunk.flatMap(({ features }) => features));
    const ids = packIds(chunk.map(({ productId }) => productId));
    const { payload, ...announced } = packProducts({ ids, features: { rows: chunk.length, width, values } });
    const jobId = chunkJobId(runId, start / chunkSize);
    const key = payloadKey(prefix, jobId, announced.crc32);
    await redis.set(key, payload);
    const data: PackedProductsJobData = { ...announced, payload: key, width, runId };
    await queue.add(PACKED_PRODUCTS_JOB, data, { jobId });
  }
  redis.disconnect();
}

/** The keys of all payloads, of products and of results. */
export async function payloadKeys({ redis, prefix }: Pick<Queues, 'redis' | 'prefix'>): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of redis.scanStream({ match: `${prefix}:payload:*`, count: 1000 })) keys.push(...page);
  return [...new Set(keys)];
}

/** How many bytes the payloads have together. */
export async function payloadBytes(queues: Pick<Queues, 'redis' | 'prefix'>): Promise<number> {
  const keys = await payloadKeys(queues);
  const lengths = await Promise.all(keys.map((key) => queues.redis.strlen(key)));
  return lengths.reduce((sum, length) => sum + length, 0);
}
