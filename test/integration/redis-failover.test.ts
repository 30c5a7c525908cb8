import { once } from 'node:events';
import { createServer, type Socket, connect as tcpConnect } from 'node:net';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { connectPatiently, logErrors } from '../../src/adapters/bullmq/connection.ts';
import { createFakeLogger } from '../support/fake-observers.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

async function ownRedis(): Promise<RedisServer> {
  // A replica is served at once, and not after the 5 s in which others may come.
  const server = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
  onTestFinished(() => server.remove());
  return server;
}

/** An address that leads to one server and later to another, as that of a primary does; open connections stay. */
async function startForwarder(target: RedisServer) {
  let port = target.port;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = tcpConnect(port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
    }
    client.pipe(upstream).pipe(client);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `redis://127.0.0.1:${address.port}`,
    leadTo: (next: RedisServer) => {
      port = next.port;
    },
  };
}

it('a worker leaves a primary that was demoted, and its command arrives at the new one', async () => {
  const [old, promoted] = [await ownRedis(), await ownRedis()];
  const address = await startForwarder(old);
  const connection = connectPatiently(address.url, createFakeLogger());
  onTestFinished(() => connection.disconnect());
  expect(await connection.set('before', '1')).toBe('OK');

  const admin = new Redis(old.url);
  await admin.replicaof('127.0.0.1', promoted.port);
  admin.disconnect();
  address.leadTo(promoted);

  expect(await connection.set('after', '1')).toBe('OK');
  const onPromoted = new Redis(promoted.url);
  expect(await onPromoted.get('after')).toBe('1');
  onPromoted.disconnect();
});

it('an error that repeats itself is one line in the log, another one is another', () => {
  const lines: string[] = [];
  const listeners: ((error: Error) => void)[] = [];
  logErrors({ on: (_event, listener) => listeners.push(listener) }, (reason) => lines.push(reason));
  for (const message of ['MOVED 1', 'MOVED 1', 'MOVED 1', 'NOPERM', 'MOVED 1']) listeners[0](new Error(message));
  expect(lines).toEqual(['MOVED 1', 'NOPERM', 'MOVED 1']);
});
