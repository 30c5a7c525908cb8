import { JOB_OPTIONS, PRODUCT_QUEUE, RESULT_QUEUE } from '../../contract/index.ts';
import { askRedis, connectForProbes } from './connection.ts';
import { DashboardAdapter } from './dashboard-adapter.ts';
import { DashboardQueue, RefusedChange } from './dashboard-job.ts';
import { createEndedSessions, type EndedSessions } from './ended-sessions.ts';

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
  readonly endedSessions: EndedSessions;
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
  const endedSessions = createEndedSessions({ connection, prefix });
  return {
    endedSessions,
    operator: adapters(false),
    viewer: adapters(true),
    ready: () => connection.status === 'ready',
    explain: (thrown) => askRedis(() => Promise.reject(thrown)).catch(toRefusal),
    async close() {
      endedSessions.close();
      connection.disconnect();
      await Promise.all(queues.map(({ queue }) => queue.close()));
    },
  };
}

/** BullMQ's own refusals carry a negative number: the job is gone, or in another state by now. */
function toRefusal(error: unknown): unknown {
  const isBullMqs = error instanceof Error && 'code' in error && typeof error.code === 'number' && error.code < 0;
  return isBullMqs ? new RefusedChange(`the job is gone or in another state by now: ${error.message}`) : error;
}
