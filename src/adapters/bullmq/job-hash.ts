/** The hash of a job in Redis as it may be: written by anybody, and by halves. */
import type { JobJson, JobsOptions } from 'bullmq';
import { Job } from 'bullmq';
import { failedReasonOf } from '../../contract/index.ts';
import { KIND, MAX_DATA_BYTES, MAX_FIELD_BYTES, TOO_LONG } from './lenient-scripts.ts';

/** Its fields, as Redis has them. */
export type JobHash = Readonly<Record<string, string>>;

export interface ExaminedHash {
  /** As BullMQ can read it: every broken field is left out, or stands at its default. */
  readonly mended: JobHash;
  /** Fields that are not as they are in Redis, and those that should not be there. */
  readonly changed: JobHash;
  readonly dropped: readonly string[];
  /** What is wrong with it, where anything is: `opts: not JSON`. */
  readonly problem: string | undefined;
  /** Fields that were not read, and how many bytes they have. */
  readonly tooLong: Readonly<Record<string, number>>;
}

/** Stands in a hash whose job names a scheduler that is not there. */
export const NO_SCHEDULER = '!no scheduler';

/** Only shown to people: nothing follows from them, so the job is done all the same. */
const NOTES = new Set(['stacktrace', 'returnvalue', 'failedReason', 'finishedOn', 'processedOn', 'pb']);

/** @returns what is wrong with a value; undefined where it can be read */
type Check = (text: string) => string | undefined;

const isNumber: Check = (text) => (/^-?\d{1,16}(\.\d+)?$/.test(text) ? undefined : 'not a number');
const isWhole: Check = (text) => (/^-?\d{1,15}$/.test(text) ? undefined : 'not a whole number');

const CHECKS: Readonly<Record<string, Check>> = {
  opts: (text) => parseObject(text, (opts) => problemOfOptions(opts)),
  parent: (text) =>
    parseObject(text, ({ id, queueKey }) =>
      typeof id === 'string' && typeof queueKey === 'string' ? undefined : 'names no job',
    ),
  progress: (text) => (parse(text) === undefined ? 'not JSON' : undefined),
  timestamp: isNumber,
  delay: isNumber,
  priority: isNumber,
  atm: isWhole,
  attemptsMade: isWhole,
  ats: isWhole,
  stc: isWhole,
  processedOn: isNumber,
  finishedOn: isNumber,
};

/** What no job is without. */
const REQUIRED = ['name', 'data', 'timestamp'];

/** Looks at everything but the data, which may be long: that is read once, when the job is made of it. */
export function examineHash(raw: JobHash): ExaminedHash {
  const changed: Record<string, string> = {};
  const dropped: string[] = [];
  const problems: string[] = [];
  const tooLong: Record<string, number> = {};
  if (raw[KIND] !== undefined) problems.push(`its key holds no job but a ${raw[KIND]}`);
  else {
    const missing = REQUIRED.filter((field) => raw[field] === undefined && raw[TOO_LONG + field] === undefined);
    if (missing.length > 0) problems.push(`${missing.join(', ')}: missing`);
  }
  const mended: Record<string, string> = {};
  for (const [name, value] of Object.entries(raw)) {
    if (name === KIND) continue;
    if (name === NO_SCHEDULER) {
      problems.push(`rjk: there is no scheduler ${value}`);
      dropped.push('rjk');
      delete mended.rjk;
      continue;
    }
    const isTooLong = name.startsWith(TOO_LONG);
    const field = isTooLong ? name.slice(TOO_LONG.length) : name;
    if (isTooLong) tooLong[field] = Number(value);
    const problem = isTooLong ? describeLength(field, Number(value)) : CHECKS[field]?.(value);
    if (problem === undefined) {
      mended[field] = value;
      continue;
    }
    // The data stays for people to look at, and a time is put in place of none.
    if (field !== 'data' && field !== 'timestamp') dropped.push(field);
    if (!NOTES.has(field)) problems.push(`${field}: ${problem}`);
  }
  if (mended.rjk !== undefined && !isRepeated(mended.opts)) {
    problems.push('rjk: opts says nothing of repetition');
    dropped.push('rjk');
    delete mended.rjk;
  }
  if (mended.timestamp === undefined) {
    mended.timestamp = `${Date.now()}`;
    // Of what is no job nothing is mended.
    if (raw[KIND] === undefined) changed.timestamp = mended.timestamp;
  }
  return { mended, changed, dropped, tooLong, problem: problems.length === 0 ? undefined : problems.join('; ') };
}

