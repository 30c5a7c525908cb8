/** Builds everything from a Config. The only place that knows which adapter stands behind a port. */
import { join } from 'node:path';
import { createCollectorClaims } from './adapters/bullmq/collector-claims.ts';
import { connectForProbes, connectOrFail, connectPatiently, withoutCredentials } from './adapters/bullmq/connection.ts';
import { createImportRecords } from './adapters/bullmq/import-records.ts';
import { createPatience } from './adapters/bullmq/patience.ts';
import { createPayloads } from './adapters/bullmq/payloads.ts';
import { createProductQueue } from './adapters/bullmq/product-queue.ts';
import { createProductWorker } from './adapters/bullmq/product-worker.ts';
import { createQueueMonitor } from './adapters/bullmq/queue-monitor.ts';
import { createRedisProblem } from './adapters/bullmq/redis-health.ts';
import { createResultPublisher } from './adapters/bullmq/result-publisher.ts';
import { createResultQueue } from './adapters/bullmq/result-queue.ts';
import { type AtomicFile, createAtomicFile, createTextStream } from './adapters/files/atomic-file.ts';
import { createImportNotes } from './adapters/files/import-notes.ts';
import type { FileProductSource, SourceOptions } from './adapters/files/products/product-source.ts';
import { createResultFile, createResultStream, type OutputFormat } from './adapters/files/results/result-file.ts';
import { readGolden, readManifest } from './adapters/onnx/model-files.ts';
import { createOnnxPredictor } from './adapters/onnx/onnx-predictor.ts';
import { atMostEvery } from './application/at-most-every.ts';
import { createCategorizeJob } from './application/categorize-job.ts';
import { type CategorizeProducts, categoryCodes, createCategorizeProducts } from './application/categorize-products.ts';
import { createCheckReadiness } from './application/check-readiness.ts';
import { type Closer, createCloser } from './application/closer.ts';
import { createMicroBatcher } from './application/micro-batcher.ts';
import type {
  BatchObserver,
  CategoryPredictor,
  Clock,
  CollectorClaims,
  ImportNotes,
  ImportRecords,
  JobObserver,
  Logger,
  ProductObserver,
  ProductQueue,
  QueueMonitor,
  ResultFile,
  ResultQueue,
  RunMonitor,
} from './application/ports.ts';
import { type Config, durationMs, readDashboardUsers, readStateDirectory } from './config.ts';
import { PRODUCT_QUEUE } from './contract/index.ts';
import { isSynthetic, type ModelInfo, syntheticWarning } from './domain/category.ts';
import { CategorizerError } from './domain/errors.ts';
import { createBatchObserver, createJobObserver } from './observability/batch-observer.ts';
import { createLogger } from './observability/logger.ts';
import { createMetrics } from './observability/metrics.ts';
import { enqueueTracer, startTracing } from './observability/tracing.ts';

export type { FileProductSource, InputFormat } from './adapters/files/products/product-source.ts';
export { createRejectFiles } from './adapters/files/products/reject-files.ts';
export type { OutputFormat } from './adapters/files/results/result-file.ts';

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

/** Numbers that one worker holds at once, about: 100 MB with the JSON that they came in. */
const MAX_FEATURES_IN_WORK = 1 << 20;

/** Sends spans until `closer` closes, where an endpoint is set. */
export async function addTracing(config: Config, closer: Closer): Promise<void> {
  const stop = await startTracing({
    endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
    serviceName: config.OTEL_SERVICE_NAME,
  });
  if (stop) closer.add(stop);
}

/** The oldest that the queue gauges of a scrape may be. */
const QUEUE_METRICS_AGE_MS = 5000;

export interface WorkerApp {
  readonly httpPort: number;
  readonly logger: Logger;
  /** Takes no more jobs, finishes what was begun, closes everything. @returns whether that was done in time */
  closeWithin(ms: number): Promise<boolean>;
}

