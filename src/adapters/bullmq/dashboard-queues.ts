import { JOB_OPTIONS, PRODUCT_QUEUE, RESULT_QUEUE } from '../../contract/index.ts';
import { askRedis, connectForProbes } from './connection.ts';
import { DashboardAdapter } from './dashboard-adapter.ts';
import { DashboardQueue } from './dashboard-job.ts';

/** Every queue that the dashboard shows. */
const QUEUES = [
  { name: PRODUCT_QUEUE, description: 'products on their way to the model' },
  { name: RESULT_QUEUE, description: 'results that wait to be collected' },
];

/** Emptying a long queue takes seconds. */
const COMMAND_TIMEOUT_MS = 5000;

export interface DashboardQueues {
  /** May change the queues. */
  readonly operator: readonly DashboardAdapter[];
  /** Read-only. */
  readonly viewer: readonly DashboardAdapter[];
  /** Whether Redis is connected: while it is not, BullMQ would wait for it. */
  ready(): boolean;
  /** An error of Redis as one with a code; any other as it is. */
  explain(error: unknown): Promise<unknown>;
  close(): Promise<void>;
}

/** The queues as bull-board takes them, one set for each role. */
export function createDashboardQueues(options: { readonly url: string; readonly prefix: string }): DashboardQueues {
  const { url, prefix } = options;
  const connection = connectForProbes(url, COMMAND_TIMEOUT_MS);
  const queues = QUEUES.map(({ name, description }) => {
    const queue = new DashboardQueue(name, { connection, prefix, defaultJobOptions: { ...JOB_OPTIONS } });
    // The answer to whoever asked says the same.
    queue.on('error', () => undefined);
    return { queue, description };
  });
  const adapters = (readOnlyMode: boolean) =>
    queues.map(
      ({ queue, description }) => new DashboardAdapter(queue, { connection, prefix }, { description, readOnlyMode }),
    );
  return {
    operator: adapters(false),
    viewer: adapters(true),
    ready: () => connection.status === 'ready',
    explain: (thrown) => askRedis(() => Promise.reject(thrown)).catch((error: unknown) => error),
    async close() {
      connection.disconnect();
      await Promise.all(queues.map(({ queue }) => queue.close()));
    },
  };
}
