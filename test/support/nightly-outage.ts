import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { freePort } from './redis-server.ts';

/** The way to a server, which can be closed. */
export interface Way {
  /** Leads to the server by this way. */
  readonly url: string;
  open(): Promise<void>;
  /** Ends all connections, and refuses new ones; safe to call twice. */
  close(): Promise<void>;
}

/** @param target URL of a server. @returns an open way to it */
export async function createWay(target: string): Promise<Way> {
  const port = await freePort();
  const url = new URL(target);
  const server = { host: url.hostname, port: Number(url.port) };
  Object.assign(url, { hostname: '127.0.0.1', port: String(port) });
  const sockets = new Set<Socket>();
  const gate = createServer((near) => {
    const far = connect(server);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      sockets.add(from);
      from.on('error', () => undefined).on('close', () => to.destroy());
      from.pipe(to);
    }
  });

  async function open(): Promise<void> {
    gate.listen(port, '127.0.0.1');
    await once(gate, 'listening');
  }

  await open();
  return {
    url: url.href,
    open,
    async close() {
      if (!gate.listening) return;
      const closed = once(gate, 'close');
      gate.close();
      for (const socket of sockets) socket.destroy();
      sockets.clear();
      await closed;
    },
  };
}
