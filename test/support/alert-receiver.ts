import { once } from 'node:events';
import { createServer } from 'node:http';
import { z } from 'zod';

const notificationSchema = z.object({
  receiver: z.string(),
  alerts: z.array(z.object({ status: z.enum(['firing', 'resolved']), labels: z.record(z.string(), z.string()) })),
});

export interface Notification {
  readonly alert: string;
  readonly status: 'firing' | 'resolved';
  /** The receiver of alertmanager.yml that it went to. */
  readonly receiver: string;
}

interface AlertReceiver {
  readonly url: string;
  /** All that arrived so far, in order. */
  received(): readonly Notification[];
  close(): Promise<void>;
}

/** What a webhook of Alertmanager calls. */
export async function startAlertReceiver(): Promise<AlertReceiver> {
  const notifications: Notification[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { receiver, alerts } = notificationSchema.parse(JSON.parse(Buffer.concat(chunks).toString('utf8')));
    notifications.push(...alerts.map(({ status, labels }) => ({ alert: labels.alertname, status, receiver })));
    response.end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `http://127.0.0.1:${address.port}/`,
    received: () => notifications,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
