import type { Redis } from 'ioredis';
import { messageOf } from '../../domain/errors.ts';

/**
 * Whether Redis can be trusted with a queue.
 *
 * @param connection from `connectForProbes`
 * @returns a sentence that says why not, or undefined
 */
export async function redisProblem(connection: Redis): Promise<string | undefined> {
  try {
    // INFO and not CONFIG GET, which managed Redis services forbid.
    const info = await connection.info('memory');
    const policy = /^maxmemory_policy:(.*)$/m.exec(info)?.[1].trim();
    if (policy === 'noeviction') return undefined;
    return `maxmemory-policy of Redis is ${policy ?? 'unknown'}, so it may drop jobs when memory is short: set it to noeviction`;
  } catch (error) {
    return `Redis does not answer: ${messageOf(error)}`;
  }
}
