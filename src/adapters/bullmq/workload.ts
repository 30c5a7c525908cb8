/** A job as BullMQ hands it out: the same object when it is reported as taken and when it is processed. */
type Taken = object;

/**
 * BullMQ takes jobs one after the other up to its concurrency before it begins the first of them, and renews the locks of
 * begun ones only. So at first few are taken ahead, and the first need not wait for many others; then half as many as were
 * begun before, so that batches grow quickly; but never so many that a lock runs out while they are fetched from a far Redis.
 */
function takenAhead(mostBegun: number): number {
  return Math.min(64, Math.max(2, Math.floor(mostBegun / 2)));
}

interface Entry {
  readonly products: number;
  readonly suspect: boolean;
  readonly done: Promise<void>;
  finish(): void;
}

/** The jobs that one worker has in work, and what follows from them for the next. */
export interface Workload {
  readonly jobs: number;
  /** @param suspect it stalled before, so it may kill the process */
  take(job: Taken, products: number, suspect: boolean): void;
  begin(): void;
  finish(job: Taken): void;
  /** The queue is empty: the next jobs begin as at the start. */
  drained(): void;
  /** How many jobs to have in work now. */
  concurrency(): number;
  /** A suspect is begun when all that were taken before it are finished, and nothing is begun while one is in work. */
  turnOf(job: Taken): Promise<void>;
}

/**
 * Bounds what is in work: the jobs, the products in them (with large chunks fewer jobs are taken), to one job while a
 * suspect is among them, and at the start to few more than are begun.
 */
export function createWorkload(limits: { readonly jobs: number; readonly products: number }): Workload {
  const entries = new Map<Taken, Entry>();
  let products = 0;
  let suspects = 0;
  let begun = 0;
  let mostBegun = 0;
  return {
    get jobs() {
      return entries.size;
    },
    take(job, itsProducts, suspect) {
      let finish = () => {};
      const done = new Promise<void>((resolve) => {
        finish = resolve;
      });
      entries.set(job, { products: itsProducts, suspect, done, finish });
      products += itsProducts;
      if (suspect) suspects++;
    },
    begin() {
      begun++;
      mostBegun = Math.max(mostBegun, begun);
    },
    finish(job) {
      begun--;
      const entry = entries.get(job);
      if (!entry) return;
      entries.delete(job);
      products -= entry.products;
      if (entry.suspect) suspects--;
      entry.finish();
    },
    drained() {
      mostBegun = begun;
    },
    concurrency() {
      if (suspects > 0) return 1;
      const fitting = entries.size === 0 ? limits.jobs : Math.floor((limits.products * entries.size) / products);
      return Math.max(1, Math.min(limits.jobs, fitting, mostBegun + takenAhead(mostBegun)));
    },
    async turnOf(job) {
      if (suspects === 0) return;
      const isSuspect = entries.get(job)?.suspect ?? false;
      const before: Promise<void>[] = [];
      for (const [other, { suspect, done }] of entries) {
        if (other === job) break;
        if (suspect || isSuspect) before.push(done);
      }
      await Promise.all(before);
    },
  };
}
