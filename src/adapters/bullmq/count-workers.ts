import type { Queue } from 'bullmq';
import { isForbidden } from './redis-errors.ts';

/** Workers that are connected to a queue; undefined where the Redis user may not list clients. */
export async function countWorkers(queue: Queue): Promise<number | undefined> {
  try {
    const workers = await queue.getWorkers();
    // BullMQ's answer where the service has no CLIENT at all.
    return workers.some(({ name }) => name?.startsWith('GCP does not support')) ? undefined : workers.length;
  } catch (error) {
    if (isForbidden(error)) return undefined;
    throw error;
  }
}
