import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { BatchObservation, JobResult, Logger, ResultPublisher } from '../../application/ports.ts';
import {
  CATEGORIES_RESULT,
  CATEGORY_RESULT,
  type CategoriesResultData,
  type CategoryResultData,
  MAX_PRODUCT_ID_CHARACTERS,
  type ProductOutcome,
  RESULT_QUEUE,
  resultIdOf,
} from '../../contract/index.ts';
import { logErrors } from './connection.ts';

interface Publication {
  readonly result: JobResult;
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * Publishes to the results queue. The results that one batch completes become ready in the same turn of the event
 * loop; they are sent together, in one round trip.
 *
 * @param options.connection from `connectPatiently`: an outage is waited out, with the jobs still in work
 */
export function createResultPublisher(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly logger: Logger;
}): ResultPublisher & { close(): Promise<void> } {
  const { connection, prefix, logger } = options;
  const queue = new Queue(RESULT_QUEUE, { connection, prefix, streams: { events: { maxLen: 1000 } } });
  logErrors(queue, (reason) => logger.warn({ reason }, 'results queue error'));
  let gathered: Publication[] = [];

  function publish(result: JobResult): Promise<void> {
    return new Promise((resolve, reject) => {
      if (gathered.length === 0) setImmediate(sendGathered);
      gathered.push({ result, resolve, reject });
    });
  }

  function sendGathered(): void {
    const byBatch = new Map<BatchObservation | undefined, Publication[]>();
    for (const publication of gathered) {
      const { batch } = publication.result.categorization;
      const together = byBatch.get(batch);
      if (together) together.push(publication);
      else byBatch.set(batch, [publication]);
    }
    gathered = [];
    for (const [batch, publications] of byBatch) void send(batch, publications);
  }

  async function send(batch: BatchObservation | undefined, publications: readonly Publication[]): Promise<void> {
    async function addAll(): Promise<void> {
      await queue.addBulk(publications.map(({ result }) => toResultJob(result)));
    }
    try {
      await (batch ? batch.publish(publications.length, addAll) : addAll());
      for (const { resolve } of publications) resolve();
    } catch (error) {
      for (const { reject } of publications) reject(error);
    }
  }

  return { publish, close: () => queue.close() };
}

function toResultJob(result: JobResult) {
  const { id, enqueuedAt, form } = result.job;
  const [name, data] =
    form === 'one' ? [CATEGORY_RESULT, categoryResult(result)] : [CATEGORIES_RESULT, categoriesResult(result)];
  return { name, data, opts: { jobId: resultIdOf(id, enqueuedAt) } };
}

function originOf({ job, model }: JobResult) {
  return { model: { version: model.version, sha256: model.sha256 }, runId: job.runId, jobId: job.id };
}

/** The job had one product and it was accepted; a reject fails the job before it comes here. */
function categoryResult(result: JobResult): CategoryResultData {
  const { productIds, predictions } = result.categorization;
  return {
    productId: productIds[0] ?? '',
    category: result.model.categories[predictions.categoryIndexes[0]],
    confidence: predictions.confidences[0],
    probabilities: [...predictions.probabilities],
    ...originOf(result),
  };
}

function categoriesResult(result: JobResult): CategoriesResultData {
  const { productIds, predictions, rejects } = result.categorization;
  const rejectOfRow = new Map(rejects.map((reject) => [reject.row, reject]));
  const results = productIds.map((productId, row): ProductOutcome => {
    const reject = rejectOfRow.get(row);
    if (reject) {
      // At least as many characters are in twice as many code units.
      const id =
        productId &&
        [...productId.slice(0, 2 * MAX_PRODUCT_ID_CHARACTERS)].slice(0, MAX_PRODUCT_ID_CHARACTERS).join('');
      return { productId: id, reject: { code: reject.code, message: reject.message } };
    }
    const { code } = result.model.categories[predictions.categoryIndexes[row]];
    return { productId: productId ?? '', categoryCode: code, confidence: predictions.confidences[row] };
  });
  return { results, ...originOf(result) };
}
