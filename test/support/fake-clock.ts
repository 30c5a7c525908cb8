import type { Clock } from '../../src/application/ports.ts';

export interface FakeClock extends Clock {
  /** Moves time on, calling back what falls due in its order, and lets promises settle between. */
  advance(ms: number): Promise<void>;
  /** Moves to the next callback. @returns false where there is none */
  advanceToNext(): Promise<boolean>;
}

/** Time that moves only when it is told to. */
export function createFakeClock(): FakeClock {
  let time = 0;
  let timers: { due: number; callback: () => void }[] = [];

  async function runNext(until: number): Promise<boolean> {
    const [next] = timers.toSorted((a, b) => a.due - b.due);
    if (!next || next.due > until) return false;
    timers = timers.filter((timer) => timer !== next);
    time = Math.max(time, next.due);
    next.callback();
    await settle();
    return true;
  }

  return {
    now: () => time,
    after(ms, callback) {
      const timer = { due: time + Math.max(0, ms), callback };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    async advance(ms) {
      const until = time + ms;
      await settle();
      while (await runNext(until));
      time = until;
    },
    async advanceToNext() {
      await settle();
      return runNext(Number.POSITIVE_INFINITY);
    },
  };
}

/** Lets every promise that can settle do so. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
