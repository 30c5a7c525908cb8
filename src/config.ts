import { isIPv4 } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { PAYLOAD_TTL_HOURS } from './contract/names.ts';

export const DEFAULT_SHUTDOWN_TIMEOUT_MS = 20_000;

/** A whole number in decimal notation; what `Number` takes besides (blanks, 1e3, 0x10) is a mistake here. */
const integer = (least: number, most: number) =>
  z.preprocess(
    (text) => (typeof text === 'string' && /^-?\d+$/.test(text) ? Number(text) : text),
    z
      .number({ error: `expected a whole number from ${least} to ${most}` })
      .int()
      .min(least)
      .max(most),
  );

const UNITS_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const DURATION = /^(\d{1,6}) ?([smhd])$/;

/** A time with its unit: a bare number would be taken for another unit than was meant. */
const duration = z
  .string()
  .refine((text) => durationMs(text) > 0, 'expected a time with its unit, as 30s, 15m, 24h or 7d');

/** Milliseconds of a setting that is a time; 0 of what is none. */
export function durationMs(text: string): number {
  const [, count, unit] = DURATION.exec(text) ?? [];
  return unit === undefined ? 0 : Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS];
}

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

function isDatabaseUrl(text: string): boolean {
  try {
    const { protocol, username, password } = new URL(text);
    decodeURIComponent(username + password);
    return /^postgres(ql)?:$/.test(protocol);
  } catch {
    return false;
  }
}

const userName = z
  .string()
  .max(100)
  .regex(/^\S+( \S+)*$/, 'expected a name without blanks at its ends');

const passwordHash = z
  .string()
  .regex(
    /^scrypt:(1[5-9]|20):([89]|[12]\d|3[0-2]):([1-9]|1[0-6]):[\w-]{22,86}:[\w-]{43,86}$/,
    'expected what `categorizer dashboard hash-password` prints',
  );

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
  DATABASE_URL: z
    .string()
    .refine(isDatabaseUrl, 'expected postgres:// or postgresql://; special characters of a password as %XX')
    .optional()
    .describe(
      'The PostgreSQL with the catalogue and the runs, `postgres://`; only recategorizations need it. May hold a password.',
    ),
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
  MODEL_MISMATCH_TIMEOUT: duration
    .default('24h')
    .describe(
      'How long a job waits for a worker whose model was made for its vectors, from when it was given back for the first time; then it fails with `MODEL_MISMATCH`.',
    ),
  PAYLOAD_TTL_HOURS: integer(1, 8760)
    .default(PAYLOAD_TTL_HOURS)
    .describe('After how many hours Redis drops a packed chunk that nobody took, or a result that nobody collected.'),
  HTTP_HOST: z.string().min(1).default('127.0.0.1').describe('Address of the HTTP port.'),
  HTTP_PORT: integer(0, 65_535).default(8000).describe('The HTTP port; 0 takes a free one and logs it.'),
  DASHBOARD_HOST: z
    .string()
    .min(1)
    .default('127.0.0.1')
    .describe('Address of the dashboard. On any but a loopback address it starts only with a user.'),
  DASHBOARD_PORT: integer(0, 65_535).default(8001).describe('Port of the dashboard; 0 takes a free one and logs it.'),
  DASHBOARD_OPERATOR_USER: userName.optional().describe('Who may look at the queues and change them.'),
  DASHBOARD_OPERATOR_PASSWORD_HASH: passwordHash
    .optional()
    .describe("The operator's password, as `categorizer dashboard hash-password` prints it."),
  DASHBOARD_VIEWER_USER: userName.optional().describe('Who may look at the queues and change nothing.'),
  DASHBOARD_VIEWER_PASSWORD_HASH: passwordHash
    .optional()
    .describe("The viewer's password, as `categorizer dashboard hash-password` prints it."),
  DASHBOARD_SESSION_SECRET: z
    .string()
    .min(32)
    .optional()
    .describe('Signs the sessions: 32 characters or more. Not set: a random one, and a restart ends all sessions.'),
  DASHBOARD_PUBLIC_URL: z
    .string()
    .refine(
      (text) => /^https?:\/\/[^/?#@\s]+\/?$/.test(text) && URL.canParse(text),
      'expected http:// or https:// and a host, without a path',
    )
    .optional()
    .describe('Under which URL browsers see the dashboard, where it stands behind a proxy.'),
  SCHEDULER_HOST: z.string().min(1).default('127.0.0.1').describe("Address of the scheduler's HTTP port."),
  SCHEDULER_PORT: integer(0, 65_535)
    .default(8002)
    .describe("The scheduler's HTTP port; 0 takes a free one and logs it."),
  STATE_DIR: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Where `enqueue` and `run` note which imports they sent, so that a Redis that lost one is noticed. Default: `product-categorizer` in `XDG_STATE_HOME` or `~/.local/state`.',
    ),
  SHUTDOWN_TIMEOUT_MS: integer(100, 600_000)
    .default(DEFAULT_SHUTDOWN_TIMEOUT_MS)
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

  constructor(
    message: string,
    readonly code: 'CONFIG_INVALID' | 'DASHBOARD_NEEDS_LOGIN' = 'CONFIG_INVALID',
  ) {
    super(message);
  }
}

