import { readFile } from 'node:fs/promises';
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { startRedis } from './redis-server.ts';

const PAGE = new URL('../../docs/least-privilege-redis.md', import.meta.url);
const PASSWORD = 'sesame';

/** The users of the page, as its lines say: `user <name> …`. */
async function readUsers(): Promise<Map<string, string[]>> {
  const page = await readFile(PAGE, 'utf8');
  const lines = [...page.matchAll(/^user (categorizer-\S+) (.+)$/gm)];
  return new Map(lines.map(([, name, rules]) => [name, rules.replace('<password>', PASSWORD).split(' ')]));
}

/** What a user who is given by hosting companies may do. */
const HOSTED = ['on', `>${PASSWORD}`, '~*', '&*', '+@all', '-@dangerous', '-@admin'];

/** A Redis of one test's own with the users of the page, and one as hosting companies give it. */
export async function startRedisWithUsers() {
  const server = await startRedis();
  const admin = new Redis(server.url);
  // A test that stops Redis expects it to be away.
  admin.on('error', () => undefined);
  onTestFinished(async () => {
    admin.disconnect();
    await server.remove();
  });
  for (const [name, rules] of [...(await readUsers()), ['hosted', HOSTED] as const]) {
    await admin.call('ACL', 'SETUSER', name, ...rules);
  }
  const urlOf = (name: string) => `redis://${name}:${PASSWORD}@127.0.0.1:${server.port}`;
  return {
    server,
    admin,
    urlOf,
    /** Adds permissions to those of the page. */
    grant: (name: string, ...rules: string[]) => admin.call('ACL', 'SETUSER', name, ...rules),
    /** What the users were refused, as `user: command or key`. */
    async refused(): Promise<string[]> {
      const entries = (await admin.call('ACL', 'LOG')) as (string | number)[][];
      const field = (entry: (string | number)[], name: string) => entry[entry.indexOf(name) + 1];
      return entries.map((entry) => `${field(entry, 'username')}: ${field(entry, 'object')}`).sort();
    },
    /** What Redis answers to a command of this user: the code of its refusal, or `OK`. */
    async answer(name: string, ...[command, ...args]: [string, ...string[]]): Promise<string> {
      const connection = new Redis(urlOf(name), { enableReadyCheck: false });
      try {
        await connection.call(command, ...args);
        return 'OK';
      } catch (error) {
        return error instanceof Error ? error.message.split(' ')[0] : 'no error';
      } finally {
        connection.disconnect();
      }
    },
  };
}
