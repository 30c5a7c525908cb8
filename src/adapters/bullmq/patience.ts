import type { Logger } from '../../application/ports.ts';
import { explainRedis, isConnectionTrouble, isPassingRefusal, troubleOf } from './redis-errors.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;
/** After a fetch that Redis refused: BullMQ itself would ask again at once, thousands of times a second. */
const FETCH_PAUSE_MS = 1000;
const WARN_EVERY_MS = 10_000;

/** Waits for a Redis that refuses: a full one, one that is read-only, a user who lost a permission. */
export interface Patience {
  /** Calls until Redis takes it, with growing pauses. @throws what `call` threw last, once `end` was called, and other errors at once */
  outlast<T>(call: () => Promise<T>): Promise<T>;
  /** Remembers when Redis refused, and warns of it at most every 10 s. */
  note(error: unknown): void;
  /** Does so too. @returns after a pause; at once when `end` was called */
  pauseAfter(error: unknown): Promise<void>;
  /** Whether Redis has refused something in the last milliseconds. */
  refusedWithin(ms: number): boolean;
  /** Nobody waits any longer: what is refused after this has failed. */
  end(): void;
}

/** One for each worker. */
export function createPatience({ logger }: { readonly logger: Logger }): Patience {
  const wakers = new Set<() => void>();
  let ended = false;
  let refusedAt = Number.NEGATIVE_INFINITY;
  let warnedAt = Number.NEGATIVE_INFINITY;
  let waiting = 0;

  function note(error: unknown): void {
    if (!isPassingRefusal(error) || isConnectionTrouble(error)) return;
    refusedAt = performance.now();
    warn(error);
  }

  function pause(ms: number): Promise<void> {
    if (ended) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        wakers.delete(wake);
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      wakers.add(wake);
    });
  }

  function warn(error: unknown): void {
    if (performance.now() - warnedAt < WARN_EVERY_MS) return;
    warnedAt = performance.now();
    logger.warn({ reason: explainRedis(error), waiting }, 'redis refuses; the jobs in work wait until it does not');
  }

  return {
    async outlast(call) {
      waiting++;
      try {
        for (let ms = FIRST_PAUSE_MS; ; ms = Math.min(2 * ms, LONGEST_PAUSE_MS)) {
          // Told before the call: one that was woken by `end` is the last.
          const last = ended;
          try {
            return await call();
          } catch (error) {
            note(error);
            if (last || troubleOf(error)?.passes !== true) throw error;
            await pause(ms);
          }
        }
      } finally {
        waiting--;
      }
    },
    note,
    pauseAfter(error) {
      note(error);
      return pause(FETCH_PAUSE_MS);
    },
    refusedWithin: (ms) => performance.now() - refusedAt < ms,
    end() {
      ended = true;
      for (const wake of [...wakers]) wake();
    },
  };
}
