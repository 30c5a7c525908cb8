import { DelayedError, type Job, UnrecoverableError } from 'bullmq';
import type { Redis } from 'ioredis';
import type { CategorizeJob } from '../../application/categorize-job.ts';
import type { JobContent, JobObserver, Logger, ProductJob } from '../../application/ports.ts';
import {
  failedReasonOf,
  JOB_OPTIONS,
  PACKED_PRODUCTS_JOB,
  type ParsedJob,
  PRODUCT_QUEUE,
  parseFailedReason,
  parseJob,
  unpackProducts,
  vectorKindOf,
} from '../../contract/index.ts';
import type { ModelInfo } from '../../domain/category.ts';
import { CategorizerError, messageOf } from '../../domain/errors.ts';
import { fitsModel } from '../../domain/feature-space.ts';
import { logErrors } from './connection.ts';
import { createMisfits } from './misfits.ts';
import { createPatience, type Patience } from './patience.ts';
import { PatientWorker } from './patient-worker.ts';
import type { Payloads } from './payloads.ts';
import { isPassingRefusal } from './redis-errors.ts';
import { createWorkload } from './workload.ts';

/** How often a job may take its process down, or freeze it, before it fails for good. */
const MAX_STALLS = 3;

export interface ProductWorkerOptions {
  /** From `connectPatiently`; the worker makes a second one of it to block on, and leaves this one open. */
  readonly connection: Redis;
  readonly prefix: string;
  /** Jobs in work at once, at most. */
  readonly concurrency: number;
  /** Products in work at once, about: with large chunks fewer jobs are taken, so that memory stays bounded. */
  readonly maxProducts: number;
  /** After this time without renewal another worker may take the job; also how often stalled jobs are looked for. */
  readonly lockMs: number;
  /** Jobs that it was not made for are left to other workers. */
  readonly model: Pick<ModelInfo, 'space' | 'width'>;
  /** After so long without a worker that fits, such a job fails. */
  readonly mismatchTimeoutMs: number;
  readonly categorizeJob: CategorizeJob;
  /** Shared with the publisher of the results. */
  readonly patience?: Patience;
  readonly payloads: Payloads;
  readonly observer: JobObserver;
  readonly logger: Logger;
}

export interface ProductWorker {
  start(): void;
  /** When a job was last taken or finished, in milliseconds since 1970; the start where none was. */
  lastProgressAt(): number;
  /** Takes no more jobs; resolves when those in work are finished. */
  close(): Promise<void>;
}

