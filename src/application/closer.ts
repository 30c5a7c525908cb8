import type { Clock } from './ports.ts';

/** Closes in the reverse order of making, each once, even where one fails. */
export interface Closer {
  add(step: () => Promise<unknown>): void;
  /** As long as it takes. */
  close(): Promise<void>;
  /**
   * No step is waited for longer than there is time, and each of the others still gets a little of it: what hangs must
   * not keep the rest from being closed.
   *
   * @param ms milliseconds for all of them
   * @returns whether all were closed in time
   */
  closeWithin(ms: number, clock: Clock): Promise<boolean>;
}

/** The part of the time that is kept for the steps after one that hangs. */
const RESERVED_SHARE = 0.1;

export function createCloser(): Closer {
  const steps: (() => Promise<void>)[] = [];
  let closing: Promise<boolean> | undefined;

  async function closeAll(settles: (step: Promise<void>) => Promise<boolean>): Promise<boolean> {
    const errors: unknown[] = [];
    let inTime = true;
    for (const step of steps) {
      const done = step().catch((error: unknown) => void errors.push(error));
      if (!(await settles(done))) inTime = false;
    }
    if (errors.length > 0) throw new AggregateError(errors, 'not everything could be closed');
    return inTime;
  }

  return {
    add(step: () => Promise<unknown>): void {
      steps.unshift(async () => void (await step()));
    },
    async close(): Promise<void> {
      closing ??= closeAll((step) => step.then(() => true));
      await closing;
    },
    closeWithin(ms, clock): Promise<boolean> {
      const end = clock.now() + ms * (1 - RESERVED_SHARE);
      const least = (ms * RESERVED_SHARE) / Math.max(1, steps.length);
      closing ??= closeAll((step) => settlesWithin(step, Math.max(least, end - clock.now()), clock));
      return closing;
    },
  };
}

/** @param work never rejects */
export async function settlesWithin(work: Promise<unknown>, ms: number, clock: Clock): Promise<boolean> {
  let cancel: () => void = () => undefined;
  const late = new Promise<false>((resolve) => {
    cancel = clock.after(ms, () => resolve(false));
  });
  return Promise.race([work.then(() => true), late]).finally(cancel);
}
