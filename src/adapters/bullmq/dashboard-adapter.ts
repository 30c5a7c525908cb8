import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { PRODUCT_JOB, PRODUCT_QUEUE, productJobSchema, sentenceOf } from '../../contract/index.ts';
import { countWorkers } from './count-workers.ts';
import { type DashboardQueue, RefusedChange } from './dashboard-job.ts';
import { previewPayload } from './dashboard-view.ts';

/** More are not listed at once, whoever asks. */
const MOST_JOBS = 1000;

const count = z.int().nonnegative();
const keep = z.union([z.boolean(), z.int(), z.object({ age: count.optional(), count: count.optional() })]);

/** What the options of a job that is added here may say; what ties it to others is left out. */
const optionsSchema = z.object({
  jobId: z.string().max(200).optional(),
  delay: count.optional(),
  priority: count.optional(),
  attempts: count.optional(),
  backoff: z
    .union([
      count,
      z.object({
        type: z.enum(['fixed', 'exponential']),
        delay: count.optional(),
        jitter: z.number().min(0).max(1).optional(),
      }),
    ])
    .optional(),
  lifo: z.boolean().optional(),
  removeOnComplete: keep.optional(),
  removeOnFail: keep.optional(),
});

type JobStatuses = Parameters<BullMQAdapter['getJobs']>[0];
type AddOptions = Parameters<BullMQAdapter['addJob']>[2];

/** bull-board's view of one queue: lists are cheap, payloads can be read, and what would lose products is refused. */
export class DashboardAdapter extends BullMQAdapter {
  constructor(
    private readonly jobs: DashboardQueue,
    private readonly redis: { readonly connection: Redis; readonly prefix: string },
    options: { readonly description: string; readonly readOnlyMode: boolean },
  ) {
    // Results are not worked on, so none can fail; and what completed has no payload any more.
    const retries = { allowRetries: jobs.name === PRODUCT_QUEUE, allowCompletedRetries: false };
    super(jobs, { ...options, ...retries });
  }

  override getJobLogs(id: string): Promise<string[]> {
    return this.jobs.readLogs(id);
  }

  override getJob(id: string): Promise<Job | undefined> {
    return this.jobs.readOne(id, ({ name, data }) => previewPayload({ ...this.redis, name, data }));
  }

  /** Through ids: BullMQ's own getJobs reads all data, and twice. */
  override async getJobs(statuses: JobStatuses, start = 0, end = -1): Promise<Job[]> {
    const types = statuses.filter((status) => status !== 'paused');
    const last = end < 0 ? start + MOST_JOBS - 1 : Math.min(end, start + MOST_JOBS - 1);
    const ids = await this.jobs.getRanges(types, start, last);
    const jobs = await Promise.all(ids.map((id) => this.jobs.readForList(id)));
    return jobs.filter((job) => job !== undefined);
  }

  /** One product, whole: a copy of a chunk's summary is no chunk, and two packed jobs must not share a payload. */
  override async addJob(name: string, data: unknown, options: AddOptions): Promise<Job> {
    if (this.jobs.name !== PRODUCT_QUEUE || name !== PRODUCT_JOB) {
      throw new RefusedChange(`only '${PRODUCT_JOB}' jobs can be added here, and only to ${PRODUCT_QUEUE}`);
    }
    const product = productJobSchema.safeParse(data);
    if (product.error) throw new RefusedChange(`this is no product: ${sentenceOf(product.error)}`);
    const known = optionsSchema.safeParse(options);
    if (known.error) throw new RefusedChange(`these options are none of a job: ${sentenceOf(known.error)}`);
    try {
      return await super.addJob(name, data, known.data);
    } catch (error) {
      // BullMQ checks the options before it asks Redis.
      if (!(error instanceof Error) || error.name === 'ReplyError' || 'code' in error || 'syscall' in error)
        throw error;
      throw new RefusedChange(`these options are none of a job: ${error.message}`);
    }
  }

  /** None to show: nobody works on results, and where clients may not be listed nobody knows. */
  override async getWorkers(): ReturnType<BullMQAdapter['getWorkers']> {
    if (this.jobs.name !== PRODUCT_QUEUE || (await countWorkers(this.jobs)) === undefined) return null;
    return super.getWorkers();
  }

  override async obliterate(): Promise<void> {
    throw new RefusedChange('a queue is not obliterated here, as that takes jobs that are in work: empty it instead');
  }
}
