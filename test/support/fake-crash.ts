/** Stands for a process that is killed: nothing it calls afterwards has an effect. */
export class Crash extends Error {
  constructor(readonly operation: string) {
    super(`killed at: ${operation}`);
  }
}

export interface CrashPlan {
  /** Fakes call it before and after everything that lasts. @throws Crash at its turn, and ever after */
  point(operation: string): Promise<void>;
  /** Every operation that was reached, in order. */
  readonly reached: string[];
}

/** Kills at the point of that number, from 0; never where there is none. */
export function crashAt(point = Number.POSITIVE_INFINITY): CrashPlan {
  const reached: string[] = [];
  return {
    reached,
    async point(operation) {
      if (reached.length >= point) throw new Crash(operation);
      reached.push(operation);
    },
  };
}
