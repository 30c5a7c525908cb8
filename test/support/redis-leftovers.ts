import type { Queues } from './cli-queues.ts';

/** What BullMQ keeps of a queue itself. */
const QUEUE_KEYS =
  /^(meta|id|events|marker|pc|wait|paused|active|delayed|prioritized|failed|completed|stalled|stalled-check)$/;

/**
 * Keys that nobody will ever remove: without a lifetime, neither a queue's own nor that of a job in one of its lists.
 *
 * @param options.mayStay whether a job that is on its queue is there for a reason
 */
export async function keysWithoutOwner(
  { redis, products, results, prefix }: Queues,
  options: { readonly mayStay: (queue: 'products' | 'results', id: string) => boolean },
): Promise<string[]> {
  const queues = await Promise.all(
    [['products', products] as const, ['results', results] as const].map(async ([name, queue]) => {
      const ids = async (...states: ('completed' | 'failed' | 'waiting')[]) => queue.getRanges(states, 0, -1, true);
      // BullMQ keeps the last 1,000 that completed.
      const completed = await ids('completed');
      const kept = completed.length <= 1000 ? completed : [];
      const staying = (await ids('failed', 'waiting')).filter((id) => options.mayStay(name, id));
      return { start: queue.toKey(''), owned: new Set([...kept, ...staying]) };
    }),
  );
  const isOwned = (key: string) =>
    queues.some(({ start, owned }) => {
      const rest = key.startsWith(start) ? key.slice(start.length) : undefined;
      return rest !== undefined && (QUEUE_KEYS.test(rest) || owned.has(rest));
    });
  const keys = new Set<string>();
  for await (const page of redis.scanStream({ count: 1000 })) for (const key of page) keys.add(key);
  const lives = await Promise.all([...keys].map(async (key) => [key, await redis.ttl(key)] as const));
  // -2: it is gone by now.
  const lasting = lives.filter(([key, seconds]) => seconds === -1 && !isOwned(key)).map(([key]) => key);
  return lasting.filter((key) => key.startsWith(prefix) || key.startsWith('{')).sort();
}
