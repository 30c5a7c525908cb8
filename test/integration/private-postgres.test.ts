import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished, vi } from 'vitest';
import { createDatabase, type PostgresServer, query, startPostgres } from '../support/postgres-server.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/private-postgres.mjs', import.meta.url));
const PATIENCE = { timeout: 20_000, interval: 20 };

async function ownPostgres(settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
  const server = await startPostgres({ settings });
  onTestFinished(() => server.remove());
  return server;
}

async function value(url: string, expression: string): Promise<unknown> {
  const [row] = (await query(url, `SELECT ${expression} AS value`)) as { value: unknown }[];
  return row?.value;
}

async function dataDirectory(url: string): Promise<string> {
  return String(await value(url, `current_setting('data_directory')`));
}

function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The ids of all segments on this machine. */
function sharedMemory(): number[] {
  const rows = readFileSync('/proc/sysvipc/shm', 'utf8').trim().split('\n').slice(1);
  return rows.map((row) => Number(row.trim().split(/\s+/)[1]));
}

it('answers queries, with the settings that were asked for', async () => {
  const { url } = await ownPostgres({ work_mem: '12MB' });
  expect(await value(url, `current_setting('work_mem')`)).toBe('12MB');
  expect(await value(url, `current_setting('server_encoding')`)).toBe('UTF8');
});

it('says what PostgreSQL said when it does not start', async () => {
  await expect(startPostgres({ settings: { no_such_setting: '1' } })).rejects.toThrow(
    'unrecognized configuration parameter "no_such_setting"',
  );
});

it('two servers at once do not see each other, and one outlives the other', async () => {
  const [one, other] = await Promise.all([ownPostgres(), ownPostgres()]);
  await query(one.url, 'CREATE TABLE of_one ()');
  expect(await value(other.url, `to_regclass('of_one')`)).toBeNull();

  await one.remove();
  expect(await value(other.url, '1')).toBe(1);
});

it('leaves no process when it is stopped, and no file when it is removed', async () => {
  const server = await ownPostgres();
  const directory = await dataDirectory(server.url);
  const background = (await query(server.url, 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()')) as {
    pid: number;
  }[];
  const pids = [server.pid, ...background.map(({ pid }) => pid)];
  expect(pids.length).toBeGreaterThan(3);
  expect(pids.filter((pid) => !lives(pid))).toEqual([]);

  await server.stop();
  expect(pids.filter(lives)).toEqual([]);
  expect(existsSync(directory)).toBe(true);

  await server.remove();
  expect(existsSync(directory)).toBe(false);
});

it.each(['SIGKILL', 'SIGQUIT', 'SIGINT'] as const)(
  'comes back after %s on the same port, with all that was committed',
  async (signal) => {
    const server = await ownPostgres();
    const { pid, url } = server;
    await query(url, 'CREATE TABLE committed (number int)');
    for (let number = 0; number < 20; number += 1) await query(url, `INSERT INTO committed VALUES (${number})`);

    server.kill(signal);
    await server.restart();

    expect(server.pid).not.toBe(pid);
    expect(await value(url, '(SELECT count(*)::int FROM committed)')).toBe(20);
  },
);

it.skipIf(process.platform !== 'linux')('leaves no shared memory when it is removed after it was killed', async () => {
  const server = await ownPostgres();
  const lock = readFileSync(`${await dataDirectory(server.url)}/postmaster.pid`, 'utf8').split('\n');
  // The seventh line: key and id of the segment.
  const segment = Number(lock[6]?.trim().split(/\s+/)[1]);
  expect(sharedMemory()).toContain(segment);

  server.kill('SIGKILL');
  await server.remove();

  expect(sharedMemory()).not.toContain(segment);
});

it('ends with the process that started it, with its files, though that was killed', async () => {
  const start = `console.log((await (await import(${JSON.stringify(SCRIPT)})).startPostgres()).url)`;
  const starter = spawn(process.execPath, ['--input-type=module', '--eval', start], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void starter.kill('SIGKILL'));
  const [line] = await once(starter.stdout, 'data');
  const url = String(line).trim();
  const directory = await dataDirectory(url);

  starter.kill('SIGKILL');

  await vi.waitFor(() => expect(existsSync(directory)).toBe(false), PATIENCE);
  await expect(query(url, 'SELECT 1')).rejects.toThrow('ECONNREFUSED');
});

it('a database on it is empty, and is dropped with the connections to it', async () => {
  const { url } = await ownPostgres();
  const [database, other] = await Promise.all([createDatabase(url), createDatabase(url)]);
  await query(database.url, 'CREATE TABLE of_one ()');
  expect(await value(other.url, `to_regclass('of_one')`)).toBeNull();

  const sleeping = expect(query(database.url, 'SELECT pg_sleep(60)')).rejects.toThrow('terminating connection');
  const active = `SELECT query FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'`;
  await vi.waitFor(async () => expect(await query(url, active)).toHaveLength(1), PATIENCE);
  await database.drop();
  await sleeping;
  await expect(query(database.url, 'SELECT 1')).rejects.toThrow('does not exist');
});
