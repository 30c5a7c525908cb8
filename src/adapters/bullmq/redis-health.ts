import type { Redis } from 'ioredis';
import { DEFAULT_PREFIX } from '../../contract/index.ts';
import { reasonOfOutage } from './connection.ts';
import { describeTrouble, explainRedis, isForbidden, troubleOf } from './redis-errors.ts';

/** The probe goes away by itself. */
const PROBE_SECONDS = 10;

export interface RedisHealth {
  /** A sentence that says why Redis cannot be trusted with a queue; none where it can, as far as that can be told. */
  readonly problem?: string;
  /** What this user is not allowed to look at. */
  readonly unchecked?: string;
}

/**
 * Whether Redis can be trusted with a queue: it answers, takes a write, and does not drop jobs when memory is short.
 *
 * @param connection from `connectForProbes` or `connectOrFail`
 * @param options.readsOnly a user who may not write is all right
 */
export async function checkRedis(
  connection: Redis,
  prefix: string,
  options: { readonly readsOnly?: boolean } = {},
): Promise<RedisHealth> {
  try {
    // One small write tells of a full Redis and of a replica, also where INFO is forbidden.
    await connection.set(`${prefix}:probe`, '1', 'EX', PROBE_SECONDS);
  } catch (error) {
    if (!options.readsOnly || !isForbidden(error)) return { problem: whyNot(connection, error) };
  }
  try {
    // INFO and not CONFIG GET, which fewer users may call.
    const info = await connection.info('memory');
    const policy = /^maxmemory_policy:(.*)$/m.exec(info)?.[1].trim();
    if (policy === 'noeviction') return {};
    // Some services leave it out.
    if (policy === undefined) return { unchecked: UNCHECKED };
    return {
      problem: `maxmemory-policy of Redis is ${policy}, so it may drop jobs when memory is short: set it to noeviction`,
    };
  } catch (error) {
    return isForbidden(error) ? { unchecked: UNCHECKED } : { problem: whyNot(connection, error) };
  }
}

const UNCHECKED =
  'the maxmemory-policy of Redis could not be checked, as its user may not call INFO: make sure that it is noeviction';

function whyNot(connection: Redis, error: unknown): string {
  const trouble = troubleOf(error);
  if (trouble?.kind === 'refused') return describeTrouble(trouble);
  // The error of a command says that there is no connection; why there is none is known elsewhere.
  const reason = reasonOfOutage(connection);
  if (reason && troubleOf(reason)?.kind === 'refused') return explainRedis(reason);
  return `Redis does not answer: ${explainRedis(reason ?? error)}`;
}

/** @returns a sentence that says why Redis cannot be trusted with a queue, or undefined */
export async function redisProblem(connection: Redis, prefix = DEFAULT_PREFIX): Promise<string | undefined> {
  return (await checkRedis(connection, prefix)).problem;
}

/** For readiness: the problem alone. What is wrong when Redis is first reached, and what cannot be checked, is told once. */
export function createRedisProblem(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly warn: (reason: string) => void;
}): () => Promise<string | undefined> {
  const { connection, prefix, warn } = options;
  let warned = false;
  connection.once('ready', () => {
    void ask().then((problem) => problem === undefined || warn(problem));
  });
  return ask;

  async function ask(): Promise<string | undefined> {
    const { problem, unchecked } = await checkRedis(connection, prefix);
    if (unchecked !== undefined && !warned) {
      warned = true;
      warn(unchecked);
    }
    return problem;
  }
}
