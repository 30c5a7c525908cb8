import type { CategorizeJob } from '../../src/application/categorize-job.ts';
import type { ProductJob } from '../../src/application/ports.ts';

/** A categorizeJob that does some work, and what it saw. */
export function recorder(work: (job: ProductJob) => Promise<void> = async () => undefined) {
  const jobs: ProductJob[] = [];
  const inWork = new Set<string>();
  let most = 0;
  /** For each job, which others were in work at any time while it was. */
  const together = new Map<string, Set<string>>();
  const categorizeJob: CategorizeJob = async (job) => {
    jobs.push(job);
    together.set(job.id, new Set(inWork));
    for (const other of inWork) together.get(other)?.add(job.id);
    inWork.add(job.id);
    most = Math.max(most, inWork.size);
    try {
      await work(job);
    } finally {
      inWork.delete(job.id);
    }
  };
  return {
    categorizeJob,
    jobs,
    /** The largest number that was in work at once. */
    most: () => most,
    companionsOf: (id: string) => [...(together.get(id) ?? [])],
  };
}