/** The worker with its HTTP port. @throws CategorizerError `MODEL_…` or `HTTP_NOT_LISTENING` */
export async function composeWorker(config: Config): Promise<WorkerApp> {
  // Loaded only here: commands without a port start sooner without it.
  const { createHttpServer } = await import('./adapters/http/http-server.ts');
  const logger = createLogger(config.LOG_LEVEL, config.OTEL_SERVICE_NAME);
  const closer = createCloser();
  try {
    await addTracing(config, closer);

    const predictor = await openPredictor(config);
    closer.add(predictor.close);
    const { model } = predictor;
    const { name, version, sha256, space } = model;
    logger.info({ name, version, sha256, space }, 'model loaded');
    if (isSynthetic(model)) logger.warn({ version, trainedOn: model.trainedOn }, syntheticWarning(model));

    const probes = connectForProbes(config.REDIS_URL);
    closer.add(async () => probes.disconnect());
    const prefix = config.QUEUE_PREFIX;
    const monitor = createQueueMonitor({ connection: probes, prefix });
    closer.add(monitor.close);

    const metrics = createMetrics({
      model,
      queue: PRODUCT_QUEUE,
      // However many scrapers there are, Redis is asked no more often.
      queueDepths: atMostEvery(QUEUE_METRICS_AGE_MS, systemClock, monitor.depths),
    });
    const { worker, batcher, categorizeProducts } = createQueueWorker(config, closer, predictor, {
      batches: createBatchObserver({ metrics, logger, queue: PRODUCT_QUEUE }),
      products: metrics.products,
      jobs: createJobObserver({ metrics, logger }),
      logger,
    });

    const http = await createHttpServer({
      host: config.HTTP_HOST,
      port: config.HTTP_PORT,
      settings: 'HTTP_HOST and HTTP_PORT',
      predict: { model, categorizeProducts },
      checkReadiness: createCheckReadiness({
        redisProblem: createRedisProblem({ connection: probes, prefix, warn: (reason) => logger.warn({}, reason) }),
        queueDepths: monitor.depths,
        lastProgressAt: worker.lastProgressAt,
        now: Date.now,
        model,
      }),
      exposeMetrics: metrics.expose,
      observer: metrics.http,
      logger,
    });
    closer.add(http.close);
    // While it drains no row waits for others, so that the jobs in work end soon.
    closer.add(() => Promise.all([worker.close(), batcher.drain()]));
    worker.start();
    logger.info({ queue: PRODUCT_QUEUE, concurrency: config.WORKER_CONCURRENCY }, 'worker started');
    return { httpPort: http.port, logger, closeWithin: (ms) => closer.closeWithin(ms, systemClock) };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

function openPredictor(config: Config): Promise<CategoryPredictor> {
  return createOnnxPredictor({ modelPath: config.MODEL_PATH, threads: config.PREDICTOR_THREADS });
}

interface Observers {
  readonly batches: BatchObserver;
  readonly products: ProductObserver;
}

function createCategorizer(config: Config, predictor: CategoryPredictor, observers: Observers) {
  const batcher = createMicroBatcher({
    predictor,
    observer: observers.batches,
    clock: systemClock,
    maxRows: config.BATCH_MAX_ROWS,
    maxWaitMs: config.BATCH_MAX_WAIT_MS,
  });
  const categorizeProducts = createCategorizeProducts({
    batcher,
    observer: observers.products,
    model: predictor.model,
  });
  return { batcher, categorizeProducts };
}

/** Everything between the input queue and the results queue. The worker itself is left to the caller to close. */
function createQueueWorker(
  config: Config,
  closer: Closer,
  predictor: CategoryPredictor,
  observers: Observers & { readonly jobs: JobObserver; readonly logger: Logger },
) {
  const { model } = predictor;
  const { jobs: observer, logger } = observers;
  const prefix = config.QUEUE_PREFIX;
  const { batcher, categorizeProducts } = createCategorizer(config, predictor, observers);
  closer.add(batcher.close);
  const connection = connectPatiently(config.REDIS_URL, logger);
  closer.add(async () => connection.disconnect());
  const payloads = createPayloads({ connection, prefix, ttlHours: config.PAYLOAD_TTL_HOURS });
  const patience = createPatience({ logger });
  const results = createResultPublisher({ connection, prefix, payloads, logger, patience });
  closer.add(results.close);
  const worker = createProductWorker({
    connection,
    prefix,
    concurrency: config.WORKER_CONCURRENCY,
    maxProducts: Math.max(2 * config.BATCH_MAX_ROWS, Math.floor(MAX_FEATURES_IN_WORK / model.width)),
    lockMs: config.JOB_LOCK_MS,
    model,
    mismatchTimeoutMs: durationMs(config.MODEL_MISMATCH_TIMEOUT),
    categorizeJob: createCategorizeJob({ categorizeProducts, results, model }),
    patience,
    payloads,
    observer,
    logger,
  });
  return { worker, batcher, categorizeProducts };
}

/** Follows nothing: for commands, which print their own summary. */
const unobserved: Observers = {
  batches: {
    started: () => ({ predict: (_rows, run) => run(), finished: () => undefined, publish: (_jobs, run) => run() }),
  },
  products: { products: () => undefined, outside: () => undefined },
};

/** A worker within a command, without HTTP port, metrics and traces. @throws CategorizerError `MODEL_…` */
export async function composeLocalWorker(config: Config): Promise<{ close(): Promise<void> }> {
  // Who waits for a command reads its summary, and what went wrong.
  const logger = createLogger(config.LOG_LEVEL === 'info' ? 'warn' : config.LOG_LEVEL, config.OTEL_SERVICE_NAME);
  const closer = createCloser();
  const predictor = await openPredictor(config);
  closer.add(predictor.close);
  const jobs: JobObserver = {
    finished({ jobId, outcome, error }) {
      if (outcome !== 'completed') logger.warn({ jobId, ...error }, `job ${outcome}`);
    },
    // The log has a line for each kind of vectors and minute.
    returned: () => undefined,
    stalled: ({ jobId }) => logger.warn({ jobId }, 'job stalled: its worker died or froze; it is on the queue again'),
  };
  const { worker, batcher } = createQueueWorker(config, closer, predictor, { ...unobserved, jobs, logger });
  closer.add(() => Promise.all([worker.close(), batcher.drain()]));
  worker.start();
  return { close: closer.close };
}

export interface PredictApp {
  readonly model: ModelInfo;
  readonly categorizeProducts: CategorizeProducts;
  close(): Promise<void>;
}

/** The model without queue and server. @throws CategorizerError `MODEL_…` */
export async function composePredict(config: Config): Promise<PredictApp> {
  const predictor = await openPredictor(config);
  const { batcher, categorizeProducts } = createCategorizer(config, predictor, unobserved);
  const closer = createCloser();
  closer.add(predictor.close);
  closer.add(batcher.close);
  return { model: predictor.model, categorizeProducts, close: closer.close };
}

export interface EnqueueApp {
  readonly queue: ProductQueue;
  readonly records: ImportRecords;
  readonly notes: ImportNotes;
  close(): Promise<void>;
}

/** A producer. @throws CategorizerError `REDIS_UNAVAILABLE`, or what `stop` was aborted with */
export async function composeEnqueue(config: Config, stop: AbortSignal): Promise<EnqueueApp> {
  const closer = createCloser();
  await addTracing(config, closer);
  try {
    const connection = await connectOrFail(config.REDIS_URL, stop);
    closer.add(async () => connection.disconnect());
    const prefix = config.QUEUE_PREFIX;
    const payloads = createPayloads({ connection, prefix, ttlHours: config.PAYLOAD_TTL_HOURS });
    const records = createImportRecords({ connection, prefix });
    const queue = createProductQueue({ connection, prefix, payloads, imports: records, tracer: enqueueTracer });
    closer.add(queue.close);
    return { queue, records, notes: openImportNotes(config), close: closer.close };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

function openImportNotes(config: Config): ImportNotes {
  return createImportNotes({
    directory: join(readStateDirectory(config), 'imports'),
    target: `${withoutCredentials(config.REDIS_URL)} ${config.QUEUE_PREFIX}`,
    logger: createLogger(config.LOG_LEVEL, config.OTEL_SERVICE_NAME),
  });
}

export interface QueueApp {
  readonly monitor: QueueMonitor & RunMonitor;
  readonly results: ResultQueue;
  readonly records: ImportRecords;
  readonly notes: ImportNotes;
  /** Claims of a collector that writes this file; released when the app closes. */
  createClaims(out: string): CollectorClaims;
  close(): Promise<void>;
}

/** What looks at the queues and collects from them. @throws as `composeEnqueue` does */
export async function composeQueues(config: Config, stop: AbortSignal): Promise<QueueApp> {
  const logger = createLogger(config.LOG_LEVEL, config.OTEL_SERVICE_NAME);
  const connection = await connectOrFail(config.REDIS_URL, stop);
  const prefix = config.QUEUE_PREFIX;
  const closer = createCloser();
  closer.add(async () => connection.disconnect());
  const monitor = createQueueMonitor({ connection, prefix });
  closer.add(monitor.close);
  const payloads = createPayloads({ connection, prefix, ttlHours: config.PAYLOAD_TTL_HOURS });
  const records = createImportRecords({ connection, prefix });
  const results = createResultQueue({ connection, prefix, payloads, imports: records, logger });
  closer.add(results.close);
  return {
    monitor,
    results,
    records,
    notes: openImportNotes(config),
    createClaims(out) {
      const claims = createCollectorClaims({ connection, prefix, out });
      closer.add(claims.release);
      return claims;
    },
    close: closer.close,
  };
}

export interface DashboardApp {
  readonly logger: Logger;
  closeWithin(ms: number): Promise<boolean>;
}

/** The queues in a browser. @throws ConfigError `DASHBOARD_NEEDS_LOGIN`, CategorizerError `HTTP_NOT_LISTENING` */
export async function composeDashboard(config: Config): Promise<DashboardApp> {
  const users = readDashboardUsers(config);
  // Loaded only when used: no other command has a use for bull-board.
  const [{ createDashboardQueues }, { createDashboardServer }] = await Promise.all([
    import('./adapters/bullmq/dashboard-queues.ts'),
    import('./adapters/http/dashboard/dashboard-server.ts'),
  ]);
  const logger = createLogger(config.LOG_LEVEL, config.OTEL_SERVICE_NAME);
  const closer = createCloser();
  const queues = createDashboardQueues({ url: config.REDIS_URL, prefix: config.QUEUE_PREFIX });
  closer.add(queues.close);
  try {
    const server = await createDashboardServer({
      host: config.DASHBOARD_HOST,
      port: config.DASHBOARD_PORT,
      users,
      sessionSecret: config.DASHBOARD_SESSION_SECRET,
      publicUrl: config.DASHBOARD_PUBLIC_URL,
      queues,
      endedSessions: queues.endedSessions,
      logger,
    });
    closer.add(server.close);
    return { logger, closeWithin: (ms) => closer.closeWithin(ms, systemClock) };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** The hash of a password, as the settings of the dashboard have it. */
export async function hashPassword(password: string): Promise<string> {
  const adapter = await import('./adapters/http/dashboard/password.ts');
  return adapter.hashPassword(password);
}

/** What a model says of itself, from its manifest alone. @throws CategorizerError `MODEL_…` */
export async function readModel(config: Config): Promise<ModelInfo> {
  return (await readManifest(config.MODEL_PATH)).model;
}

/** The codes of the model's categories, from its manifest alone. @throws CategorizerError `MODEL_…` */
export async function readModelCategories(config: Config): Promise<readonly string[]> {
  return categoryCodes(await readModel(config));
}

/** A file that appears whole or not at all. @param path `-` for standard output */
export function openTextFile(path: string): Promise<AtomicFile> {
  return path === '-' ? Promise.resolve(createTextStream(process.stdout)) : createAtomicFile(path);
}

/** @throws CategorizerError `INPUT_NOT_READABLE`, `WRONG_WIDTH`, or what `stop` was aborted with */
export async function openProductSource(options: SourceOptions): Promise<FileProductSource> {
  // Loaded only when used: DuckDB takes time and memory that a worker has no use for.
  const adapter = await import('./adapters/files/products/product-source.ts');
  return adapter.openProductSource(options);
}

/** @param path `-` for standard output. @param options.keep go on where the file ends */
export function openResultFile(path: string, options: { format: OutputFormat; keep: boolean }): ResultFile {
  const { format } = options;
  if (path !== '-') return createResultFile({ path, ...options });
  if (format === 'parquet') throw new CategorizerError('OUTPUT_NOT_WRITABLE', 'Parquet is no stream: name a file');
  return createResultStream(process.stdout, format);
}

export interface ModelCheck {
  readonly model: ModelInfo;
  /** Whether the golden sample has the category of each row; without them the order of the categories is not proved. */
  readonly categoriesChecked: boolean;
}

/** Loads a model with all of its checks, and lets it go. @throws CategorizerError `MODEL_…` */
export async function checkModel(config: Config): Promise<ModelCheck> {
  const predictor = await openPredictor(config);
  await predictor.close();
  const { model } = predictor;
  const golden = await readGolden(config.MODEL_PATH, model);
  return { model, categoriesChecked: golden.categories !== undefined };
}
