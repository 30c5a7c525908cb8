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
  /** Whose session a cookie is, ended or not: for the log. */
  holder(request: Request): Visitor | undefined;
  /** @throws where it cannot be known whether the session was ended: nobody is let in then */
  visitor(request: Request): Promise<Visitor | undefined>;
  begin(request: Request, user: User): void;
  /** @throws where other processes do not know of it yet; the browser's cookie is gone, and this process refuses it */
  end(request: Request): Promise<void>;
}

/** The memory of sessions that were ended before their time, which survives this process. */
export interface EndedSessions {
  /** @param until when the session would have ended by itself, in milliseconds since 1970 */
  end(id: string, until: number): Promise<void>;
  hasEnded(id: string): Promise<boolean>;
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
  readonly ended: EndedSessions;
}): Sessions {
  const { users, ended } = options;
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
    return session && session.until > Date.now() ? session : undefined;
  }

  function visitorOf(session: ReturnType<typeof read>): Visitor | undefined {
    const user = users.find(({ name }) => name === session?.user);
    return user && session?.login === loginOf(user) ? { user: user.name, role: user.role } : undefined;
  }

  return {
    cookie,
    holder: (request) => visitorOf(read(request)),
    async visitor(request) {
      const session = read(request);
      const visitor = visitorOf(session);
      return session && visitor && !(await ended.hasEnded(session.id)) ? visitor : undefined;
    },
    begin(request, user) {
      const until = Date.now() + SESSION_MS;
      request.session = { id: randomUUID(), user: user.name, login: loginOf(user), until };
    },
    async end(request) {
      const session = read(request);
      request.session = null;
      if (session) await ended.end(session.id, session.until);
    },
  };
}

/** Changes with role and password. The cookie can be read, so it says nothing of either. */
function loginOf({ role, passwordHash }: User): string {
  return createHash('sha256').update(`${role}:${passwordHash}`).digest('base64url');
}
