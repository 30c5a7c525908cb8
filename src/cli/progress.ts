import { SingleBar } from 'cli-progress';

export interface Progress {
  /** @param done of the total that was said */
  update(done: number, note: string): void;
  stop(): void;
}

/** A bar on standard error where that is a terminal, and nothing elsewhere. */
export function createProgress(total: number | undefined): Progress {
  if (!process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
  const bar = new SingleBar({
    format: total === undefined ? '{note}' : '{bar} {percentage}% | {note}',
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
  });
  bar.start(total ?? 0, 0, { note: '' });
  return {
    update: (done, note) => bar.update(done, { note }),
    stop: () => bar.stop(),
  };
}
