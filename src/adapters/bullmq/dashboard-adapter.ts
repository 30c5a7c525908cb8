import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { PRODUCT_JOB, PRODUCT_QUEUE, productJobSchema, sentenceOf } from '../../contract/index.ts';
import { countWorkers } from './count-workers.ts';
import { type DashboardQueue, RefusedChange } from './dashboard-job.ts';
import { previewPayload } from './dashboard-view.ts';

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

  override getJob(id: string): Promise<Job | undefined> {
    return this.jobs.readOne(id, ({ name, data }) => previewPayload({ ...this.redis, name, data }));
  }

  /** Through ids: BullMQ's own getJobs reads all data, and twice. */
  override async getJobs(statuses: JobStatuses, start = 0, end = -1): Promise<Job[]> {
    const types = statuses.filter((status) => status !== 'paused');
    const ids = await this.jobs.getRanges(types, start, end);
    const jobs = await Promise.all(ids.map((id) => this.jobs.readForList(this.redis.connection, id)));
    return jobs.filter((job) => job !== undefined);
  }

  /** One product, whole: a copy of a chunk's summary is no chunk, and two packed jobs must not share a payload. */
  override async addJob(name: string, data: unknown, options: AddOptions): Promise<Job> {
    if (this.jobs.name !== PRODUCT_QUEUE || name !== PRODUCT_JOB) {
      throw new RefusedChange(`only '${PRODUCT_JOB}' jobs can be added here, and only to ${PRODUCT_QUEUE}`);
    }
    const { error } = productJobSchema.safeParse(data);
    if (error) throw new RefusedChange(`this is no product: ${sentenceOf(error)}`);
    return super.addJob(name, data, options);
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
