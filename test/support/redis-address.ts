import { once } from 'node:events';
import { createServer, type Socket, connect as tcpConnect } from 'node:net';
import { onTestFinished } from 'vitest';
import type { RedisServer } from './redis-server.ts';

/** An address that leads to one server and later to another, as that of a primary does; open connections stay. */
export async function startAddress(target: RedisServer) {
  let port: number | undefined = target.port;
  const links = new Set<readonly [Socket, Socket]>();
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => sockets.add(socket.on('error', () => undefined));
  const server = createServer((client) => {
    keep(client);
    // As packets that are dropped: nobody answers and nobody hangs up.
    if (port === undefined) return;
    const upstream = tcpConnect(port, '127.0.0.1');
    keep(upstream);
    client.pipe(upstream).pipe(client);
    links.add([client, upstream]);
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
    leadTo(next: RedisServer): void {
      port = next.port;
    },
    /** Everything that is sent vanishes from now on, in both directions, and so does what comes anew. */
    vanish(): void {
      port = undefined;
      for (const [client, upstream] of links) {
        client.unpipe(upstream);
        upstream.unpipe(client);
        client.resume();
        upstream.resume();
      }
    },
  };
}
