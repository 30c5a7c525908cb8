import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { JOB_OPTIONS, PRODUCT_JOB, PRODUCT_QUEUE, PRODUCTS_JOB } from '../../src/contract/index.ts';
import { type Environment, runCli } from './processes.ts';
import type { TestProduct } from './products.ts';

/** A row of a collected file in JSON lines. */
export interface OutputRow {
  readonly productId: string | null;
  readonly categoryCode?: string;
  readonly confidence?: number;
  readonly reject?: { readonly code: string; readonly message: string };
  readonly modelVersion: string;
  readonly resultId: string;
}

/** A producer of the tests' own, as another program would be one. */
export interface Producer {
  readonly queue: Queue;
  /** One job a product. */
  addOneByOne(products: readonly unknown[], runId: string, firstJob?: number): Promise<void>;
  /** Chunks of a size. */
  addChunks(products: readonly unknown[], chunkSize: number, runId: string): Promise<void>;
  close(): Promise<void>;
}

const JOBS_AT_ONCE = 1000;

export function createProducer(redisUrl: string, prefix: string): Producer {
  const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
  // A test that stops Redis expects it to be away.
  connection.on('error', () => undefined);
  const queue = new Queue(PRODUCT_QUEUE, { connection, prefix, defaultJobOptions: { ...JOB_OPTIONS } });
  queue.on('error', () => undefined);

  async function addAll(jobs: { name: string; data: object; opts: { jobId: string } }[]): Promise<void> {
    for (let start = 0; start < jobs.length; start += JOBS_AT_ONCE) {
      await queue.addBulk(jobs.slice(start, start + JOBS_AT_ONCE));
    }
  }

  return {
    queue,
    addOneByOne: (products, runId, firstJob = 0) =>
      addAll(
        products.map((product, i) => ({
          name: PRODUCT_JOB,
          data: { ...Object(product), runId },
          opts: { jobId: `${runId}-one-${firstJob + i}` },
        })),
      ),
    addChunks: (products, chunkSize, runId) =>
      addAll(
        Array.from({ length: Math.ceil(products.length / chunkSize) }, (_, i) => ({
          name: PRODUCTS_JOB,
          data: { products: products.slice(i * chunkSize, (i + 1) * chunkSize), runId },
          opts: { jobId: `${runId}-chunk-${i}` },
        })),
      ),
    async close() {
      await queue.close();
      connection.disconnect();
    },
  };
}

/** A starved machine makes a test take longer; one in which nothing moves for so long hangs. */
const STANDSTILL_MS = 120_000;

/** Resolves when no job is left, however long that takes. @throws Error where none of them has moved for two minutes */
export function untilDone(queue: Queue): Promise<void> {
  return untilLeft(() => queue.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized'), 0);
}

/** Resolves when at most so many are left. @throws Error where their number has stayed the same for two minutes */
export async function untilLeft(count: () => Promise<number>, most: number): Promise<void> {
  let last = Number.POSITIVE_INFINITY;
  let movedAt = performance.now();
  for (let left = await count(); left > most; left = await count()) {
    if (left !== last) [last, movedAt] = [left, performance.now()];
    if (performance.now() - movedAt > STANDSTILL_MS) throw new Error(`${left} jobs are left, and none of them moves`);
    await pause(50);
  }
}

export async function readRows(path: string): Promise<OutputRow[]> {
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '');
  return lines.map((line): OutputRow => JSON.parse(line));
}

/** What `predict` says of good products: product id to category code. */
export async function predictedCategories(
  products: readonly TestProduct[],
  directory: string,
): Promise<Map<string, string>> {
  const input = `${directory}/predict-in.jsonl`;
  const output = `${directory}/predict-out.jsonl`;
  await writeFile(input, products.map((product) => `${JSON.stringify(product)}\n`).join(''));
  const { code, stderr } = await runCli(['predict', input, '--out', output]);
  if (code !== 0) throw new Error(`predict ended with ${code}: ${stderr}`);
  return new Map((await readRows(output)).map(({ productId, categoryCode }) => [productId ?? '', categoryCode ?? '']));
}

/** Collects a run into a file and reads it. */
export async function collectRun(runId: string, directory: string, env: Environment): Promise<OutputRow[]> {
  const out = `${directory}/${runId}.jsonl`;
  const { code, stderr } = await runCli(['results', '--run', runId, '--out', out], { env });
  if (code !== 0 && code !== 3) throw new Error(`results ended with ${code}: ${stderr}`);
  return readRows(out);
}
