import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Redis } from 'ioredis';
import type { CollectorClaims, CollectorHolder } from '../../application/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { askRedis } from './connection.ts';
import { collectorKey } from './import-keys.ts';

/** The claim of a collector that died on another machine ends after so long. */
const CLAIM_MS = 30_000;
const RENEW_MS = 10_000;

/** KEYS: the claim. ARGV: its value, lifetime in milliseconds, or 0 to give it up. Returns 1 where it was still held. */
const IF_HELD = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
`;

/**
 * Claims of one collector, renewed until they are released.
 *
 * @param options.out the file that it writes
 */
export function createCollectorClaims(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly out: string;
}): CollectorClaims {
  const { connection, prefix, out } = options;
  const own: CollectorHolder = { host: hostname(), pid: process.pid, since: new Date().toISOString(), out };
  const value = JSON.stringify({ ...own, token: randomUUID() });
  const held = new Set<string>();
  let timer: NodeJS.Timeout | undefined;

  const change = async (key: string, ms: number): Promise<boolean> =>
    (await askRedis(() => connection.eval(IF_HELD, 1, key, value, ms))) === 1;

  /** What is lost is seen by `confirm`; an outage of Redis by whatever is asked next. */
  function renew(): void {
    for (const key of held) change(key, CLAIM_MS).catch(() => undefined);
  }

  async function take(runId: string | undefined): Promise<CollectorHolder | undefined> {
    const key = collectorKey(prefix, runId);
    if (held.has(key)) return undefined;
    for (;;) {
      const taken = await askRedis(() => connection.set(key, value, 'PX', CLAIM_MS, 'NX'));
      if (taken === 'OK') break;
      const current = await askRedis(() => connection.get(key));
      if (current === null) continue;
      const holder: CollectorHolder = JSON.parse(current);
      if (holder.host !== own.host || isAlive(holder.pid)) return holder;
      // It died here: nobody need wait until its claim runs out.
      await askRedis(() => connection.eval(IF_HELD, 1, key, current, 0));
    }
    held.add(key);
    timer ??= setInterval(renew, RENEW_MS).unref();
    return undefined;
  }

  return {
    take,
    async confirm() {
      for (const key of held) {
        if (await change(key, CLAIM_MS)) continue;
        const message = 'another collector took the run while this process was frozen: nothing was written';
        throw new CategorizerError('RUN_HELD', message);
      }
    },
    async release() {
      clearInterval(timer);
      // Where Redis is away they end by themselves.
      for (const key of held) await change(key, 0).catch(() => undefined);
      held.clear();
    },
  };
}

/** Whether there is a process of that id on this machine. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