export function createProductWorker(options: ProductWorkerOptions): ProductWorker {
  const { connection, prefix, concurrency, maxProducts, lockMs, model, payloads, observer, logger } = options;
  const { patience = createPatience({ logger }) } = options;
  let lastProgress = Date.now();
  const workload = createWorkload({ jobs: concurrency, products: maxProducts });

  const settings = {
    connection,
    prefix,
    concurrency: workload.concurrency(),
    autorun: false,
    lockDuration: lockMs,
    stalledInterval: lockMs,
    maxStalledCount: MAX_STALLS,
    removeOnComplete: JOB_OPTIONS.removeOnComplete,
    // The default of 15 s would leave the queue alone for that long after each short outage.
    runRetryDelay: 1000,
  };
  const worker = new PatientWorker(PRODUCT_QUEUE, processTracked, settings, patience);

  const { mismatchTimeoutMs: timeoutMs } = options;
  const misfits = createMisfits({ worker, model, timeoutMs, observer, logger });

  // BullMQ takes jobs one after the other up to its concurrency and reports each here before it takes the next.
  worker.on('active', (job) => {
    lastProgress = Date.now();
    // It stalled too often: BullMQ fails it without a call of the processor.
    if (job.deferredFailure) return;
    // One that is given back at once endangers nothing, and must not make the others wait at each of its rounds.
    const suspect = job.stalledCounter > 0 && fits(job);
    if (suspect) logger.info({ jobId: job.id, stalls: job.stalledCounter }, 'a job that stalled before runs alone');
    workload.take(job, productsIn(job), suspect);
    worker.concurrency = workload.concurrency();
  });

  worker.on('drained', () => {
    workload.drained();
    worker.concurrency = workload.concurrency();
  });

  const patientPayloads: Payloads = { ...payloads, read: (payload) => patience.outlast(() => payloads.read(payload)) };

  async function processTracked(job: Job): Promise<null> {
    workload.begin();
    worker.concurrency = workload.concurrency();
    try {
      await workload.turnOf(job);
      return await processJob(job);
    } finally {
      workload.finish(job);
      worker.concurrency = workload.concurrency();
    }
  }

  function fits(job: Job): boolean {
    const parsed = parseJob(job.name, job.data);
    return typeof parsed === 'string' || fitsModel(vectorKindOf(parsed), model);
  }

  async function processJob(job: Job): Promise<null> {
    // BullMQ tries a job once where its producer says nothing; the contract promises more.
    if (!job.opts.attempts) {
      job.opts.attempts = JOB_OPTIONS.attempts;
      job.opts.backoff = JOB_OPTIONS.backoff;
    }
    try {
      const parsed = parseJob(job.name, job.data);
      if (typeof parsed === 'string') throw new CategorizerError('INVALID_JOB', parsed);
      const kind = vectorKindOf(parsed);
      // Before its payload is read, which may be large.
      if (!fitsModel(kind, model)) await misfits.giveBack(job, kind);
      await options.categorizeJob(await toProductJob(job, parsed, patientPayloads));
      // What is returned is copied to the events stream: nothing.
      return null;
    } catch (error) {
      throw toQueueError(error);
    }
  }

  function settled(job: Job, outcome: 'completed' | 'failed' | 'retried', error?: Error): void {
    lastProgress = Date.now();
    const seconds = (Date.now() - job.timestamp) / 1000;
    observer.finished({
      queue: PRODUCT_QUEUE,
      jobId: idOf(job),
      runId: runIdOf(job.data),
      outcome,
      seconds,
      error: error && parseFailedReason(error.message),
    });
  }

  worker.on('completed', (job) => {
    settled(job, 'completed');
    const key = payloadOf(job);
    if (key === undefined) return;
    // What cannot be removed now goes away by itself.
    payloads.remove([{ owner: idOf(job), key }]).catch((error: unknown) => {
      logger.warn({ jobId: job.id, reason: messageOf(error) }, 'the payload of a finished job was not removed');
    });
  });
  worker.on('failed', (job, error) => {
    if (job) settled(job, job.finishedOn === undefined ? 'retried' : 'failed', error);
  });
  worker.on('stalled', (jobId) => observer.stalled({ queue: PRODUCT_QUEUE, jobId }));
  logErrors(worker, (reason) => logger.warn({ reason }, 'worker error'), isPassingRefusal);

  return {
    start: () => {
      lastProgress = Date.now();
      worker.run().catch((error: Error) => logger.error({ reason: error.message }, 'worker stopped'));
    },
    lastProgressAt: () => lastProgress,
    close() {
      patience.end();
      // BullMQ would wait for Redis even where there is nothing to finish.
      return worker.close(workload.jobs === 0 && connection.status !== 'ready');
    },
  };
}

/** @throws CategorizerError `PAYLOAD_MISSING` or `PAYLOAD_INVALID` */
async function toProductJob(job: Job, parsed: ParsedJob, payloads: Payloads): Promise<ProductJob> {
  return {
    id: idOf(job),
    enqueuedAt: job.timestamp,
    content: await readContent(idOf(job), parsed, payloads),
    runId: parsed.runId,
    trace: job.opts.telemetry?.metadata,
    stalledBefore: job.stalledCounter > 0,
  };
}

async function readContent(owner: string, parsed: ParsedJob, payloads: Payloads): Promise<JobContent> {
  if (parsed.form !== 'packed') return { form: parsed.form, products: parsed.products };
  const { payload: key, bytes } = parsed.packed;
  const payload = await payloads.read({ owner, key, bytes });
  return { form: 'packed', products: unpackProducts(payload, parsed.packed) };
}

/** Data errors must not be tried again; everything else is. A job that was given back is no error at all. */
function toQueueError(thrown: unknown): Error {
  if (thrown instanceof DelayedError) return thrown;
  if (!(thrown instanceof CategorizerError)) return thrown instanceof Error ? thrown : new Error(messageOf(thrown));
  const reason = failedReasonOf(thrown.code, thrown.message);
  return thrown.retryable ? new Error(reason, { cause: thrown }) : new UnrecoverableError(reason);
}

/** Without looking closely: what is on the queue may be anything. */
function productsIn({ name, data }: Job): number {
  if (name === PACKED_PRODUCTS_JOB) return Number.isInteger(data?.count) ? Math.max(1, data.count) : 1;
  return Array.isArray(data?.products) ? Math.max(1, data.products.length) : 1;
}

/** Of a job that was completed, whose data is therefore right. */
function payloadOf({ name, data }: Job): string | undefined {
  return name === PACKED_PRODUCTS_JOB ? data.payload : undefined;
}

function idOf(job: Job): string {
  return job.id ?? '';
}

function runIdOf(data: unknown): string | undefined {
  if (typeof data !== 'object' || data === null || !('runId' in data)) return undefined;
  return typeof data.runId === 'string' ? data.runId : undefined;
}
