import { Redis } from 'ioredis';
import type { Logger } from '../../application/ports.ts';
import { CategorizerError, messageOf } from '../../domain/errors.ts';

const LONGEST_RECONNECT_PAUSE_MS = 2000;
const PROBE_TIMEOUT_MS = 2000;
const CONNECT_TIMEOUT_MS = 10_000;
const COMMAND_TIMEOUT_MS = 30_000;
/** The same error again is logged no more often: BullMQ repeats what it meets thousands of times a second. */
const REPEATED_ERROR_MS = 10_000;

function reconnectPause(attempt: number): number {
  return Math.min(50 * 2 ** attempt, LONGEST_RECONNECT_PAUSE_MS);
}

/** For workers: every command waits until Redis is back. BullMQ needs `maxRetriesPerRequest: null` for that. */
export function connectPatiently(url: string, logger: Logger): Redis {
  const redis = new Redis(url, {
    maxRetriesPerRequest: null,
    retryStrategy: reconnectPause,
    // A primary that was demoted in a failover: its address leads elsewhere by now, and the command is sent there again.
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
  });
  logOutages(redis, logger);
  return redis;
}

/**
 * For metrics, readiness and the dashboard: reconnects by itself, but while Redis is away every command fails at once.
 *
 * @param timeoutMs how long a command may take
 */
export function connectForProbes(url: string, timeoutMs = PROBE_TIMEOUT_MS): Redis {
  const redis = new Redis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: timeoutMs,
    retryStrategy: reconnectPause,
  });
  // The error that a command gets says the same.
  redis.on('error', () => undefined);
  return redis;
}

/**
 * For commands that a person or a job scheduler waits for: an outage ends them soon, a signal at once.
 *
 * @throws CategorizerError `REDIS_UNAVAILABLE`, or what `stop` was aborted with
 */
export async function connectOrFail(url: string, stop: AbortSignal): Promise<Redis> {
  const redis = new Redis(url, {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_TIMEOUT_MS,
    retryStrategy: () => null,
  });
  let reason: unknown;
  redis.on('error', (error) => {
    reason = error;
  });
  const giveUp = () => redis.disconnect();
  stop.addEventListener('abort', giveUp);
  // What takes the connection and never answers would be waited for without end.
  const timer = setTimeout(() => {
    reason = `no answer for ${CONNECT_TIMEOUT_MS / 1000} s`;
    giveUp();
  }, CONNECT_TIMEOUT_MS);
  try {
    stop.throwIfAborted();
    await redis.connect();
    return redis;
  } catch (error) {
    redis.disconnect();
    stop.throwIfAborted();
    throw redisUnavailable(url, reason ?? error);
  } finally {
    clearTimeout(timer);
    stop.removeEventListener('abort', giveUp);
  }
}

function redisUnavailable(url: string, cause: unknown): CategorizerError {
  const message = `Redis at ${withoutCredentials(url)} does not answer: ${messageOf(cause)} (see REDIS_URL)`;
  return new CategorizerError('REDIS_UNAVAILABLE', message, { retryable: true, cause });
}

/**
 * Calls Redis and explains what fails there; every other error travels on unchanged.
 *
 * @throws CategorizerError `REDIS_UNAVAILABLE` or `REDIS_REFUSED`
 */
export async function askRedis<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause;
    if (cause.name === 'ReplyError') {
      throw new CategorizerError('REDIS_REFUSED', `Redis refused: ${cause.message}`, { retryable: true, cause });
    }
    if (!isConnectionError(cause)) throw cause;
    const message = `Redis went away: ${cause.message}`;
    throw new CategorizerError('REDIS_UNAVAILABLE', message, { retryable: true, cause });
  }
}

/** What of a Redis URL may be shown. */
export function withoutCredentials(url: string): string {
  return url.replace(/\/\/[^/]*@/, '//').replace(/[?#].*$/, '');
}

/**
 * Logs what BullMQ reports as errors. It repeats every failed connection of every object that uses it; those are left
 * out, as `connectPatiently` logs each outage once. Any other is logged once in 10 s.
 */
export function logErrors(source: { on(event: 'error', listener: (error: Error) => void): unknown }, log: LogError) {
  let [lastMessage, lastLoggedAt] = ['', 0];
  source.on('error', (error) => {
    if (isConnectionError(error)) return;
    const now = Date.now();
    if (error.message === lastMessage && now - lastLoggedAt < REPEATED_ERROR_MS) return;
    [lastMessage, lastLoggedAt] = [error.message, now];
    log(error.message);
  });
}

type LogError = (reason: string) => void;

/** System errors of the socket, and ioredis's own, of which most have nothing but their message. */
function isConnectionError(error: Error): boolean {
  return (
    'syscall' in error ||
    ['MaxRetriesPerRequestError', 'AbortError', 'ConnectionClosedError'].includes(error.name) ||
    /^(Connection is closed|Stream isn't writeable|Command timed out)/.test(error.message)
  );
}

function logOutages(redis: Redis, logger: Logger): void {
  let down = false;
  redis.on('error', (error) => {
    if (down) return;
    down = true;
    logger.warn({ reason: error.message }, 'redis is away; waiting for it');
  });
  redis.on('ready', () => {
    logger.info({}, down ? 'redis is back' : 'redis connected');
    down = false;
  });
}
