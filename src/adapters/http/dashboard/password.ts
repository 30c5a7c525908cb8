import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { Refusal } from './answers.ts';

const derive = promisify<string, Buffer, number, Cost, Buffer>(scrypt);

/** OWASP's recommendation with the smallest memory that asks for no more than 32 MiB. */
const LOG2_N = 15;
const R = 8;
const P = 3;
const SALT_BYTES = 16;
const HASH_BYTES = 32;

/** Each takes 32 MiB and a thread of the pool for a tenth of a second or more. */
const MAX_RUNNING = 2;
const MAX_WAITING = 20;

interface Cost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
  readonly maxmem: number;
}

function costOf(log2N: number, r: number, p: number): Cost {
  const N = 2 ** log2N;
  return { N, r, p, maxmem: 128 * r * (N + p + 2) };
}

/** @returns `scrypt:<log2 of N>:<r>:<p>:<salt>:<hash>`, the last two in base64url: nothing that a shell or compose reads */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(normalize(password), salt, HASH_BYTES, costOf(LOG2_N, R, P));
  return `scrypt:${LOG2_N}:${R}:${P}:${salt.toString('base64url')}:${hash.toString('base64url')}`;
}

/** @param stored from `hashPassword` */
async function isPassword(password: string, stored: string): Promise<boolean> {
  const [, log2N, r, p, salt, hash] = stored.split(':');
  const expected = Buffer.from(hash, 'base64url');
  const cost = costOf(Number(log2N), Number(r), Number(p));
  const found = await derive(normalize(password), Buffer.from(salt, 'base64url'), expected.length, cost);
  return timingSafeEqual(found, expected);
}

/** Keyboards write the same letter in more than one way. */
function normalize(password: string): string {
  return password.normalize('NFKC');
}

interface Login {
  readonly name: string;
  readonly passwordHash: string;
}

/**
 * Finds the user to whom name and password belong. An unknown name takes as long as a wrong password.
 *
 * @throws Refusal `BUSY` where too many wait already
 */
export function createPasswordCheck<U extends Login>(users: readonly U[]) {
  const inTurn = createGate(MAX_RUNNING, MAX_WAITING);
  const dummy = `${(users[0]?.passwordHash ?? '').split(':', 4).join(':')}:${randomText(SALT_BYTES)}:${randomText(HASH_BYTES)}`;
  return async (name: string, password: string): Promise<U | undefined> => {
    const user = users.find((candidate) => candidate.name === name);
    const right = await inTurn(() => isPassword(password, user?.passwordHash ?? dummy));
    return right ? user : undefined;
  };
}

function randomText(bytes: number): string {
  return randomBytes(bytes).toString('base64url');
}

/** Lets so many run at once and so many wait; who comes then is refused. */
export function createGate(maxRunning: number, maxWaiting: number) {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= maxRunning) {
      if (waiting.length >= maxWaiting) {
        throw new Refusal(503, 'BUSY', 'too many log in at once: try again in a few seconds');
      }
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      running++;
    }
    try {
      return await work();
    } finally {
      // Who waited takes the place that is left.
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
