import type { Redis } from 'ioredis';
import type { Logger } from '../../application/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { HostedRedis } from './hosted-redis.ts';
import { describeTrouble, explainRedis, isConnectionTrouble, troubleOf } from './redis-errors.ts';

const LONGEST_RECONNECT_PAUSE_MS = 2000;
const READ_ONLY_RECONNECT_PAUSE_MS = 1000;
const PROBE_TIMEOUT_MS = 2000;
const CONNECT_TIMEOUT_MS = 10_000;
const COMMAND_TIMEOUT_MS = 30_000;
/**
 * A primary that vanishes tells nobody: where no answer comes for so long, the connection is given up and its address is
 * looked up anew. Longer than the 10 s that BullMQ blocks at most; TCP itself would take a quarter of an hour.
 */
const SILENCE_MS = 20_000;
/** Idle connections are asked after so long, and given up ten seconds later. */
const KEEP_ALIVE_MS = 10_000;
/** The name and version of the library are of no use to anybody, and a permission more. */
const EVERYWHERE = { keepAlive: KEEP_ALIVE_MS, disableClientInfo: true };
/** The same error again is logged no more often: BullMQ repeats what it meets thousands of times a second. */
const REPEATED_ERROR_MS = 10_000;

function reconnectPause(attempt: number): number {
  return Math.min(50 * 2 ** attempt, LONGEST_RECONNECT_PAUSE_MS);
}

/** For workers: every command waits until Redis is back. BullMQ needs `maxRetriesPerRequest: null` for that. */
export function connectPatiently(url: string, logger: Logger): Redis {
  const outages = createOutageLog(logger);
  const redis = new HostedRedis(url, {
    maxRetriesPerRequest: null,
    socketTimeout: SILENCE_MS,
    ...EVERYWHERE,
    retryStrategy: (attempt) => (outages.isReadOnly() ? READ_ONLY_RECONNECT_PAUSE_MS : reconnectPause(attempt)),
    // A primary that was demoted in a failover: its address leads elsewhere by now, and the command is sent there again.
    reconnectOnError(error) {
      if (!error.message.startsWith('READONLY')) return false;
      outages.away(error);
      return 2;
    },
  });
  redis.on('error', outages.away);
  redis.on('close', outages.closed);
  redis.on('ready', outages.connected);
  return redis;
}

/**
 * For metrics, readiness and the dashboard: reconnects by itself, but while Redis is away every command fails at once.
 *
 * @param timeoutMs how long a command may take
 */
export function connectForProbes(url: string, timeoutMs = PROBE_TIMEOUT_MS): Redis {
  const redis = new HostedRedis(url, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: timeoutMs,
    socketTimeout: 2 * timeoutMs,
    ...EVERYWHERE,
    retryStrategy: reconnectPause,
  });
  let reason: Error | undefined;
  redis.on('error', (error) => {
    reason = error;
  });
  redis.on('ready', () => {
    reason = undefined;
  });
  reasons.set(redis, () => reason);
  return redis;
}

/** Why connections for probes are down: the error of a command says no more than that they are. */
const reasons = new WeakMap<Redis, () => Error | undefined>();

/** Why there is no connection, as far as it is known. @param connection from `connectForProbes` */
export function reasonOfOutage(connection: Redis): Error | undefined {
  return connection.status === 'ready' ? undefined : reasons.get(connection)?.();
}

/**
 * For commands that a person or a job scheduler waits for: an outage ends them soon, a signal at once.
 *
 * @throws CategorizerError `REDIS_UNAVAILABLE`, or what `stop` was aborted with
 */
