import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { MismatchedJobs } from '../../application/ports.ts';
import { describeKind } from '../../domain/feature-space.ts';

/** Jobs looked at in each list, those first that are taken next: of more jobs the count is an estimate. */
const SAMPLE = 500;

/** Jobs on the queue may name any number of spaces: those with the most jobs are told apart. */
const MOST_KINDS = 20;

/**
 * Counts jobs with the record of misfit-record.ts by what they want.
 *
 * KEYS: waiting list, active list, prioritized set, delayed set. ARGV: first part of the jobs' keys, SAMPLE.
 * Returns JSON: a list of [what it wants, jobs, whether they are delayed].
 */
const COUNT = `
local counted = {}
local function look(total, ids, delayed)
  local found = {}
  for _, id in ipairs(ids) do
    -- Anything may be there in place of a job.
    local progress = redis.pcall('HGET', ARGV[1] .. id, 'progress')
    if type(progress) == 'string' and string.find(progress, '"misfit"', 1, true) then
      local ok, read = pcall(cjson.decode, progress)
      local misfit = ok and type(read) == 'table' and read['misfit']
      if type(misfit) == 'table' then
        local wanted = cjson.encode({ space = misfit['space'], width = misfit['width'] })
        found[wanted] = (found[wanted] or 0) + 1
      end
    end
  end
  for wanted, jobs in pairs(found) do
    counted[#counted + 1] = { wanted, math.floor(jobs * total / #ids + 0.5), delayed }
  end
end

local last = tonumber(ARGV[2])
look(redis.call('LLEN', KEYS[1]), redis.call('LRANGE', KEYS[1], -last, -1), false)
look(redis.call('LLEN', KEYS[2]), redis.call('LRANGE', KEYS[2], -last, -1), false)
look(redis.call('ZCARD', KEYS[3]), redis.call('ZRANGE', KEYS[3], 0, last - 1), false)
look(redis.call('ZCARD', KEYS[4]), redis.call('ZRANGE', KEYS[4], 0, last - 1), true)
return #counted == 0 and '[]' or cjson.encode(counted)
`;

const countedSchema = z.array(z.tuple([z.string(), z.number(), z.boolean()]));
const wantedSchema = z.object({
  space: z.string().optional().catch(undefined),
  width: z.number().optional().catch(undefined),
});

/** The jobs that a worker gave back and that wait for one that fits, the most numerous first. */
export async function readMismatchedJobs(
  connection: Redis,
  toKey: (type: string) => string,
): Promise<readonly MismatchedJobs[]> {
  const keys = ['wait', 'active', 'prioritized', 'delayed'].map(toKey);
  const reply = await connection.eval(COUNT, keys.length, ...keys, toKey(''), SAMPLE);
  const byKind = new Map<string, MismatchedJobs>();
  for (const [wanted, jobs, delayed] of countedSchema.parse(JSON.parse(String(reply)))) {
    // A script gives {} as [], which stands for no space and no width.
    const kind = wantedSchema.safeParse(JSON.parse(wanted)).data ?? {};
    const before = byKind.get(wanted) ?? { ...kind, waiting: 0, delayed: 0 };
    const state = delayed ? 'delayed' : 'waiting';
    byKind.set(wanted, { ...before, [state]: before[state] + jobs });
  }
  const all = [...byKind.values()].sort(
    (a, b) => b.waiting + b.delayed - a.waiting - a.delayed || describeKind(a).localeCompare(describeKind(b)),
  );
  return all.slice(0, MOST_KINDS);
}