/**
 * An empty variable counts as not set, as in `docker run -e NAME=`.
 *
 * @throws ConfigError; values are never part of its message, as they may be secret
 */
export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const set = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = configSchema.safeParse(set);
  const problems = [
    ...(parsed.error?.issues ?? []).map(({ path, message }) => `  ${path.join('.')}: ${message}`),
    ...findLoginProblems(set).map((problem) => `  ${problem}`),
  ];
  if (parsed.success && problems.length === 0) return parsed.data;
  throw new ConfigError(`bad configuration in the environment:\n${problems.join('\n')}`);
}

/** What no single variable shows: of user and password hash both are set or neither, and the users differ. */
function findLoginProblems(set: NodeJS.ProcessEnv): string[] {
  const problems: string[] = [];
  for (const role of ['OPERATOR', 'VIEWER']) {
    const [user, hash] = [`DASHBOARD_${role}_USER`, `DASHBOARD_${role}_PASSWORD_HASH`];
    if (set[user] && !set[hash]) problems.push(`${hash}: not set, although ${user} is`);
    if (set[hash] && !set[user]) problems.push(`${user}: not set, although ${hash} is`);
  }
  if (set.DASHBOARD_VIEWER_USER && set.DASHBOARD_VIEWER_USER === set.DASHBOARD_OPERATOR_USER) {
    problems.push('DASHBOARD_VIEWER_USER: the same name as DASHBOARD_OPERATOR_USER');
  }
  return problems;
}

/** The directory of what this machine remembers; it need not exist. */
export function readStateDirectory({ STATE_DIR }: Config, { XDG_STATE_HOME: home } = process.env): string {
  return STATE_DIR ?? join(home || join(homedir(), '.local', 'state'), 'product-categorizer');
}

/** @throws ConfigError `CONFIG_INVALID` where it is not set */
export function readDatabaseUrl({ DATABASE_URL: url }: Config): string {
  if (url !== undefined) return url;
  throw new ConfigError('DATABASE_URL is not set: where the catalogue and the runs are, as postgres://user@host/name');
}

export interface DashboardUser {
  readonly name: string;
  readonly role: 'operator' | 'viewer';
  readonly passwordHash: string;
}

/**
 * Who may log in to the dashboard. None is allowed only where nobody but this machine can reach it.
 *
 * @throws ConfigError `DASHBOARD_NEEDS_LOGIN`
 */
export function readDashboardUsers(config: Config): DashboardUser[] {
  const users: DashboardUser[] = [];
  const add = (role: DashboardUser['role'], name: string | undefined, passwordHash: string | undefined) => {
    if (name !== undefined && passwordHash !== undefined) users.push({ name, role, passwordHash });
  };
  add('operator', config.DASHBOARD_OPERATOR_USER, config.DASHBOARD_OPERATOR_PASSWORD_HASH);
  add('viewer', config.DASHBOARD_VIEWER_USER, config.DASHBOARD_VIEWER_PASSWORD_HASH);
  if (users.length > 0 || isLoopback(config.DASHBOARD_HOST)) return users;
  throw new ConfigError(
    `the dashboard would listen on ${config.DASHBOARD_HOST}, where others can reach it, and nobody has to log in: ` +
      'set DASHBOARD_OPERATOR_USER and DASHBOARD_OPERATOR_PASSWORD_HASH (made by categorizer dashboard hash-password), ' +
      'or the same two of DASHBOARD_VIEWER, or leave DASHBOARD_HOST at 127.0.0.1',
    'DASHBOARD_NEEDS_LOGIN',
  );
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}
