import { Redis } from 'ioredis';
import { expect, vi } from 'vitest';
import { DEFAULT_PREFIX } from '../../src/contract/index.ts';
import { createWorkspace } from './cli-workspace.ts';
import { type Dashboard, LOGINS, startDashboard, stopDashboard } from './dashboard.ts';
import { createProducer, type Producer } from './load.ts';
import { runCli, startWorker, type WorkerProcess } from './processes.ts';
import { makeProducts, toCsv } from './products.ts';
import { startRedis } from './redis-server.ts';

const PATIENCE = { timeout: 20_000, interval: 50 };

const ALL_KEYS = '~*';
/** The queues without the payloads beside them. */
const QUEUES_ONLY = '~*:product-c*';

/** A dashboard with both users, a Redis of its own, and workers when they are asked for. */
export interface DashboardStack {
  readonly dashboard: Dashboard;
  readonly producer: Producer;
  readonly redis: Redis;
  startWorker(): Promise<void>;
  stopWorkers(): Promise<void>;
  /** By the command `enqueue`. @returns the ids of the packed jobs */
  enqueuePacked(runId: string, products: number, jobs?: number): Promise<string[]>;
  /**
   * A packed job of 500 products that failed because the worker was not allowed to read payloads. Now it may again.
   *
   * @returns the id of the job
   */
  failForLackOfPermission(runId: string): Promise<string>;
  close(): Promise<void>;
}

export async function startDashboardStack(): Promise<DashboardStack> {
  const server = await startRedis();
  const redis = new Redis(server.url);
  await redis.acl('SETUSER', 'worker', 'on', 'nopass', '+@all', '&*', ALL_KEYS);
  // The keys that a screenshot shows are those of an installation.
  const producer = createProducer(server.url, DEFAULT_PREFIX);
  const dashboard = await startDashboard({ REDIS_URL: server.url, ...LOGINS });
  const workers: WorkerProcess[] = [];

  async function startOneWorker(): Promise<void> {
    workers.push(await startWorker({ REDIS_URL: `redis://worker:any@127.0.0.1:${server.port}` }));
  }

  async function stopWorkers(): Promise<void> {
    for (const { kill } of workers) kill('SIGTERM');
    await Promise.all(workers.splice(0).map(({ ended }) => ended));
  }

  async function enqueuePacked(runId: string, products: number, jobs = 1): Promise<string[]> {
    const catalogue = makeProducts(products).map((product, i) => ({ ...product, productId: `SKU-${10_000 + i}` }));
    const workspace = await createWorkspace();
    const file = await workspace.write('catalogue.csv', toCsv(catalogue));
    const args = ['enqueue', file, '--run', runId, '--chunk-size', String(Math.ceil(products / jobs))];
    const { code, stderr } = await runCli(args, { env: { REDIS_URL: server.url } });
    await workspace.remove();
    expect(code, stderr).toBe(0);
    return Array.from({ length: jobs }, (_, i) => `${runId}-${i}`);
  }

  async function failForLackOfPermission(runId: string): Promise<string> {
    await redis.acl('SETUSER', 'worker', 'resetkeys', QUEUES_ONLY);
    await startOneWorker();
    const [jobId = ''] = await enqueuePacked(runId, 500);
    await vi.waitFor(async () => {
      // The pauses between the attempts are not waited for.
      await producer.queue.promoteJobs();
      expect(await producer.queue.getJobState(jobId)).toBe('failed');
    }, PATIENCE);
    await redis.acl('SETUSER', 'worker', ALL_KEYS);
    return jobId;
  }

  return {
    dashboard,
    producer,
    redis,
    startWorker: startOneWorker,
    stopWorkers,
    enqueuePacked,
    failForLackOfPermission,
    async close() {
      await stopWorkers();
      await stopDashboard(dashboard);
      await producer.close();
      redis.disconnect();
      await server.remove();
    },
  };
}
