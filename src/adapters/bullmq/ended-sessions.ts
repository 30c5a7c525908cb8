import type { Redis } from 'ioredis';
import { CategorizerError } from '../../domain/errors.ts';
import { askRedis } from './connection.ts';

/** Sessions of the dashboard that were logged out before their time, known to every dashboard on one Redis. */
export interface EndedSessions {
  /**
   * This process knows it at once, and tells Redis again and again until that takes it.
   *
   * @param until when the session would have ended by itself, in milliseconds since 1970
   * @throws CategorizerError `REDIS_…` while only this process knows
   */
  end(id: string, until: number): Promise<void>;
  /** @throws CategorizerError `REDIS_…`: then nobody knows */
  hasEnded(id: string): Promise<boolean>;
}

const RETRY_MS = 5000;

/** @param options.connection from `connectForProbes`: it must not wait for an absent Redis */
export function createEndedSessions(options: {
  readonly connection: Redis;
  readonly prefix: string;
}): EndedSessions & { close(): void } {
  const { connection, prefix } = options;
  const keyOf = (id: string) => `${prefix}:dashboard:ended:${id}`;
  /** What Redis has not taken yet: id to when the session would have ended. */
  const untold = new Map<string, number>();

  async function tell(id: string, until: number): Promise<void> {
    const ms = until - Date.now();
    if (ms > 0) await askRedis(() => connection.set(keyOf(id), '1', 'PX', ms));
    untold.delete(id);
  }

  const timer = setInterval(() => {
    // The next round tells what this one could not.
    for (const [id, until] of untold) tell(id, until).catch(() => undefined);
  }, RETRY_MS);
  timer.unref();

  return {
    end(id, until) {
      untold.set(id, until);
      return tell(id, until);
    },
    async hasEnded(id) {
      if (untold.has(id)) return true;
      if (connection.status !== 'ready') {
        throw new CategorizerError('REDIS_UNAVAILABLE', 'Redis does not answer (see REDIS_URL)', { retryable: true });
      }
      return (await askRedis(() => connection.exists(keyOf(id)))) === 1;
    },
    close: () => clearInterval(timer),
  };
}
