/**
 * What the errors of Redis, of its client and of the network mean, for people: nobody who reads a log or a status page
 * should have to know the sentences of Node, ioredis or BullMQ.
 */
import { messageOf } from '../../domain/errors.ts';

export interface RedisTrouble {
  /** `refused`: Redis answered with an error. `away`: no answer, or no connection. */
  readonly kind: 'refused' | 'away';
  /** The error code of Redis or of the system (`OOM`, `ECONNREFUSED`); none where there is none. */
  readonly code?: string;
  /** What is wrong and what to do, without a full stop. */
  readonly sentence: string;
  /** Whether the same command can succeed later, after nothing but time or a change on the side of Redis. */
  readonly passes: boolean;
}

/** Errors that Redis answers with while it, and not the command, is to blame. */
const PASSING_REFUSALS: Readonly<Record<string, string>> = {
  OOM: 'Redis is full and takes no more data: collect results, or raise its maxmemory',
  READONLY: 'Redis is read-only, so it is a replica: REDIS_URL must lead to the primary',
  LOADING: 'Redis is still loading its data: wait',
  MASTERDOWN: 'Redis is a replica that has lost its primary: wait for the failover',
  MISCONF: 'Redis cannot save its data and takes no more: look at its log, and whether its disk is full',
  CLUSTERDOWN: 'the Redis Cluster is down: wait, or repair it',
  TRYAGAIN: 'the Redis Cluster is moving these keys: wait',
  BUSY: 'Redis is busy with a script that runs for too long: wait, or end it with SCRIPT KILL',
  NOREPLICAS: 'Redis has fewer replicas than its min-replicas-to-write wants: wait, or add one',
  NOAUTH: 'Redis wants a password: put one in REDIS_URL',
  WRONGPASS: 'Redis refuses the user or the password in REDIS_URL, or that user is disabled',
  NOPERM: 'the Redis user in REDIS_URL lacks a permission',
};

/** Errors that do not go away by waiting. */
const LASTING_REFUSALS: Readonly<Record<string, string>> = {
  WRONGTYPE: 'a key under QUEUE_PREFIX holds something else: another program uses the same prefix',
  MOVED: 'this node of the Redis Cluster does not hold the queues: REDIS_URL must name the one that does',
  ASK: 'this node of the Redis Cluster is giving the queues away: REDIS_URL must name the one that gets them',
  CROSSSLOT: 'the keys are in several slots of the Redis Cluster: QUEUE_PREFIX needs braces, as in {categorizer}',
  DENIED: 'Redis runs in protected mode and takes local connections only: give it a password',
  NOPROTO: 'this Redis is too old',
};

const CERTIFICATE =
  "is not signed by an authority that Node knows: name the file with your own CA's certificate in NODE_EXTRA_CA_CERTS";
const CONNECTION: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there: is Redis running, and is the port right?',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  ECONNABORTED: 'the connection was cut',
  ETIMEDOUT: 'no answer to the attempt to connect: a firewall, or a wrong address',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
  EADDRNOTAVAIL: 'the address cannot be used from here',
  ENOTFOUND: 'the name of the host is unknown',
  EAI_AGAIN: 'the name of the host cannot be looked up now',
  ENOENT: 'there is no such socket',
  EACCES: 'this user may not open the socket',
  EPROTO: 'it does not speak TLS: the URL begins with redis://, or that is no port for TLS',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS: the URL begins with redis://, or that is no port for TLS',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS: the URL begins with redis://, or that is no port for TLS',
  SELF_SIGNED_CERT_IN_CHAIN: `its certificate ${CERTIFICATE}`,
  DEPTH_ZERO_SELF_SIGNED_CERT: `its certificate ${CERTIFICATE}`,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: `its certificate ${CERTIFICATE}`,
  UNABLE_TO_GET_ISSUER_CERT: `its certificate ${CERTIFICATE}`,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: `its certificate ${CERTIFICATE}`,
  CERT_SIGNATURE_FAILURE: `its certificate ${CERTIFICATE}`,
  CERT_HAS_EXPIRED: 'its certificate has expired: renew it',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet: compare the clocks',
  ERR_TLS_CERT_ALTNAME_INVALID:
    'its certificate is for another name: use a name in REDIS_URL that the certificate holds',
};

