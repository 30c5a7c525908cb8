import type { Redis } from 'ioredis';
import type { BatchObservation, JobResult, Logger, ResultPublisher } from '../../application/ports.ts';
import {
  CATEGORIES_RESULT,
  CATEGORY_RESULT,
  type CategoriesResultData,
  type CategoryResultData,
  MAX_PRODUCT_ID_CHARACTERS,
  PACKED_CATEGORIES_RESULT,
  type PackedCategoriesResultData,
  type ProductOutcome,
  packOutcomes,
  payloadKey,
  RESULT_QUEUE,
  resultIdOf,
} from '../../contract/index.ts';
import { probabilitiesOf } from '../../domain/prediction.ts';
import { productIdsOf } from '../../domain/product.ts';
import { askRedis, logErrors } from './connection.ts';
import type { Patience } from './patience.ts';
import type { Payloads } from './payloads.ts';
import { TolerantQueue } from './tolerant-job.ts';

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
 * @param options.patience the worker's: where Redis refuses (it is full, say), that is waited out as well
 */
export function createResultPublisher(options: {
  readonly connection: Redis;
  readonly prefix: string;
  readonly payloads: Payloads;
  readonly logger: Logger;
  readonly patience?: Patience;
}): ResultPublisher & { close(): Promise<void> } {
  const { connection, prefix, payloads, logger, patience } = options;
  const queue = new TolerantQueue(RESULT_QUEUE, { connection, prefix, streams: { events: { maxLen: 1000 } } });
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
      // Payloads are on their way before the jobs that point to them, on the same connection.
      const jobs = await Promise.all(publications.map(({ result }) => toResultJob(result)));
      await queue.addBulk(jobs);
    }
    const publishAll = patience ? () => patience.outlast(addAll) : addAll;
    try {
      await askRedis(() => (batch ? batch.publish(publications.length, publishAll) : publishAll()));
      for (const { resolve } of publications) resolve();
    } catch (error) {
      for (const { reject } of publications) reject(error);
    }
  }

  async function toResultJob(result: JobResult) {
    const { id, enqueuedAt, content } = result.job;
    const jobId = resultIdOf(id, enqueuedAt);
    const opts = { jobId };
    switch (content.form) {
      case 'one':
        return { name: CATEGORY_RESULT, data: categoryResult(result, content.products), opts };
      case 'chunk':
        return { name: CATEGORIES_RESULT, data: categoriesResult(result, content.products), opts };
      case 'packed': {
        const { payload, ...announced } = packOutcomes({
          ids: content.products.ids,
          ...result.categorization.predictions,
        });
        const key = payloadKey(prefix, jobId, announced.crc32);
        await payloads.write(key, payload);
        return {
          name: PACKED_CATEGORIES_RESULT,
          data: packedCategoriesResult(result, { ...announced, payload: key }),
          opts,
        };
      }
    }
  }

  return { publish, close: () => queue.close() };
}

function originOf({ job, model, categorization: { outside } }: JobResult) {
  return { model: { version: model.version, sha256: model.sha256 }, runId: job.runId, jobId: job.id, outside };
}

/** The job had one product and it was accepted; a reject fails the job before it comes here. */
function categoryResult(result: JobResult, products: readonly unknown[]): CategoryResultData {
  const { predictions } = result.categorization;
  return {
    productId: productIdsOf(products)[0] ?? '',
    category: result.model.categories[predictions.categoryIndexes[0]],
    confidence: predictions.confidences[0],
    probabilities: probabilitiesOf(predictions, 0),
    ...originOf(result),
  };
}

function categoriesResult(result: JobResult, products: readonly unknown[]): CategoriesResultData {
  const { predictions, rejects } = result.categorization;
  const rejectOfRow = new Map(rejects.map((reject) => [reject.row, reject]));
  const results = productIdsOf(products).map((productId, row): ProductOutcome => {
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

function packedCategoriesResult(
  result: JobResult,
  payload: Pick<PackedCategoriesResultData, 'count' | 'payload' | 'bytes' | 'crc32'>,
): PackedCategoriesResultData {
  const { model, categorization } = result;
  return {
    ...payload,
    categories: model.categories.map(({ code }) => code),
    rejects: categorization.rejects.map(({ row, code, message }) => ({ row, code, message })),
    ...originOf(result),
  };
}
