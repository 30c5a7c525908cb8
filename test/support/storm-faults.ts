import { setTimeout as pause } from 'node:timers/promises';
import { PRODUCTS_JOB } from '../../src/contract/index.ts';
import { addResult, categorized, type Queues } from './cli-queues.ts';
import { type Environment, startWorker, type WorkerProcess } from './processes.ts';
import { makeProducts } from './products.ts';
import type { RedisServer } from './redis-server.ts';
import type { StormImport } from './storm-imports.ts';

/** What is thrown at the imports. */
export interface Storm {
  /** One fault, by chance. @returns its name, and whether it hit something */
  strike(target: StormImport): Promise<{ readonly fault: string; readonly hit: boolean }>;
  /** Ends all workers as they should end. @returns their exit codes */
  stop(): Promise<(number | null)[]>;
  /** Ids of the jobs and results that others put on the queues. */
  readonly foreign: { readonly jobs: ReadonlySet<string>; readonly results: ReadonlySet<string> };
}

/** Longer than a lock lasts, or shorter. */
const LONGEST_FREEZE_MS = 3500;
const WORKERS = 3;

/** @param options.redis is stopped and started again, and full for moments */
export async function startStorm(options: {
  readonly redis: RedisServer;
  readonly queues: Queues;
  readonly env: Environment;
  readonly random: () => number;
}): Promise<Storm> {
  const { redis, queues, env, random } = options;
  const { products, results, prefix } = queues;
  const workers: WorkerProcess[] = await Promise.all(Array.from({ length: WORKERS }, () => startWorker(env)));
  const [jobs, answers] = [new Set<string>(), new Set<string>()];
  const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)];
  const anyWorker = () => Math.floor(random() * WORKERS);

  async function replaceWorker(signal: 'SIGKILL' | 'SIGTERM'): Promise<boolean> {
    const place = anyWorker();
    workers[place].kill(signal);
    await workers[place].ended;
    workers[place] = await startWorker(env);
    return true;
  }

  async function removeSome(queue: typeof products): Promise<boolean> {
    const ids = await queue.getRanges(['waiting'], 0, 200, true);
    const own = ids.filter((id) => !jobs.has(id) && !answers.has(id));
    const chosen = new Set(Array.from({ length: Math.min(5, own.length) }, () => pick(own) ?? ''));
    const removed = await Promise.all([...chosen].map((id) => queue.remove(id)));
    return removed.some((count) => count > 0);
  }

  async function deletePayloads(): Promise<boolean> {
    const keys: string[] = [];
    for await (const page of queues.redis.scanStream({ match: `${prefix}:payload:*`, count: 1000 })) keys.push(...page);
    const chosen = keys.filter(() => random() < 0.05);
    return chosen.length > 0 && (await queues.redis.del(chosen)) > 0;
  }

  /** A job of another producer under an id that a chunk has, or will have. */
  async function addForeignJob({ runId, chunks }: StormImport): Promise<boolean> {
    const jobId = `${runId}-${Math.floor(random() * chunks)}`;
    if ((await products.getJob(jobId)) || jobs.has(jobId)) return false;
    jobs.add(jobId);
    await products.add(PRODUCTS_JOB, { products: makeProducts(1, 999), runId }, { jobId });
    return true;
  }

  /** A result of nobody, under the id of an answer that is still to come or under one of its own. */
  async function addForeignResult({ runId, chunks }: StormImport): Promise<boolean> {
    const number = Math.floor(random() * chunks);
    const jobId = random() < 0.5 ? `${runId}-${number}` : `${runId}-hand-made-${number}`;
    if (await results.getJob(`r-${jobId}`)) return false;
    answers.add(await addResult(results, { jobId, runId, products: [categorized('foreign')] }));
    return true;
  }

  const faults: Record<string, (target: StormImport) => Promise<boolean>> = {
    'a worker is killed': () => replaceWorker('SIGKILL'),
    'a worker is stopped': () => replaceWorker('SIGTERM'),
    async 'a worker is frozen'() {
      const worker = workers[anyWorker()];
      worker.kill('SIGSTOP');
      await pause(random() * LONGEST_FREEZE_MS);
      worker.kill('SIGCONT');
      return true;
    },
    'jobs are removed': () => removeSome(products),
    'results are removed': () => removeSome(results),
    'payloads are deleted': deletePayloads,
    'a foreign job': addForeignJob,
    'a foreign result': addForeignResult,
    async 'Redis is full'() {
      await queues.redis.config('SET', 'maxmemory', '1');
      await pause(random() * 2000);
      await queues.redis.config('SET', 'maxmemory', '0');
      return true;
    },
    async 'Redis is restarted'() {
      await redis.stop();
      await redis.start();
      return true;
    },
  };

  return {
    foreign: { jobs, results: answers },
    async strike(target) {
      const [fault, strike] = pick(Object.entries(faults)) ?? ['', async () => false];
      return { fault, hit: await strike(target) };
    },
    async stop() {
      for (const worker of workers) worker.kill('SIGTERM');
      return Promise.all(workers.map(({ ended }) => ended));
    },
  };
}
