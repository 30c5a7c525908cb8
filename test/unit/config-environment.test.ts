import { describe, expect, it } from 'vitest';
import { ConfigError, configSchema, durationMs, readConfig, readDatabaseUrl } from '../../src/config.ts';

function errorOf(environment: NodeJS.ProcessEnv): ConfigError {
  try {
    readConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

/** The names of the variables that were complained about, in the order of the lines. */
function complaintsOf(environment: NodeJS.ProcessEnv): string[] {
  const [, ...lines] = errorOf(environment).message.split('\n');
  return lines.map((line) => line.trim().split(':')[0]);
}

describe('the configuration', () => {
  it('has a default for everything but the users of the dashboard and the database of recategorizations', () => {
    expect(readConfig({})).toEqual({
      REDIS_URL: 'redis://127.0.0.1:6379',
      QUEUE_PREFIX: '{categorizer}',
      MODEL_PATH: 'model/model.onnx',
      PREDICTOR_THREADS: 1,
      BATCH_MAX_ROWS: 8192,
      BATCH_MAX_WAIT_MS: 5,
      WORKER_CONCURRENCY: 512,
      JOB_LOCK_MS: 30_000,
      MODEL_MISMATCH_TIMEOUT: '24h',
      PAYLOAD_TTL_HOURS: 168,
      HTTP_HOST: '127.0.0.1',
      HTTP_PORT: 8000,
      DASHBOARD_HOST: '127.0.0.1',
      DASHBOARD_PORT: 8001,
      SCHEDULER_HOST: '127.0.0.1',
      SCHEDULER_PORT: 8002,
      SHUTDOWN_TIMEOUT_MS: 20_000,
      LOG_LEVEL: 'info',
      OTEL_SERVICE_NAME: 'product-categorizer',
    });
  });

  it('traces nothing unless an endpoint is set', () => {
    expect(readConfig({}).OTEL_EXPORTER_OTLP_ENDPOINT).toBeUndefined();
    const endpoint = 'http://collector:4318';
    expect(readConfig({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }).OTEL_EXPORTER_OTLP_ENDPOINT).toBe(endpoint);
  });

  it('names the variable where a command needs the database and none is set', () => {
    expect(() => readDatabaseUrl(readConfig({}))).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(/^DATABASE_URL is not set/) }),
    );
    const url = 'postgres://erp@db.internal/erp';
    expect(readDatabaseUrl(readConfig({ DATABASE_URL: url }))).toBe(url);
  });

  it('takes an empty variable as one that is not set', () => {
    const empty = Object.fromEntries(Object.keys(configSchema.shape).map((name) => [name, '']));
    expect(readConfig(empty)).toEqual(readConfig({}));
  });

  it('pays no attention to other variables', () => {
    expect(readConfig({ PATH: '/bin', HTTP_PROXY: 'x' })).toEqual(readConfig({}));
  });

  it('describes every variable', () => {
    for (const [name, schema] of Object.entries(configSchema.shape)) {
      expect(schema.description, name).toBeTruthy();
    }
  });
});

