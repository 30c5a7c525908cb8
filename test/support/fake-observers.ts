import type { BatchObservation, JobObserver, Logger } from '../../src/application/ports.ts';

/** Keeps what it is told, and wakes who waits for it. */
function createRecord<T>() {
  const items: T[] = [];
  let waiting: (() => void)[] = [];
  return {
    items,
    add(item: T): void {
      items.push(item);
      const woken = waiting;
      waiting = [];
      for (const wake of woken) wake();
    },
    /** Resolves when this is so; it is looked at after every item. */
    async until(condition: (items: readonly T[]) => boolean): Promise<readonly T[]> {
      while (!condition(items)) await new Promise<void>((resolve) => waiting.push(resolve));
      return items;
    },
  };
}

type FinishedJob = Parameters<JobObserver['finished']>[0];
type ReturnedJob = Parameters<JobObserver['returned']>[0];

export interface FakeJobObserver extends JobObserver {
  readonly finishedJobs: readonly FinishedJob[];
  readonly stalledJobs: readonly string[];
  readonly returnedJobs: readonly ReturnedJob[];
  /** Resolves when so many attempts are finished. */
  untilFinished(count: number): Promise<readonly FinishedJob[]>;
  untilStalled(count: number): Promise<readonly string[]>;
  untilReturned(count: number): Promise<readonly ReturnedJob[]>;
}

export function createFakeJobObserver(): FakeJobObserver {
  const finished = createRecord<FinishedJob>();
  const stalled = createRecord<string>();
  const returned = createRecord<ReturnedJob>();
  return {
    finished: finished.add,
    stalled: ({ jobId }) => stalled.add(jobId),
    returned: returned.add,
    finishedJobs: finished.items,
    stalledJobs: stalled.items,
    returnedJobs: returned.items,
    untilFinished: (count) => finished.until(({ length }) => length >= count),
    untilStalled: (count) => stalled.until(({ length }) => length >= count),
    untilReturned: (count) => returned.until(({ length }) => length >= count),
  };
}

export interface FakeLogger extends Logger {
  readonly lines: readonly { readonly level: string; readonly fields: object; readonly message: string }[];
  /** Resolves when a line with this message is there. */
  untilLogged(message: string): Promise<void>;
}

export function createFakeLogger(): FakeLogger {
  const record = createRecord<FakeLogger['lines'][number]>();
  const at = (level: string) => (fields: object, message: string) => record.add({ level, fields, message });
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    lines: record.items,
    untilLogged: async (message) =>
      void (await record.until((lines) => lines.some((line) => line.message === message))),
  };
}

export interface FakeBatchObservation extends BatchObservation {
  /** How many jobs each publication had. */
  readonly publications: readonly number[];
}

export function createFakeBatchObservation(): FakeBatchObservation {
  const publications: number[] = [];
  return {
    publications,
    predict: (_rows, run) => run(),
    finished: () => undefined,
    publish(jobs, run) {
      publications.push(jobs);
      return run();
    },
  };
}

export interface Gate {
  /** Resolves when it is opened. */
  readonly passed: Promise<void>;
  open(): void;
}

/** Something to wait for in a fake. */
export function createGate(): Gate {
  const opened = createRecord<true>();
  return { passed: opened.until(({ length }) => length > 0).then(() => undefined), open: () => opened.add(true) };
}
