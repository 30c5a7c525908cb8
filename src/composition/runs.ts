/** Builds what recategorizes the catalogue from a Config: the record in the database, and what makes runs go on. */
import { connectForProbes, connectOrFail, connectPatiently } from '../adapters/bullmq/connection.ts';
import { createImportRecords } from '../adapters/bullmq/import-records.ts';
import { createPayloads } from '../adapters/bullmq/payloads.ts';
import { createProductQueue } from '../adapters/bullmq/product-queue.ts';
import { createRedisProblem } from '../adapters/bullmq/redis-health.ts';
import { createRunChunks } from '../adapters/bullmq/run-chunks.ts';
import { createRunQueue, RUN_QUEUE } from '../adapters/bullmq/run-queue.ts';
import { createRunWorker } from '../adapters/bullmq/run-worker.ts';
import { cronCalendar } from '../adapters/cron/calendar.ts';
import { createInputHash } from '../adapters/crypto/input-hash.ts';
import { readManifest } from '../adapters/onnx/model-files.ts';
import { createCategoryStore } from '../adapters/postgres/category-store.ts';
import { type Database, openDatabase } from '../adapters/postgres/connection.ts';
import { checkMigrated, migrate } from '../adapters/postgres/migrations.ts';
import { createReviews } from '../adapters/postgres/reviews.ts';
import { createRunPlan } from '../adapters/postgres/run-plan.ts';
import { createRunRegistry } from '../adapters/postgres/run-registry.ts';
import { createRunReports } from '../adapters/postgres/run-reports.ts';
import { createRunStatistics } from '../adapters/postgres/run-statistics.ts';
import { createSchedules } from '../adapters/postgres/schedules.ts';
import { type Closer, createCloser } from '../application/closer.ts';
import type { Logger } from '../application/ports.ts';
import { createAdvanceRun } from '../application/recategorization/advance-run.ts';
import { findLastDue } from '../application/recategorization/find-last-due.ts';
import { createManageRuns, type ManageRuns } from '../application/recategorization/manage-runs.ts';
import type {
  Calendar,
  CategoryStore,
  Reviews,
  RunObserver,
  RunRegistry,
  RunReports,
  Schedules,
} from '../application/recategorization/ports.ts';
import { createStartDueRun } from '../application/recategorization/start-due-run.ts';
import { addTracing, systemClock } from '../composition.ts';
import { type Config, readDatabaseUrl } from '../config.ts';
import type { ModelInfo } from '../domain/category.ts';
import { CategorizerError, messageOf } from '../domain/errors.ts';
import { createLogger } from '../observability/logger.ts';
import { createRunMetrics } from '../observability/run-metrics.ts';
import { createRunObserver } from '../observability/run-observer.ts';
import { enqueueTracer } from '../observability/tracing.ts';

/** How often it is looked whether the working run has its job. */
const ADOPT_MS = 5000;
/** How often schedules that were changed elsewhere, or lost with a Redis, are set up again. */
const SYNC_MS = 30_000;
/** How long the database may take for a probe or a scrape. */
const PROBE_TIMEOUT_MS = 2000;

/** The record of the runs: no queue is needed to read it. */
export interface RunRecords {
  readonly registry: RunRegistry;
  readonly reports: RunReports;
  readonly categories: CategoryStore;
  readonly reviews: Reviews;
  readonly schedules: Schedules;
  close(): Promise<void>;
}

/** @throws ConfigError without DATABASE_URL, CategorizerError `DATABASE_…` */
export async function composeRunRecords(config: Config): Promise<RunRecords> {
  const closer = createCloser();
  const database = await openMigrated(config, closer, commandLogger(config));
  return { ...createRecords(database), close: closer.close };
}

export interface RunsApp extends RunRecords {
  readonly runs: ManageRuns;
  readonly calendar: Calendar;
  readModel(): Promise<ModelInfo>;
  /** Sets the queue up for the schedules as they are recorded. */
  syncSchedules(): Promise<void>;
  /** How many workers are connected to the input queue; undefined where nobody may look. */
  countWorkers(): Promise<number | undefined>;
  /** Makes the working run go on in this process, if no other does. */
  work(): void;
}