/** ioredis and BullMQ throw most of theirs with nothing but a message. The first that matches counts. */
const CLIENT_MESSAGES: readonly (readonly [RegExp, string])[] = [
  [/^Command timed out|^Socket timeout|^Blocking command timed out/, 'it takes commands and gives no answer'],
  [/^Stream isn't writeable/, 'there is no connection'],
  [/^Connection is closed|^Command aborted|max retries per request|^Connection closed/, 'the connection was lost'],
];

/** What BullMQ reports of jobs that a worker has lost. */
const WORKER_MESSAGES: readonly (readonly [RegExp, string])[] = [
  [/^could not renew lock for job (\S+)$/, 'the lock of job $1 ran out: another worker has it, or takes it soon'],
  [/^Missing lock for job (\S+)\. .*$/, 'the lock of job $1 ran out before it was finished: it is done again'],
  [/^Lock mismatch for job (\S+)\. .*$/, 'another worker has job $1 by now'],
  [/^Missing key for job (\S+)\. .*$/, 'job $1 was removed while it was in work'],
  [/^Job (\S+) is not in the active state\. .*$/, 'job $1 is not in work any more: it was taken away'],
];

/** @returns undefined where the error comes from elsewhere */
export function troubleOf(thrown: unknown): RedisTrouble | undefined {
  if (!(thrown instanceof Error)) return undefined;
  if (thrown.name === 'ReplyError') return refusalOf(thrown.message);
  const code = codeOf(thrown);
  const known = code === undefined ? undefined : CONNECTION[code];
  if (known !== undefined) return { kind: 'away', code, sentence: known, passes: true };
  const match = CLIENT_MESSAGES.find(([pattern]) => pattern.test(thrown.message));
  if (match) return { kind: 'away', sentence: match[1], passes: true };
  if ('syscall' in thrown || code?.startsWith('ERR_SSL_') || code?.startsWith('ERR_TLS_')) {
    return { kind: 'away', code, sentence: `the connection failed (${code ?? 'no code'})`, passes: true };
  }
  return undefined;
}

/** For people: code and sentence, or the message of an error that comes from elsewhere. */
export function explainRedis(thrown: unknown): string {
  const trouble = troubleOf(thrown);
  if (trouble) return describeTrouble(trouble);
  const message = messageOf(thrown);
  const match = WORKER_MESSAGES.find(([pattern]) => pattern.test(message));
  return match ? message.replace(...match) : message;
}

/** `OOM – Redis is full …`: the code is what people search for. */
export function describeTrouble({ code, sentence }: RedisTrouble): string {
  return code === undefined ? sentence : `${code} – ${sentence}`;
}

/** Whether an error belongs to the connection, so that whoever made it tells of it: it is away, or the login fails. */
export function isConnectionTrouble(thrown: unknown): boolean {
  const trouble = troubleOf(thrown);
  return trouble?.kind === 'away' || trouble?.code === 'WRONGPASS' || trouble?.code === 'NOAUTH';
}

/** Whether Redis refused a command that it may take later, unchanged. */
export function isPassingRefusal(thrown: unknown): boolean {
  const trouble = troubleOf(thrown);
  return trouble?.kind === 'refused' && trouble.passes;
}

/** Whether an error, or what caused it, says that Redis cannot be worked with for now. */
export function isRedisToBlame(thrown: unknown): boolean {
  if (troubleOf(thrown)?.passes) return true;
  return thrown instanceof Error && thrown.cause !== undefined && isRedisToBlame(thrown.cause);
}

/** Whether the user lacks the permission for a command, or the service has taken it away for everybody. */
export function isForbidden(thrown: unknown): boolean {
  const trouble = troubleOf(thrown);
  return trouble?.code === 'NOPERM' || /^ERR unknown (sub)?command/i.test(trouble?.sentence ?? '');
}

function refusalOf(message: string): RedisTrouble {
  const inScript = /^ERR (The user executing the script|ACL failure in script)/i.test(message);
  const code = inScript ? 'NOPERM' : /^[A-Z]{2,}(?=\s|$)/.exec(message)?.[0];
  const passing = code === undefined ? undefined : PASSING_REFUSALS[code];
  if (passing !== undefined) {
    return { kind: 'refused', code, sentence: `${passing}${missingPermission(code, message)}`, passes: true };
  }
  const lasting = code === undefined ? undefined : LASTING_REFUSALS[code];
  if (lasting !== undefined) {
    const node = /^(?:MOVED|ASK) \d+ (\S+)/.exec(message)?.[1];
    return { kind: 'refused', code, sentence: node === undefined ? lasting : `${lasting} (${node})`, passes: false };
  }
  if (/max number of clients/.test(message)) {
    return {
      kind: 'refused',
      sentence: 'Redis has as many clients as its maxclients allows: raise it, or find who keeps connections open',
      passes: true,
    };
  }
  return { kind: 'refused', sentence: withoutScript(message), passes: false };
}

/** Which permission it is, as far as Redis says so. */
function missingPermission(code: string | undefined, message: string): string {
  if (code !== 'NOPERM') return '';
  const command = /'([\w|]+)' command/.exec(message)?.[1];
  const what = command === undefined ? 'for one of the keys' : `for the command ${command.toUpperCase()}`;
  return ` ${/^ERR .*command or subcommand/.test(message) ? 'for a command in a script' : what}: see docs/least-privilege-redis.md`;
}

/** Redis adds the hash and the line of the script that failed. */
function withoutScript(message: string): string {
  return message.replace(/\.? script: [0-9a-f]{40}.*$/s, '');
}

/** Node gives errors of several addresses together. */
function codeOf(error: Error): string | undefined {
  if ('code' in error && typeof error.code === 'string') return error.code;
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return codeOf(error.errors[0]);
  return undefined;
}
