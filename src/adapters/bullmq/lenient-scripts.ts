import type { Redis } from 'ioredis';
import { MAX_CHUNK_JSON_BYTES } from '../../contract/index.ts';

/** Longer data is read from nowhere but the page of one job. */
export const MAX_DATA_BYTES = MAX_CHUNK_JSON_BYTES;
/** Of every other field of a job. */
export const MAX_FIELD_BYTES = 1024 * 1024;

/** The fields of a job's hash that BullMQ 6 reads. */
const FIELDS = [
  ...['name', 'data', 'opts', 'progress', 'parent', 'parentKey', 'timestamp', 'delay', 'priority'],
  ...['atm', 'attemptsMade', 'ats', 'stc', 'processedOn', 'finishedOn', 'failedReason', 'stacktrace', 'returnvalue'],
  ...['defa', 'rjk', 'deid', 'pb'],
];

/** Names of the keys that make a queue: a job with such an id is none, whatever is under its key. */
const PARTS = [
  ...['active', 'wait', 'waiting-children', 'paused', 'id', 'delayed', 'prioritized', 'stalled-check', 'completed'],
  ...['failed', 'stalled', 'repeat', 'limiter', 'meta', 'events', 'pc', 'marker', 'de'],
];

/** What `READ_JOB` says of a key that is no hash. */
export const KIND = '!kind';
/** Begins the name of a field that says how long a field is that was left out. */
export const TOO_LONG = '!long ';

/**
 * `readJob(key, most)`: the fields and values of a job's hash, without those that are too long: a reply of half a gigabyte
 * would end the process that asked.
 */
const READ_JOB_FUNCTION = `
local function isPart(key)
  local name = string.match(key, ':([%l-]+)$')
  if not name then return false end
  for _, part in ipairs({ ${PARTS.map((part) => `'${part}'`).join(', ')} }) do
    if name == part then return true end
  end
  return false
end

local function readJob(key, most)
  if isPart(key) then return { '${KIND}', 'part of the queue itself' } end
  -- Most jobs are small as a whole, which is one question and not one for each field.
  local size = redis.pcall('MEMORY', 'USAGE', key, 'SAMPLES', '0')
  if type(size) == 'number' and size <= ${MAX_FIELD_BYTES} and size <= most then
    local job = redis.pcall('HGETALL', key)
    if not job.err then return job end
  end
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then return {} end
  if kind ~= 'hash' then return { '${KIND}', kind } end
  local job, names = {}, {}
  for _, field in ipairs({ ${FIELDS.map((field) => `'${field}'`).join(', ')} }) do
    local length = redis.call('HSTRLEN', key, field)
    if length > (field == 'data' and most or ${MAX_FIELD_BYTES}) then
      job[#job + 1] = '${TOO_LONG}' .. field
      job[#job + 1] = tostring(length)
    elseif length > 0 then
      names[#names + 1] = field
    end
  end
  if #names == 0 then return job end
  for i, value in ipairs(redis.call('HMGET', key, unpack(names))) do
    job[#job + 1] = names[i]
    job[#job + 1] = value
  end
  return job
end
`;

/** KEYS: a job's hash. ARGV: the most bytes of data. */
export const READ_JOB = `${READ_JOB_FUNCTION}return readJob(KEYS[1], tonumber(ARGV[1]))`;

/**
 * Stands before a script of BullMQ and takes the place of `redis.call` in it. One hash with a bad value, or a key that is
 * no hash, would end the script half done, and with it every job that the same call is about: BullMQ takes jobs out of a
 * list before it looks at them. Here what is no job counts as absent, and what is no number as 0.
 *
 * It runs before each call of BullMQ's: what is rare is made where it is needed.
 */
function leniency(isFetching: boolean): string {
  return `
local redis = (function(redis)
  ${READ_JOB_FUNCTION}
  local pcall = redis.pcall

  -- The hash of a job goes with its logs; what is no job stays.
  local function delete(key, logs, ...)
    local kind = redis.call('TYPE', key).ok
    if kind == 'hash' and not isPart(key) then return redis.call('DEL', key, logs, ...) end
    return redis.call('DEL', logs, ...) + 1
  end

  local function answerAnyway(err, command, key, ...)
    if string.find(err, 'WRONGTYPE', 1, true) then
      if command == 'HGET' or command == 'GET' or command == 'ZSCORE' then return false end
      local lists = { HMGET = 1, HGETALL = 1, SMEMBERS = 1, LRANGE = 1, ZRANGE = 1, ZPOPMIN = 1 }
      if lists[command] then return {} end
      return 0
    end
    if command == 'HINCRBY' and string.find(err, 'integer', 1, true) then
      redis.call('HSET', key, (...), 0)
    end
    return redis.call(command, key, ...)
  end

  local function call(command, key, field, ...)
    ${isFetching ? `if command == 'HGETALL' then return readJob(key, ${MAX_DATA_BYTES}) end` : ''}
    if command == 'DEL' and field == key .. ':logs' then return delete(key, field, ...) end
    if (command == 'HMSET' or command == 'HINCRBY' or command == 'HSET') and isPart(key)
      and field ~= 'opts.maxLenEvents' and field ~= 'paused' then return 0 end
    local answer
    if field == nil then answer = pcall(command, key) else answer = pcall(command, key, field, ...) end
    if field == 'priority' and answer and command == 'HGET' then
      local priority = tonumber(answer)
      if not priority or not (priority >= 0 and priority <= 2097152) then return '0' end
    end
    if type(answer) ~= 'table' or not answer.err then return answer end
    if field == nil then return answerAnyway(answer.err, command, key) end
    return answerAnyway(answer.err, command, key, field, ...)
  end
  return { call = call, pcall = pcall, error_reply = redis.error_reply, sha1hex = redis.sha1hex }
end)(redis)
`;
}

/** How BullMQ names its scripts: the file's name and its version. */
const BULLMQS = /^\w+:\d+\.\d+\.\d+/;

const lenient = new WeakSet<object>();

/** From now on what BullMQ defines on this connection is lenient. Doing it again changes nothing. */
export function makeScriptsLenient(connection: Pick<Redis, 'defineCommand'>): void {
  if (lenient.has(connection)) return;
  lenient.add(connection);
  const define = connection.defineCommand.bind(connection);
  connection.defineCommand = (name, definition) => {
    const { lua } = definition;
    define(
      name,
      BULLMQS.test(name) ? { ...definition, lua: leniency(lua.includes('prepareJobForProcessing')) + lua } : definition,
    );
  };
}
