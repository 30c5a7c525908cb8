import { Command } from 'commander';
import { composeWorker } from '../composition.ts';
import type { CommandContext } from './context.ts';
import { serveUntilStopped } from './serve.ts';

export function workerCommand(context: CommandContext): Command {
  return new Command('worker')
    .description('categorize the products on the queue until told to stop (SIGTERM, SIGINT)')
    .addHelpText(
      'after',
      `
Takes all of its settings from the environment; start as many as you like on one Redis.

Examples:
  $ categorizer worker
  $ REDIS_URL=redis://queue.internal:6379 HTTP_HOST=0.0.0.0 categorizer worker`,
    )
    .action(async () => {
      const config = context.config();
      await serveUntilStopped(() => composeWorker(config), config.SHUTDOWN_TIMEOUT_MS, context, {
        stopping: 'stopping: finishing what was begun',
        late: 'not finished in time: the jobs in work go to another worker when their locks expire',
      });
    });
}
