import { settlesWithin } from '../application/closer.ts';
import type { Logger } from '../application/ports.ts';
import { systemClock } from '../composition.ts';
import { messageOf } from '../domain/errors.ts';
import { type CommandContext, EXIT } from './context.ts';

export interface ServedApp {
  readonly logger: Logger;
  /** @returns whether everything was finished in the time */
  closeWithin(ms: number): Promise<boolean>;
}

/** The part of the time that the process needs to end when all is said and done. */
const END_SHARE = 0.1;
const MOST_END_MS = 500;

/**
 * Serves until the signal, then ends within the time that is given for it, whatever hangs, with exit code 0: what is not
 * finished is not lost, another process does it again.
 *
 * @param start may take long or for ever, where what it needs is away
 */
export async function serveUntilStopped(
  start: () => Promise<ServedApp>,
  timeoutMs: number,
  context: Pick<CommandContext, 'stop' | 'exitWith' | 'note'>,
  sentences: { readonly stopping: string; readonly late: string },
): Promise<void> {
  const { stop, exitWith, note } = context;
  const stopped = new Promise<void>((resolve) => {
    if (stop.aborted) resolve();
    else stop.addEventListener('abort', () => resolve(), { once: true });
  });
  if (stop.aborted) return exitWith(EXIT.DONE);
  const starting = start();
  await Promise.race([starting, stopped]);
  await stopped;

  exitWith(EXIT.DONE);
  const end = systemClock.now() + timeoutMs - Math.min(MOST_END_MS, timeoutMs * END_SHARE);
  const left = () => Math.max(0, end - systemClock.now());
  const started = starting.catch((error: unknown) => note(`not started: ${messageOf(error)}`));
  if (!(await settlesWithin(started, left(), systemClock))) return note('stopped before it had started');
  const app = await started;
  if (!app) return;
  app.logger.info({ timeoutMs }, sentences.stopping);
  try {
    if (await app.closeWithin(left())) app.logger.info({}, 'stopped');
    else app.logger.warn({}, sentences.late);
  } catch (error) {
    const reasons = error instanceof AggregateError ? error.errors.map(messageOf) : [messageOf(error)];
    app.logger.error({ reasons }, 'stopped, but not everything could be closed');
  }
}