describe('every setting', () => {
  it.each([
    { name: 'REDIS_URL', text: 'redis://user:pass@cache.internal:6380/2' },
    { name: 'REDIS_URL', text: 'rediss://cache.internal' },
    { name: 'REDIS_URL', text: '/var/run/redis/redis.sock' },
    { name: 'QUEUE_PREFIX', text: '{shop-7}' },
    { name: 'DATABASE_URL', text: 'postgres://erp:p%2Fss@db.internal:5433/erp?sslmode=require' },
    { name: 'DATABASE_URL', text: 'postgresql:///erp?host=/var/run/postgresql' },
    { name: 'MODEL_PATH', text: '/models/a b/model.onnx' },
    { name: 'HTTP_HOST', text: '0.0.0.0' },
    { name: 'LOG_LEVEL', text: 'silent' },
    { name: 'OTEL_EXPORTER_OTLP_ENDPOINT', text: 'https://collector/otlp' },
    { name: 'OTEL_SERVICE_NAME', text: 'night shift' },
  ])('$name may be $text', ({ name, text }) => {
    expect(readConfig({ [name]: text })).toMatchObject({ [name]: text });
  });

  it.each([
    { name: 'PREDICTOR_THREADS', least: 1, most: 256 },
    { name: 'BATCH_MAX_ROWS', least: 1, most: 65_536 },
    { name: 'BATCH_MAX_WAIT_MS', least: 0, most: 10_000 },
    { name: 'WORKER_CONCURRENCY', least: 1, most: 10_000 },
    { name: 'JOB_LOCK_MS', least: 500, most: 3_600_000 },
    { name: 'PAYLOAD_TTL_HOURS', least: 1, most: 8760 },
    { name: 'HTTP_PORT', least: 0, most: 65_535 },
    { name: 'SCHEDULER_PORT', least: 0, most: 65_535 },
    { name: 'SHUTDOWN_TIMEOUT_MS', least: 100, most: 600_000 },
  ])('$name is a whole number from $least to $most', ({ name, least, most }) => {
    for (const value of [least, most]) expect(readConfig({ [name]: String(value) })).toMatchObject({ [name]: value });
    for (const text of [String(least - 1), String(most + 1), '1.5', 'many', 'NaN', 'Infinity', '5ms']) {
      expect(complaintsOf({ [name]: text }), text).toEqual([name]);
    }
  });

  it.each([
    ['90s', 90_000],
    ['30 m', 1_800_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
  ])('MODEL_MISMATCH_TIMEOUT is a time with its unit: %s', (text, milliseconds) => {
    expect(durationMs(readConfig({ MODEL_MISMATCH_TIMEOUT: text }).MODEL_MISMATCH_TIMEOUT)).toBe(milliseconds);
  });

  it.each(['24', '0h', '-1h', '1.5h', '24 hours', 'h', '1h30m'])('MODEL_MISMATCH_TIMEOUT may not be %s', (text) => {
    expect(complaintsOf({ MODEL_MISMATCH_TIMEOUT: text })).toEqual(['MODEL_MISMATCH_TIMEOUT']);
  });

  it('that is a number is refused where it is only white space', () => {
    expect(complaintsOf({ HTTP_PORT: ' ', BATCH_MAX_WAIT_MS: '\t' }).toSorted()).toEqual([
      'BATCH_MAX_WAIT_MS',
      'HTTP_PORT',
    ]);
  });

  it.each([
    'localhost:6379',
    '127.0.0.1',
    'http://localhost:6379',
    'redis:/localhost',
    'redis://',
    'rediss://',
    'redis://a b',
    'redis.sock',
  ])('REDIS_URL may not be %s', (text) => {
    expect(complaintsOf({ REDIS_URL: text })).toEqual(['REDIS_URL']);
  });

  // What the Redis client cannot take apart: it would end a command with a stack trace.
  it.each([
    { title: 'a slash in the password that is not encoded', text: 'redis://:hidden/word@127.0.0.1:6379' },
    { title: 'a port that does not exist', text: 'redis://127.0.0.1:99999' },
    { title: 'a port that is no number', text: 'redis://127.0.0.1:port' },
    { title: 'a percent sign in the password that is not encoded', text: 'redis://:100%@127.0.0.1:6379' },
  ])('REDIS_URL may not have $title', ({ text }) => {
    expect(complaintsOf({ REDIS_URL: text })).toEqual(['REDIS_URL']);
  });

  it.each([
    'db.internal/erp',
    'mysql://erp@db.internal/erp',
    'postgres',
    'postgres://erp:100%@db.internal/erp',
    'postgres://erp:hidden/word@db.internal/erp',
    'postgres://erp@db.internal:port/erp',
  ])('DATABASE_URL may not be %s', (text) => {
    expect(complaintsOf({ DATABASE_URL: text })).toEqual(['DATABASE_URL']);
  });

  it.each(['collector:4318', 'grpc://collector:4317', '/v1/traces', 'http://'])(
    'OTEL_EXPORTER_OTLP_ENDPOINT may not be %s',
    (text) => {
      expect(complaintsOf({ OTEL_EXPORTER_OTLP_ENDPOINT: text })).toEqual(['OTEL_EXPORTER_OTLP_ENDPOINT']);
    },
  );

  it('LOG_LEVEL is one of those that exist, and the message names them', () => {
    const { message } = errorOf({ LOG_LEVEL: 'verbose' });
    for (const level of ['debug', 'info', 'warn', 'error', 'silent']) expect(message).toContain(level);
  });
});

describe('a bad configuration', () => {
  const everythingBad = {
    REDIS_URL: 'hidden-1',
    QUEUE_PREFIX: 'hidden-2'.repeat(20),
    DATABASE_URL: 'hidden-13',
    PREDICTOR_THREADS: 'hidden-3',
    BATCH_MAX_ROWS: 'hidden-4',
    BATCH_MAX_WAIT_MS: 'hidden-5',
    WORKER_CONCURRENCY: 'hidden-6',
    JOB_LOCK_MS: 'hidden-7',
    MODEL_MISMATCH_TIMEOUT: 'hidden-15',
    PAYLOAD_TTL_HOURS: 'hidden-8',
    HTTP_PORT: 'hidden-9',
    SCHEDULER_PORT: 'hidden-14',
    SHUTDOWN_TIMEOUT_MS: 'hidden-10',
    LOG_LEVEL: 'hidden-11',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'hidden-12',
  };

  it('is told at once: every variable that is wrong, each on a line with its name', () => {
    expect(complaintsOf(everythingBad)).toEqual(Object.keys(everythingBad));
  });

  it('has a stable code', () => {
    expect(errorOf(everythingBad).code).toBe('CONFIG_INVALID');
  });

  it('never shows a value, as it may be secret', () => {
    const error = errorOf(everythingBad);
    expect(`${error.message}${error.stack}${JSON.stringify(error)}${String(error.cause)}`).not.toContain('hidden');
  });

  it.each([
    'http://:sesame@cache.internal:6379',
    'redis://:ses ame@cache.internal',
    ':sesame@cache.internal',
    'redis://:sesame@',
  ])('does not show the password of a Redis URL such as %s', (url) => {
    const { message } = readError(url);
    expect(message).not.toMatch(/ses|ame/);
  });

  it.each(['mysql://erp:sesame@db.internal/erp', 'postgres://erp:ses/ame@db.internal/erp', 'erp:sesame@db.internal'])(
    'does not show the password of a database URL such as %s',
    (url) => {
      expect(errorOf({ DATABASE_URL: url }).message).not.toMatch(/ses|ame@/);
    },
  );

  function readError(url: string): Error {
    return errorOf({ REDIS_URL: url, OTEL_EXPORTER_OTLP_ENDPOINT: `ftp://user:sesame@collector` });
  }
});
