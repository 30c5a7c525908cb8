import { describe, expect, it } from 'vitest';
import { explainRedis, isForbidden, isPassingRefusal, isRedisToBlame } from '../../src/adapters/bullmq/redis-errors.ts';
import { CategorizerError } from '../../src/domain/errors.ts';

/** As ioredis throws what Redis answered. */
const reply = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' });
/** As Node throws what the system answered. */
const system = (code: string, message: string) => Object.assign(new Error(message), { code, syscall: 'connect' });

const SCRIPT = ' script: 08ff1a5b4abfbbd0584ad348bea95f12acf85454, on @user_script:12.';
/** No sentence of Node, ioredis, BullMQ, and no hash of a script. */
const FOREIGN =
  /writeable|Connection is closed|connect E|read E|timed out|command not allowed|permissions to run|script: [0-9a-f]{8}/;

describe('a refusal that may pass', () => {
  it.each([
    [`OOM command not allowed when used memory > 'maxmemory'.${SCRIPT}`, /^OOM – Redis is full/],
    [`READONLY You can't write against a read only replica.${SCRIPT}`, /^READONLY – Redis is read-only.*REDIS_URL/],
    ['LOADING Redis is loading the dataset in memory', /^LOADING – /],
    ["MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", /^MASTERDOWN – /],
    ['MISCONF Redis is configured to save RDB snapshots, but it is unable', /^MISCONF – Redis cannot save.*disk/],
    ['CLUSTERDOWN The cluster is down', /^CLUSTERDOWN – /],
    ['TRYAGAIN Multiple keys request during rehashing of slot', /^TRYAGAIN – /],
    ['BUSY Redis is busy running a script.', /^BUSY – /],
    ['NOREPLICAS Not enough good replicas to write.', /^NOREPLICAS – /],
    ['NOAUTH Authentication required.', /^NOAUTH – Redis wants a password.*REDIS_URL/],
    ['WRONGPASS invalid username-password pair or user is disabled.', /^WRONGPASS – .*REDIS_URL/],
    [
      "NOPERM this user has no permissions to run the 'config|get' command",
      /^NOPERM – .* for the command CONFIG\|GET: see docs/,
    ],
    ['NOPERM this user has no permissions to access one of the keys used as arguments', /^NOPERM – .*one of the keys/],
    [
      `ERR The user executing the script can't run this command or subcommand${SCRIPT}`,
      /^NOPERM – .*for a command in a script/,
    ],
  ])('%s is told in words and waited out', (message, sentence) => {
    expect(explainRedis(reply(message))).toMatch(sentence);
    expect(explainRedis(reply(message))).not.toMatch(FOREIGN);
    expect(isPassingRefusal(reply(message))).toBe(true);
  });
});

describe('a refusal that lasts', () => {
  it.each([
    ['WRONGTYPE Operation against a key holding the wrong kind of value', /^WRONGTYPE – .*QUEUE_PREFIX/],
    ['MOVED 13843 10.0.0.3:7003', /^MOVED – .*REDIS_URL.*\(10\.0\.0\.3:7003\)$/],
    ["CROSSSLOT Keys in request don't hash to the same slot", /^CROSSSLOT – .*QUEUE_PREFIX/],
    [`ERR value is not an integer or out of range${SCRIPT}`, /^ERR value is not an integer or out of range$/],
  ])('%s is told in words and not waited out', (message, sentence) => {
    expect(explainRedis(reply(message))).toMatch(sentence);
    expect(isPassingRefusal(reply(message))).toBe(false);
  });
});

describe('a connection that fails', () => {
  it.each([
    [system('ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:6379'), /^ECONNREFUSED – nothing listens there/],
    [
      new AggregateError([system('ECONNREFUSED', 'connect ECONNREFUSED ::1:6379')], ''),
      /^ECONNREFUSED – nothing listens there/,
    ],
    [system('ECONNRESET', 'read ECONNRESET'), /^ECONNRESET – the connection was cut$/],
    [system('ENOTFOUND', 'getaddrinfo ENOTFOUND redis'), /^ENOTFOUND – the name of the host is unknown$/],
    [system('EPROGUNAVAIL', 'connect EPROGUNAVAIL'), /^EPROGUNAVAIL – the connection failed/],
    [
      Object.assign(new Error('self-signed certificate in certificate chain'), { code: 'SELF_SIGNED_CERT_IN_CHAIN' }),
      /NODE_EXTRA_CA_CERTS/,
    ],
    [Object.assign(new Error('certificate has expired'), { code: 'CERT_HAS_EXPIRED' }), /has expired: renew it/],
    [new Error("Stream isn't writeable and enableOfflineQueue options is false"), /^there is no connection$/],
    [new Error('Connection is closed.'), /^the connection was lost$/],
    [new Error('Command aborted due to connection close'), /^the connection was lost$/],
    [
      new Error('Reached the max retries per request limit (which is 0). Refer to "maxRetriesPerRequest"'),
      /^the connection was lost$/,
    ],
    [new Error('Command timed out'), /gives no answer$/],
    [new Error("Socket timeout. Expecting data, but didn't receive any in 20000ms."), /gives no answer$/],
  ])('is told in words: %s', (error, sentence) => {
    expect(explainRedis(error)).toMatch(sentence);
    expect(explainRedis(error)).not.toMatch(FOREIGN);
    expect(isRedisToBlame(error)).toBe(true);
  });
});

describe('what a worker has lost', () => {
  it.each([
    [
      'could not renew lock for job night-8-3',
      'the lock of job night-8-3 ran out: another worker has it, or takes it soon',
    ],
    [
      'Missing lock for job night-8-3. moveToFinished',
      'the lock of job night-8-3 ran out before it was finished: it is done again',
    ],
    ['Missing key for job night-8-3. moveToFinished', 'job night-8-3 was removed while it was in work'],
  ])('%s is told in words', (message, sentence) => {
    expect(explainRedis(new Error(message))).toBe(sentence);
  });
});

it('Redis is to blame for what it caused, however deep, and for nothing else', () => {
  const refused = new CategorizerError('REDIS_REFUSED', 'x', { cause: reply('OOM command not allowed') });
  expect(isRedisToBlame(new Error('REDIS_REFUSED: x', { cause: refused }))).toBe(true);
  expect(isRedisToBlame(new CategorizerError('WRONG_WIDTH', 'expected 16'))).toBe(false);
  expect(isRedisToBlame(reply('WRONGTYPE Operation'))).toBe(false);
  expect(isRedisToBlame(new TypeError('x is not a function'))).toBe(false);
  expect(explainRedis(new TypeError('x is not a function'))).toBe('x is not a function');
});

it('a command that the user may not call, or that the service does not have, is forbidden', () => {
  expect(isForbidden(reply("NOPERM this user has no permissions to run the 'info' command"))).toBe(true);
  expect(isForbidden(reply("ERR unknown command 'INFO', with args beginning with: "))).toBe(true);
  expect(isForbidden(reply('OOM command not allowed'))).toBe(false);
});
