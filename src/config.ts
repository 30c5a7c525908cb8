import { z } from 'zod';
import { PAYLOAD_TTL_HOURS } from './contract/names.ts';

/** A whole number in decimal notation; what `Number` takes besides (blanks, 1e3, 0x10) is a mistake here. */
const integer = (least: number, most: number) =>
  z.preprocess(
    (text) => (typeof text === 'string' && /^-?\d+$/.test(text) ? Number(text) : text),
    z.number({ error: 'expected a whole number' }).int().min(least).max(most),
  );

function isRedisUrl(text: string): boolean {
  if (text.startsWith('/')) return true;
  try {
    const { protocol, hostname, username, password } = new URL(text);
    decodeURIComponent(username + password);
    return /^rediss?:$/.test(protocol) && hostname !== '';
  } catch {
    return false;
  }
}

/** Every setting, with its default and what to know about it. The README's table and .env.example are made from it. */
export const configSchema = z.object({
  REDIS_URL: z
    .string()
    .refine(
      isRedisUrl,
      'expected redis://, rediss:// or the path of a unix socket; special characters of a password as %XX',
    )
    .default('redis://127.0.0.1:6379')
    .describe('Where the queues are: `redis://`, `rediss://` (TLS) or the path of a unix socket. May hold a password.'),
  QUEUE_PREFIX: z
    .string()
    .min(1)
    .max(100)
    .default('{categorizer}')
    .describe('First part of every Redis key. The braces keep all keys in one Redis Cluster slot.'),
  MODEL_PATH: z
    .string()
    .min(1)
    .default('model/model.onnx')
    .describe('The ONNX file; `manifest.json` and `golden.json` lie beside it.'),
  PREDICTOR_THREADS: integer(1, 256)
    .default(1)
    .describe('Threads of one run of the model. More help only models that take milliseconds a batch.'),
  BATCH_MAX_ROWS: integer(1, 65_536).default(8192).describe('Rows in a batch at most.'),
  BATCH_MAX_WAIT_MS: integer(0, 10_000)
    .default(5)
    .describe('How long a row waits for others, in milliseconds: more gives larger batches and later answers.'),
  WORKER_CONCURRENCY: integer(1, 10_000)
    .default(512)
    .describe('Jobs in work at once in one worker. It bounds the batch when each job holds one product.'),
  JOB_LOCK_MS: integer(500, 3_600_000)
    .default(30_000)
    .describe('After how many milliseconds without a sign of life a job is taken from a dead worker.'),
  PAYLOAD_TTL_HOURS: integer(1, 8760)
    .default(PAYLOAD_TTL_HOURS)
    .describe('After how many hours Redis drops a packed chunk that nobody took, or a result that nobody collected.'),
  HTTP_HOST: z.string().min(1).default('127.0.0.1').describe('Address of the HTTP port.'),
  HTTP_PORT: integer(0, 65_535).default(8000).describe('The HTTP port; 0 takes a free one and logs it.'),
  SHUTDOWN_TIMEOUT_MS: integer(100, 600_000)
    .default(20_000)
    .describe('Time to finish what was begun after SIGTERM, in milliseconds.'),
  LOG_LEVEL: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .describe('debug, info, warn, error or silent. At debug there is a line for each batch.'),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'expected http:// or https://' })
    .optional()
    .describe('Where traces go, by OTLP over HTTP. Not set: no tracing at all.'),
  OTEL_SERVICE_NAME: z.string().min(1).default('product-categorizer').describe('Name of this service in the traces.'),
});

export type Config = z.infer<typeof configSchema>;

/** Every problem of the environment at once, each with the name of its variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly code = 'CONFIG_INVALID';
}

/**
 * An empty variable counts as not set, as in `docker run -e NAME=`.
 *
 * @throws ConfigError; values are never part of its message, as they may be secret
 */
export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const set = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = configSchema.safeParse(set);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => `  ${path.join('.')}: ${message}`);
  throw new ConfigError(`bad configuration in the environment:\n${problems.join('\n')}`);
}
