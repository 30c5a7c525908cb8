import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../../application/ports.ts';
import { CategorizerError } from '../../domain/errors.ts';

/** How long requests that are under way may take after the port is closed. */
const CLOSE_GRACE_MS = 2000;

export interface ListeningServer {
  readonly port: number;
  /** Takes no more connections and answers what was asked. */
  close(): Promise<void>;
}

/**
 * @param options.port 0 takes a free one
 * @param options.settings the names of the variables for address and port
 * @throws CategorizerError `HTTP_NOT_LISTENING`
 */
export async function listen(
  app: RequestListener,
  options: { readonly host: string; readonly port: number; readonly settings: string; readonly logger: Logger },
): Promise<ListeningServer> {
  const { host, settings, logger } = options;
  const server = createServer(app);
  await new Promise<void>((resolve, reject) => {
    const refuse = (cause: Error) => {
      const message = `cannot listen on ${host}:${options.port}: ${cause.message} (see ${settings})`;
      reject(new CategorizerError('HTTP_NOT_LISTENING', message, { cause }));
    };
    server.once('error', refuse);
    server.listen(options.port, host, () => {
      server.off('error', refuse);
      resolve();
    });
  });
  const { port } = server.address() as AddressInfo;
  logger.info({ host, port }, 'http listening');
  let closing: Promise<void> | undefined;
  return {
    port,
    close() {
      closing ??= new Promise((resolve) => {
        // A client that never finishes its request must not hold up the end.
        const timer = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
        server.close(() => {
          clearTimeout(timer);
          resolve();
        });
      });
      return closing;
    },
  };
}