/**
 * For commands that change runs.
 *
 * @param options.works whether `work` will be called: then an outage of Redis that comes later is waited out
 * @throws as `composeRunRecords` does, and CategorizerError `REDIS_UNAVAILABLE`, or what `stop` was aborted with
 */
export async function composeRuns(
  config: Config,
  stop: AbortSignal,
  options: { readonly works: boolean },
): Promise<RunsApp> {
  const closer = createCloser();
  const logger = commandLogger(config);
  try {
    const database = await openMigrated(config, closer, logger);
    const probe = await connectOrFail(config.REDIS_URL, stop);
    closer.add(async () => probe.disconnect());
    const connection = options.works ? connectPatiently(config.REDIS_URL, logger) : probe;
    closer.add(async () => connection.disconnect());
    await addTracing(config, closer);
    const app = createRuns(config, closer, database, connection, logger, unobserved);
    return { ...app, close: closer.close };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

export interface SchedulerApp {
  readonly httpPort: number;
  readonly logger: Logger;
  closeWithin(ms: number): Promise<boolean>;
}

/** Begins the runs of the schedules, and makes every run go on. @throws as `composeRuns` does, and `HTTP_NOT_LISTENING` */
export async function composeScheduler(config: Config): Promise<SchedulerApp> {
  const { createHttpServer } = await import('../adapters/http/http-server.ts');
  const logger = createLogger(config.LOG_LEVEL, config.OTEL_SERVICE_NAME);
  const closer = createCloser();
  try {
    await addTracing(config, closer);
    const database = await openMigrated(config, closer, logger);
    const connection = connectPatiently(config.REDIS_URL, logger);
    closer.add(async () => connection.disconnect());
    const probes = connectForProbes(config.REDIS_URL);
    closer.add(async () => probes.disconnect());
    const redisProblem = createRedisProblem({
      connection: probes,
      prefix: config.QUEUE_PREFIX,
      warn: (reason) => logger.warn({}, reason),
    });

    const statistics = createRunStatistics(database);
    const { schedules } = createRecords(database);
    const metrics = createRunMetrics({
      runs: () => inTime(statistics.read()),
      due: () => inTime(findLastDue({ schedules, calendar: cronCalendar }, new Date())),
    });
    const observer = createRunObserver({ metrics, logger });
    const app = createRuns(config, closer, database, connection, logger, observer);
    await app.readModel();

    const http = await createHttpServer({
      host: config.SCHEDULER_HOST,
      port: config.SCHEDULER_PORT,
      settings: 'SCHEDULER_HOST and SCHEDULER_PORT',
      async checkReadiness() {
        const found = await Promise.all([
          redisProblem(),
          inTime(checkMigrated(database)).then(() => undefined, messageOf),
        ]);
        const problems = found.filter((problem) => problem !== undefined);
        return { ready: problems.length === 0, problems };
      },
      exposeMetrics: metrics.expose,
      observer: metrics.http,
      logger,
    });
    closer.add(http.close);
    repeat(closer, SYNC_MS, app.syncSchedules, (reason) => logger.warn({ reason }, 'the schedules were not set up'));
    app.work();
    logger.info({}, 'scheduler started');
    return { httpPort: http.port, logger, closeWithin: (ms) => closer.closeWithin(ms, systemClock) };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** @returns the names of the migrations that were, or would be, applied. @throws CategorizerError `DATABASE_…` */
export function migrateDatabase(config: Config, options: { readonly dryRun: boolean }): Promise<readonly string[]> {
  return migrate({ url: readDatabaseUrl(config), logger: commandLogger(config), ...options });
}

/** A command says itself how its run ended. */
const unobserved: RunObserver = { ended: () => undefined, skipped: () => undefined };

/** Who waits for a command reads its summary, and what went wrong. */
function commandLogger(config: Config): Logger {
  return createLogger(config.LOG_LEVEL === 'info' ? 'warn' : config.LOG_LEVEL, config.OTEL_SERVICE_NAME);
}

async function openMigrated(config: Config, closer: Closer, logger: Logger): Promise<Database> {
  const database = openDatabase({ url: readDatabaseUrl(config), logger });
  closer.add(database.close);
  try {
    await checkMigrated(database);
    return database;
  } catch (error) {
    await database.close();
    throw error;
  }
}

function createRecords(database: Database): Omit<RunRecords, 'close'> {
  return {
    registry: createRunRegistry(database),
    reports: createRunReports(database),
    categories: createCategoryStore(database),
    reviews: createReviews(database),
    schedules: createSchedules(database),
  };
}

function createRuns(
  config: Config,
  closer: Closer,
  database: Database,
  connection: ReturnType<typeof connectPatiently>,
  logger: Logger,
  observer: RunObserver,
): Omit<RunsApp, 'close'> {
  const prefix = config.QUEUE_PREFIX;
  const records = createRecords(database);
  const { registry, schedules } = records;
  const plan = createRunPlan(database);
  const payloads = createPayloads({ connection, prefix, ttlHours: config.PAYLOAD_TTL_HOURS });
  const imports = createImportRecords({ connection, prefix });
  const queue = createProductQueue({
    connection,
    prefix,
    payloads,
    imports,
    tracer: enqueueTracer,
    runQueue: RUN_QUEUE,
  });
  closer.add(queue.close);
  const chunks = createRunChunks({ connection, prefix, payloads, imports });
  closer.add(chunks.close);
  const runQueue = createRunQueue({ connection, prefix, calendar: cronCalendar });
  closer.add(runQueue.close);
  // As its files are now: a new model is used from the next run on, without a restart.
  const readModel = async () => (await readManifest(config.MODEL_PATH)).model;
  const runs = createManageRuns({ ...records, plan, queue, chunks, runQueue });

  return {
    ...records,
    runs,
    calendar: cronCalendar,
    readModel,
    countWorkers: runQueue.countWorkers,
    syncSchedules: async () => runQueue.sync(await schedules.list()),
    work() {
      const worker = createRunWorker({
        connection,
        prefix,
        lockMs: config.JOB_LOCK_MS,
        calendar: cronCalendar,
        advance: createAdvanceRun({
          ...records,
          plan,
          queue,
          chunks,
          readModel,
          createInputHash,
          clock: systemClock,
          observer,
          logger,
        }),
        startDue: createStartDueRun({
          schedules,
          registry,
          runs,
          runQueue,
          readModel,
          observer,
          logger,
          now: Date.now,
        }),
        giveUp: runs.fail,
        logger,
      });
      closer.add(worker.close);
      worker.start();
      repeat(closer, ADOPT_MS, runs.adopt, (reason) => logger.warn({ reason }, 'the working run was not looked after'));
    },
  };
}

/** A database that takes the question and never answers must not hold up who scrapes. */
async function inTime<T>(answer: Promise<T>): Promise<T> {
  let cancel: () => void = () => undefined;
  const late = new Promise<never>((_, reject) => {
    cancel = systemClock.after(PROBE_TIMEOUT_MS, () => {
      reject(new CategorizerError('DATABASE_UNAVAILABLE', 'PostgreSQL does not answer in time', { retryable: true }));
    });
  });
  return Promise.race([answer, late]).finally(cancel);
}

/** Now and every `ms` until it is closed, one after the other. */
function repeat(closer: Closer, ms: number, work: () => Promise<void>, failed: (reason: string) => void): void {
  let closed = false;
  let wake: (() => void) | undefined;
  const ended = (async () => {
    while (!closed) {
      await work().catch((error: unknown) => failed(messageOf(error)));
      if (closed) return;
      await new Promise<void>((resolve) => {
        const cancel = systemClock.after(ms, resolve);
        wake = () => {
          cancel();
          resolve();
        };
      });
    }
  })();
  closer.add(() => {
    closed = true;
    wake?.();
    return ended;
  });
}
