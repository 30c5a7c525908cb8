/** A job as BullMQ hands it out: the same object when it is reported as taken and when it is processed. */
type Taken = object;

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
  finish(job: Taken): void;
  /** How many jobs to have in work now. */
  concurrency(): number;
  /** A suspect is begun when all that were taken before it are finished, and nothing is begun while one is in work. */
  turnOf(job: Taken): Promise<void>;
}

/**
 * Bounds what is in work: the jobs, the products in them (with large chunks fewer jobs are taken), and to one job
 * while a suspect is among them.
 */
export function createWorkload(limits: { readonly jobs: number; readonly products: number }): Workload {
  const entries = new Map<Taken, Entry>();
  let products = 0;
  let suspects = 0;
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
    finish(job) {
      const entry = entries.get(job);
      if (!entry) return;
      entries.delete(job);
      products -= entry.products;
      if (entry.suspect) suspects--;
      entry.finish();
    },
    concurrency() {
      if (suspects > 0) return 1;
      if (entries.size === 0) return limits.jobs;
      const fitting = Math.floor((limits.products * entries.size) / products);
      return Math.max(1, Math.min(limits.jobs, fitting));
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
