import { createHash, randomBytes, randomUUID } from 'node:crypto';
import cookieSession from 'cookie-session';
import type { Request, RequestHandler } from 'express';
import { z } from 'zod';

const SESSION_HOURS = 12;
const SESSION_MS = SESSION_HOURS * 3_600_000;
const SECRET_BYTES = 32;

export interface User {
  readonly name: string;
  readonly role: 'operator' | 'viewer';
  readonly passwordHash: string;
}

/** Who asks. */
export interface Visitor {
  /** Undefined where nobody has to log in. */
  readonly user: string | undefined;
  readonly role: User['role'];
}

const sessionSchema = z.object({ id: z.string(), user: z.string(), login: z.string(), until: z.number() });

export interface Sessions {
  /** Reads and writes the signed cookie. */
  readonly cookie: RequestHandler;
  visitor(request: Request): Visitor | undefined;
  begin(request: Request, user: User): void;
  end(request: Request): void;
}

/**
 * Sessions live in a signed cookie. They end after 12 hours, with a logout, and when the user, its role or its password
 * is no longer the one in the settings.
 *
 * @param options.secret signs them; without one they end with the process
 */
export function createSessions(options: {
  readonly users: readonly User[];
  readonly secret: string | undefined;
  /** Whether browsers come over TLS: the cookie is then sent over nothing else. */
  readonly https: boolean;
}): Sessions {
  const { users } = options;
  /** Sessions that were logged out before their time: id to when they would have ended. */
  const ended = new Map<string, number>();
  const cookie = cookieSession({
    name: 'categorizer-dashboard',
    keys: [options.secret ?? randomBytes(SECRET_BYTES).toString('base64url')],
    httpOnly: true,
    sameSite: 'strict',
    secure: options.https,
    maxAge: SESSION_MS,
  });

  function read(request: Request) {
    const { data: session } = sessionSchema.safeParse({ ...request.session });
    return session && session.until > Date.now() && !ended.has(session.id) ? session : undefined;
  }

  return {
    cookie,
    visitor(request) {
      const session = read(request);
      const user = users.find(({ name }) => name === session?.user);
      return user && session?.login === loginOf(user) ? { user: user.name, role: user.role } : undefined;
    },
    begin(request, user) {
      const until = Date.now() + SESSION_MS;
      request.session = { id: randomUUID(), user: user.name, login: loginOf(user), until };
    },
    end(request) {
      const session = read(request);
      for (const [id, until] of ended) if (until <= Date.now()) ended.delete(id);
      if (session) ended.set(session.id, session.until);
      request.session = null;
    },
  };
}

/** Changes with role and password. The cookie can be read, so it says nothing of either. */
function loginOf({ role, passwordHash }: User): string {
  return createHash('sha256').update(`${role}:${passwordHash}`).digest('base64url');
}
