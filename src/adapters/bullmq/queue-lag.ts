import type { Redis } from 'ioredis';

/** Jobs looked at on either end of the waiting list: one that is tried again comes in at the end of the new ones. */
const ENDS = 10;

/** Priorities looked at, the most urgent first. */
const MOST_PRIORITIES = 100;

/**
 * Reads a few entries of each set, so that its time does not grow with the queue. Scores are BullMQ's: of a prioritized
 * job priority × 2^32 + a counter, of a delayed one the time when it is due × 4096 + a counter.
 *
 * KEYS: waiting list, prioritized set, delayed set. ARGV: first part of the jobs' keys, now, ENDS, MOST_PRIORITIES.
 */
const OLDEST_TAKEABLE = `
local oldest = tonumber(ARGV[2])
local function look(ids)
  for _, id in ipairs(ids) do
    -- Anything may be there in place of a job, and an error has neither.
    local job = redis.pcall('HMGET', ARGV[1] .. id, 'timestamp', 'progress')
    local enqueued = tonumber(job[1] or nil)
    -- One that was given back, as no model fitted, waits for another worker and not for a free one.
    local again = job[2] and string.match(job[2], '"misfit":{[^}]*"due":(%d+)')
    if again then enqueued = tonumber(again) end
    if enqueued and enqueued > 0 and enqueued < oldest then oldest = enqueued end
  end
end

look(redis.call('LRANGE', KEYS[1], -ARGV[3], -1))
look(redis.call('LRANGE', KEYS[1], 0, ARGV[3] - 1))

local priority = 0
for _ = 1, ARGV[4] do
  local least = string.format('%.0f', priority * 4294967296)
  local first = redis.call('ZRANGEBYSCORE', KEYS[2], least, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if not first[1] then break end
  look({ first[1] })
  priority = math.floor(tonumber(first[2]) / 4294967296) + 1
end

local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
if first[1] then
  local due = math.floor(tonumber(first[2]) / 4096)
  if due < oldest then oldest = due end
end
return string.format('%.0f', oldest)
`;

/**
 * Age in seconds of the oldest job that a worker could take now: one that waits, with a priority or without, counts from
 * when it was enqueued, and a delayed one that is overdue from when it was due; so does one that a worker gave back because
 * its model did not fit. 0 where there is none.
 */
export async function readQueueLag(connection: Redis, toKey: (type: string) => string): Promise<number> {
  const keys = [toKey('wait'), toKey('prioritized'), toKey('delayed')];
  const now = Date.now();
  const oldest = await connection.eval(OLDEST_TAKEABLE, keys.length, ...keys, toKey(''), now, ENDS, MOST_PRIORITIES);
  return Math.max(0, now - Number(oldest)) / 1000;
}