export async function connectOrFail(url: string, stop: AbortSignal): Promise<Redis> {
  const redis = new HostedRedis(url, {
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: COMMAND_TIMEOUT_MS,
    ...EVERYWHERE,
    retryStrategy: () => null,
  });
  let reason: unknown;
  let late = false;
  redis.on('error', (error) => {
    if (!late) reason = error;
  });
  const giveUp = () => redis.disconnect();
  stop.addEventListener('abort', giveUp);
  // What takes the connection and never answers would be waited for without end.
  const timer = setTimeout(() => {
    late = true;
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
  const message = `Redis at ${withoutCredentials(url)} does not answer: ${explainFirst(cause, url)} (see REDIS_URL)`;
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
    const trouble = troubleOf(cause);
    if (!trouble) throw cause;
    const [code, what] =
      trouble.kind === 'refused'
        ? (['REDIS_REFUSED', 'Redis refused'] as const)
        : (['REDIS_UNAVAILABLE', 'Redis went away'] as const);
    throw new CategorizerError(code, `${what}: ${describeTrouble(trouble)}`, { retryable: true, cause });
  }
}

/** Where there never was a connection, one that is cut at once or stays silent has a likely reason. */
function explainFirst(cause: unknown, url: string): string {
  const reason = explainRedis(cause);
  if (!/was (cut|lost)$|^no answer/.test(reason)) return reason;
  return `${reason}; ${url.startsWith('rediss:') ? 'does it speak TLS? redis:// is without' : 'does it expect TLS? Then it is rediss://'}`;
}

/** What of a Redis URL may be shown. */
export function withoutCredentials(url: string): string {
  return url.replace(/\/\/[^/]*@/, '//').replace(/[?#].*$/, '');
}

/**
 * Logs what BullMQ reports as errors. It repeats every failed connection of every object that uses it; those are left
 * out, as `connectPatiently` logs each outage once. Any other is logged once in 10 s.
 *
 * @param isToldElsewhere errors that need no line here
 */
export function logErrors(
  source: { on(event: 'error', listener: (error: Error) => void): unknown },
  log: (reason: string) => void,
  isToldElsewhere: (error: Error) => boolean = () => false,
): void {
  let [lastKind, lastLoggedAt] = ['', 0];
  source.on('error', (error) => {
    if (isConnectionTrouble(error) || isToldElsewhere(error)) return;
    const reason = explainRedis(error);
    const now = Date.now();
    // One outage is told of every job.
    const kind = reason.replace(/\bjob \S+/, 'job');
    if (kind === lastKind && now - lastLoggedAt < REPEATED_ERROR_MS) return;
    [lastKind, lastLoggedAt] = [kind, now];
    log(reason);
  });
}

/** So many times in a row is no restart any more. */
const HANG_UPS = 3;

/** Logs the beginning of each outage, each reason of it once, and its end. */
function createOutageLog(logger: Logger) {
  const told = new Set<string>();
  let readOnly = false;
  let everConnected = false;
  let backTimer: NodeJS.Timeout | undefined;
  let closedSince = 0;

  function back(): void {
    readOnly = false;
    logger.info({}, everConnected || told.size > 0 ? 'redis is back' : 'redis connected');
    everConnected = true;
    told.clear();
  }

  function away(error: Error): void {
    clearTimeout(backTimer);
    readOnly = error.message.startsWith('READONLY');
    tell(explainRedis(error));
  }

  function tell(reason: string): void {
    if (told.has(reason)) return;
    told.add(reason);
    logger.warn({ reason }, 'redis is away; waiting for it');
  }

  return {
    isReadOnly: () => readOnly,
    away,
    /** A server that hangs up each time causes no error. */
    closed(): void {
      if (++closedSince >= HANG_UPS && told.size === 0) tell('it hangs up at once; does it expect TLS (rediss://)?');
    },
    connected(): void {
      closedSince = 0;
      // A replica takes every connection and no write: that it is left in peace for a while tells that it is none.
      if (readOnly) backTimer = setTimeout(back, 3 * READ_ONLY_RECONNECT_PAUSE_MS).unref();
      else if (told.size > 0 || !everConnected) back();
    },
  };
}