function describeLength(field: string, bytes: number): string {
  const most = field === 'data' ? MAX_DATA_BYTES : MAX_FIELD_BYTES;
  return `${bytes.toLocaleString('en-US')} bytes, and at most ${most.toLocaleString('en-US')} are allowed`;
}

/** Why a job fails whose hash is broken. */
export function brokenReason(problem: string): string {
  return failedReasonOf('INVALID_JOB', `the job in Redis is broken: ${problem}`);
}

/** As BullMQ's own reading of a hash, but of one that was examined. */
export function toJobJson(id: string, { mended: raw, problem }: ExaminedHash): JobJson {
  const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  const reason = problem === undefined ? undefined : brokenReason(problem);
  return {
    id,
    name: raw.name ?? '',
    data: raw.data ?? 'null',
    opts: Job.optsFromJSON(raw.opts),
    progress: JSON.parse(raw.progress ?? '0'),
    delay: number(raw.delay) ?? 0,
    priority: number(raw.priority) ?? 0,
    timestamp: Number(raw.timestamp),
    attemptsStarted: Number(raw.ats ?? 0),
    attemptsMade: Number(raw.attemptsMade ?? raw.atm ?? 0),
    stalledCounter: Number(raw.stc ?? 0),
    finishedOn: number(raw.finishedOn),
    processedOn: number(raw.processedOn),
    repeatJobKey: raw.rjk,
    deduplicationId: raw.deid,
    failedReason: raw.failedReason ?? reason ?? '',
    deferredFailure: reason ?? raw.defa,
    stacktrace: raw.stacktrace,
    returnvalue: raw.returnvalue ?? 'null',
    parentKey: raw.parentKey,
    parent: raw.parent === undefined ? undefined : JSON.parse(raw.parent),
    processedBy: raw.pb,
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function parseObject(text: string, check: (value: Record<string, unknown>) => string | undefined): string | undefined {
  const value = parse(text);
  if (value === undefined) return 'not JSON';
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'not an object';
  return check({ ...value });
}

/** Options that BullMQ reckons with when the job ends: it would throw, and the job would stay in work. */
function problemOfOptions({
  attempts,
  backoff,
  removeOnComplete,
  removeOnFail,
}: JobsOptions | Record<string, unknown>) {
  if (isSet(attempts) && !isCount(attempts)) return 'attempts is not a whole number';
  if (isSet(backoff) && !isBackoff(backoff)) return 'backoff says no pause in milliseconds';
  for (const [name, keep] of Object.entries({ removeOnComplete, removeOnFail })) {
    if (isSet(keep) && !isKeep(keep)) return `${name} is not true, false or a number`;
  }
  return undefined;
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function isRepeated(opts: string | undefined): boolean {
  const options: object = Job.optsFromJSON(opts);
  return 'repeat' in options && typeof options.repeat === 'object' && options.repeat !== null;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isBackoff(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return isCount(value);
  const { type, delay }: { type?: unknown; delay?: unknown } = value;
  return typeof type === 'string' && (delay === undefined || isCount(delay));
}

function isKeep(value: unknown): boolean {
  if (typeof value === 'boolean' || Number.isSafeInteger(value)) return true;
  if (typeof value !== 'object' || value === null) return false;
  const { age, count }: { age?: unknown; count?: unknown } = value;
  return [age, count].every((each) => each === undefined || isCount(each));
}
