import { Command } from 'commander';
import { composeWorker } from '../composition.ts';
import { type CommandContext, EXIT } from './context.ts';

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
      const app = await composeWorker(config);
      if (!context.stop.aborted) {
        await new Promise((resolve) => context.stop.addEventListener('abort', resolve, { once: true }));
      }
      app.logger.info({ timeoutMs: config.SHUTDOWN_TIMEOUT_MS }, 'stopping: finishing what was begun');
      const inTime = await settlesWithin(app.close(), config.SHUTDOWN_TIMEOUT_MS);
      if (inTime) {
        app.logger.info({}, 'stopped');
      } else {
        app.logger.error({}, 'not finished in time: the jobs in work go to another worker when their locks expire');
        context.exitWith(EXIT.FAILED);
      }
    });
}

async function settlesWithin(work: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
