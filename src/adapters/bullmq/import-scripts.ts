/**
 * Scripts that see one moment of a chunk: its entry, its job and its result change at the same time under many hands. They
 * read BullMQ's own keys: `<queue>:<job id>` is the hash of a job, `<queue>:failed` and `<queue>:completed` are sorted sets.
 */

/**
 * Where chunks are.
 *
 * KEYS: entries, answers. ARGV: first parts of the keys of jobs, results and payloads, the run id, then chunk numbers.
 * Returns for each chunk: entry, answer, state, the attempt that the state is about, the reason of its failure.
 */
export const CHUNK_STATES = `
local jobs, results, payloads, run = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function answered(id)
  local data = redis.call('HGET', results .. 'r-' .. id, 'data')
  if not data then return false end
  local key = string.match(data, '"payload":"([^"]+)"')
  if not key then return true end
  return string.sub(key, 1, #payloads) == payloads and redis.call('EXISTS', key) == 1
end

local function stateOf(id)
  local there = redis.call('EXISTS', jobs .. id) == 1
  local failed = there and redis.call('ZSCORE', jobs .. 'failed', id)
  -- A job completes after its result is there: taken before that, the result could be published once more.
  if there and not failed and not redis.call('ZSCORE', jobs .. 'completed', id) then return 'waiting' end
  if answered(id) then return 'answered' end
  return failed and 'failed' or 'missing'
end

local ranks = { missing = 0, failed = 1, waiting = 2, answered = 3 }
local found = {}
for i = 5, #ARGV do
  local entry = redis.call('HGET', KEYS[1], ARGV[i])
  local answer = redis.call('HGET', KEYS[2], ARGV[i])
  local state, attempt, reason = 'missing', '', ''
  if answer then
    state = 'collected'
  elseif entry then
    for a in string.gmatch(string.match(entry, '[^:]*$'), '%d+') do
      local id = run .. '-' .. ARGV[i] .. (a == '0' and '' or '.' .. a)
      local itsState = stateOf(id)
      if attempt == '' or ranks[itsState] >= ranks[state] then state, attempt = itsState, a end
      if itsState == 'failed' and state == 'failed' then
        reason = redis.call('HGET', jobs .. id, 'failedReason') or ''
      end
    end
  end
  for _, value in ipairs({ entry or '', answer or '', state, attempt, reason }) do found[#found + 1] = value end
end
return found
`;

/**
 * Makes the entry of a chunk where its job is there and is its own.
 *
 * KEYS: entries. ARGV: key of the job, key of the completed jobs, id of the job, key of the result, chunk number, entry,
 * lifetime in seconds, and of the payload: its key, count, CRC-32 and width. Returns `own`; `foreign` where somebody else's
 * job has the id; `spent` where the job, or what is left of it, is from an earlier time and will not be answered.
 */
export const CLAIM_CHUNK = `
local answered = redis.call('EXISTS', ARGV[4]) == 1
-- No packed job is that long, and decoding what somebody else put there would hold Redis up.
if redis.call('HSTRLEN', ARGV[1], 'data') > 65536 then return 'foreign' end
local data = redis.call('HGET', ARGV[1], 'data')
if data then
  local ok, job = pcall(cjson.decode, data)
  if not ok or type(job) ~= 'table' then return 'foreign' end
  if job.payload ~= ARGV[8] or job.count ~= tonumber(ARGV[9]) or job.crc32 ~= tonumber(ARGV[10])
    or job.width ~= tonumber(ARGV[11]) then return 'foreign' end
  if redis.call('ZSCORE', ARGV[2], ARGV[3]) and not answered then return 'spent' end
elseif not answered then
  return 'spent'
end
redis.call('HSET', KEYS[1], ARGV[5], ARGV[6])
redis.call('EXPIRE', KEYS[1], ARGV[7])
return 'own'
`;

/**
 * Which of these results seem to name a run. ARGV: first part of the results' keys, what to look for in their JSON, then ids. A
 * long one is that of a readable chunk, found by its id.
 */
export const RESULTS_NAMING = `
local found = {}
for i = 3, #ARGV do
  local key = ARGV[1] .. ARGV[i]
  if redis.call('HSTRLEN', key, 'data') <= 65536 then
    local data = redis.call('HGET', key, 'data')
    if data and string.find(data, ARGV[2], 1, true) then found[#found + 1] = ARGV[i] end
  end
end
return found
`;
