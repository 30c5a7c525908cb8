import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';

/** KEYS: waiting list. ARGV: first part of the jobs' keys, then ids. Returns the ids that do not wait. */
const REMOVE_WAITING = `
local others = {}
for i = 2, #ARGV do
  if redis.call('LREM', KEYS[1], -1, ARGV[i]) == 1 then
    redis.call('DEL', ARGV[1] .. ARGV[i], ARGV[1] .. ARGV[i] .. ':logs')
  else
    others[#others + 1] = ARGV[i]
  end
end
return others
`;

/**
 * Removes jobs without children, of which the oldest wait. BullMQ's own removal looks through the waiting list from its
 * newest end: for the oldest of a hundred thousand jobs that takes a millisecond each.
 */
export async function removeOldest(connection: Redis, queue: Queue, jobIds: readonly string[]): Promise<void> {
  const others = await connection.eval(REMOVE_WAITING, 1, queue.toKey('wait'), queue.toKey(''), ...jobIds);
  if (Array.isArray(others)) await Promise.all(others.map((id) => queue.remove(String(id))));
}
