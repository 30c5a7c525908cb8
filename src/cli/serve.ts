import type { Logger } from '../application/ports.ts';
import { type CommandContext, EXIT } from './context.ts';

/** Waits for the signal, then closes within the time that is given for it. */
export async function serveUntilStopped(
  app: { readonly logger: Logger; close(): Promise<void> },
  timeoutMs: number,
  context: Pick<CommandContext, 'stop' | 'exitWith'>,
  sentences: { readonly stopping: string; readonly late: string },
): Promise<void> {
  if (!context.stop.aborted) {
    await new Promise((resolve) => context.stop.addEventListener('abort', resolve, { once: true }));
  }
  app.logger.info({ timeoutMs }, sentences.stopping);
  if (await settlesWithin(app.close(), timeoutMs)) {
    app.logger.info({}, 'stopped');
  } else {
    app.logger.error({}, sentences.late);
    context.exitWith(EXIT.FAILED);
  }
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
