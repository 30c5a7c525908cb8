import { Job, type JobJson, type JobProgress, Queue, Worker } from 'bullmq';

/**
 * Reads a job whose data is not JSON as one without data, so that it is a bad job like any other. BullMQ itself throws:
 * a worker would take such a job again and again, and whoever lists jobs would see none.
 */
class TolerantJob<D, R, N extends string, P extends JobProgress> extends Job<D, R, N, P> {
  static override fromJSON<D, R, N extends string>(
    queue: Parameters<typeof Job.fromJSON>[0],
    json: JobJson,
    jobId?: string,
  ): Job<D, R, N> {
    try {
      return Job.fromJSON(queue, json, jobId);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return Job.fromJSON(queue, { ...json, data: 'null' }, jobId);
    }
  }
}

export class TolerantQueue extends Queue {
  protected override get Job(): typeof Job {
    return TolerantJob;
  }
}

export class TolerantWorker extends Worker {
  protected override get Job(): typeof Job {
    return TolerantJob;
  }
}
