import { type BackendFactory, createRedisBackend, type IQueueBackend, type JobJson, RedisQueueBackend } from 'bullmq';
import { Redis } from 'ioredis';
import { brokenReason, type ExaminedHash, examineHash, NO_SCHEDULER, toJobJson } from './job-hash.ts';
import { MAX_DATA_BYTES, makeScriptsLenient, READ_JOB } from './lenient-scripts.ts';

/** KEYS: a job's hash. ARGV: how many values follow, fields and values to set, then fields to drop. */
const MEND = {
  name: 'categorizerMendJob',
  lua: `
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return 0 end
local last = tonumber(ARGV[1]) + 1
if last > 1 then redis.call('HSET', KEYS[1], unpack(ARGV, 2, last)) end
if #ARGV > last then redis.call('HDEL', KEYS[1], unpack(ARGV, last + 1)) end
return 1`,
};

/**
 * What ties a job to others goes, as one of it kept the job from being finished. KEYS: active list, failed set, stalled
 * set, the job's hash. ARGV: its id, now, why it failed, 1 where it must still be in work.
 */
const FAIL = {
  name: 'categorizerFailJob',
  lua: `
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 and ARGV[4] == '1' then return 0 end
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4] .. ':lock')
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
if redis.call('TYPE', KEYS[4]).ok == 'hash' then
  redis.call('HDEL', KEYS[4], 'parent', 'parentKey', 'deid', 'rjk', 'defa')
  redis.call('HSET', KEYS[4], 'failedReason', ARGV[3], 'finishedOn', ARGV[2])
end
return 1`,
};

/** A job of a scheduler that is not there is left in work by BullMQ: it wants to make the scheduler's next job first. */
const EXISTS = { name: 'categorizerExists', lua: `return redis.call('EXISTS', KEYS[1])` };

const READ = { name: 'categorizerReadJob', lua: READ_JOB };

interface Script {
  readonly name: string;
  readonly lua: string;
}

/** BullMQ's scripts that answer with a job to do: fields and values, then its id. */
const FETCHING = new Set(['moveToActive', 'moveToFinished', 'moveToDelayed']);

/**
 * BullMQ's backend for queues that anybody may write to. A job whose hash is broken is mended when it is taken, so that
 * BullMQ can finish it, and carries why as a failure that was deferred: BullMQ then fails it without a call of the processor.
 */
export const createTolerantBackend: BackendFactory<RedisQueueBackend> = (name, opts, options) => {
  if (opts.connection instanceof Redis) makeScriptsLenient(opts.connection);
  const backend = createRedisBackend(name, opts, options);
  const execute = backend.execCommand.bind(backend);
  backend.execCommand = (client, command, args) => {
    const answer = execute(client, command, args);
    return FETCHING.has(command) && answer instanceof Promise
      ? answer.then((raw) => mendFetched(backend, raw))
      : answer;
  };
  backend.getJobData = async (id) => (await readJobHash(backend, id, MAX_DATA_BYTES))?.json;
  return backend;
};

async function mendFetched(backend: RedisQueueBackend, answer: unknown): Promise<unknown> {
  if (!Array.isArray(answer) || !Array.isArray(answer[0])) return answer;
  const [values, id, ...rest] = answer;
  const raw = toHash(values);
  const isStranded =
    raw.rjk !== undefined && (await evaluate(backend, EXISTS, [backend.toKey(`repeat:${raw.rjk}`)])) === 0;
  const { mended, changed, dropped, problem } = examineHash(isStranded ? { ...raw, [NO_SCHEDULER]: raw.rjk } : raw);
  if (dropped.length > 0 || Object.keys(changed).length > 0) {
    const set = Object.entries(changed).flat();
    await evaluate(backend, MEND, [backend.toKey(id)], [set.length, ...set, ...dropped]);
  }
  const hash = problem === undefined ? mended : { ...mended, defa: brokenReason(problem) };
  return [Object.entries(hash).flat(), id, ...rest];
}

export interface ReadJob {
  readonly json: JobJson;
  readonly examined: ExaminedHash;
}

/** @returns undefined where there is none; what is no job but has its key is a broken one */
export async function readJobHash(
  backend: IQueueBackend,
  id: string,
  mostDataBytes: number,
): Promise<ReadJob | undefined> {
  const values = await evaluate(backend, READ, [backend.toKey(id)], [mostDataBytes]);
  if (!Array.isArray(values) || values.length === 0) return undefined;
  const examined = examineHash(toHash(values));
  return { json: toJobJson(id, examined), examined };
}

/**
 * Moves a job to the failed set whatever it is, where BullMQ's own script cannot.
 *
 * @param options.isInWork only if it is in the active list still, and was not removed meanwhile
 */
export async function failByForce(
  backend: IQueueBackend,
  { id, reason, isInWork }: { readonly id: string; readonly reason: string; readonly isInWork: boolean },
): Promise<boolean> {
  const keys = ['active', 'failed', 'stalled', id].map((type) => backend.toKey(type));
  return (await evaluate(backend, FAIL, keys, [id, Date.now(), reason, isInWork ? 1 : 0])) === 1;
}

/**
 * Whether BullMQ cannot finish a job because of what the job is, and not because Redis is away, full or forbids it, or the
 * job was taken by another worker meanwhile.
 */
export function isFaultOfJob(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // BullMQ's own, such as a lost lock.
  if ('code' in error || 'syscall' in error) return false;
  if (error.name === 'ReplyError') {
    return (
      /^(WRONGTYPE|ERR) .*script/.test(error.message) && !/OOM|READONLY|MISCONF|NOPERM|NOREPLICAS/.test(error.message)
    );
  }
  return error instanceof TypeError || error instanceof RangeError || /^Unknown backoff strategy/.test(error.message);
}

/** Runs a script of our own, which is defined when it is first used. */
export async function evaluate(
  backend: IQueueBackend,
  { name, lua }: Script,
  keys: readonly string[],
  values: readonly (string | number)[] = [],
): Promise<unknown> {
  if (!(backend instanceof RedisQueueBackend)) throw new TypeError('expected a queue in Redis');
  const client = await backend.client;
  if (!(name in client)) client.defineCommand(name, { numberOfKeys: keys.length, lua });
  return client.runCommand(name, [...keys, ...values]);
}

function toHash(values: readonly unknown[]): Record<string, string> {
  const hash: Record<string, string> = {};
  for (let i = 0; i < values.length; i += 2) hash[String(values[i])] = String(values[i + 1]);
  return hash;
}
