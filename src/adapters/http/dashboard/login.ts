import express, { type Request, type RequestHandler, type Response, Router } from 'express';
import type { Logger } from '../../../application/ports.ts';
import { messageOf } from '../../../domain/errors.ts';
import { Refusal, wantsPage } from './answers.ts';
import { createAttempts } from './attempts.ts';
import { accountPage, loginPage } from './pages.ts';
import { createPasswordCheck } from './password.ts';
import type { Sessions, User, Visitor } from './sessions.ts';

const FORM_LIMIT = '4kb';

/** Who asks, as `requireLogin` found out. */
export function visitorOf(response: Response): Visitor {
  return response.locals.visitor;
}

/** @param options.https whether browsers come over TLS */
export function loginRoutes(options: {
  readonly users: readonly User[];
  readonly sessions: Sessions;
  readonly https: boolean;
  readonly logger: Logger;
}): Router {
  const { users, sessions, https, logger } = options;
  const findUser = createPasswordCheck(users);
  const attempts = createAttempts({
    userOf: (request) => field(request, 'user'),
    refuse(request, response, minutes) {
      logger.warn({ address: request.ip }, 'login refused: too many attempts');
      const error = `Too many attempts: try again in ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}.`;
      response.status(429).send(loginPage({ to: targetOf(field(request, 'to')), error }));
    },
  });
  const router = Router();

  router.get('/login', async (request, response) => {
    const to = targetOf(request.query.to);
    if (await sessions.visitor(request)) response.redirect(303, to);
    else response.send(loginPage({ to }));
  });

  router.post(
    '/login',
    express.urlencoded({ extended: false, limit: FORM_LIMIT }),
    ...attempts.limits,
    async (request, response) => {
      if (https && !request.secure) {
        throw new Refusal(
          400,
          'NOT_HTTPS',
          'the proxy must send X-Forwarded-Proto: https, as DASHBOARD_PUBLIC_URL is https',
        );
      }
      const [name, to] = [field(request, 'user'), targetOf(field(request, 'to'))];
      const user = await findUser(name, field(request, 'password'));
      if (!user) {
        // Not the name: people type passwords there.
        logger.warn({ address: request.ip }, 'login refused: wrong user or password');
        response.status(401).send(loginPage({ to, user: name, error: 'The user or the password is wrong.' }));
        return;
      }
      attempts.succeeded(request);
      sessions.begin(request, user);
      logger.info({ user: user.name, role: user.role, address: request.ip }, 'logged in');
      response.redirect(303, to);
    },
  );

  router.post('/logout', async (request, response) => {
    const line = { ...sessions.holder(request), address: request.ip };
    try {
      await sessions.end(request);
    } catch (error) {
      logger.warn(
        { ...line, reason: messageOf(error) },
        'logged out, but Redis does not know it yet: it is told again',
      );
      throw new Refusal(
        503,
        'LOGOUT_NOT_STORED',
        'You are logged out in this browser. Redis does not answer, so other dashboards on it still know the session; this one tells them as soon as they can hear it.',
      );
    }
    if (line.user !== undefined) logger.info(line, 'logged out');
    response.redirect(303, '/login');
  });
  return router;
}

/** Nobody without a session goes on; a browser is led to the login page. */
export function requireLogin(sessions: Sessions): RequestHandler {
  return async (request, response, next) => {
    const visitor = await sessions.visitor(request);
    if (visitor) {
      response.locals.visitor = visitor;
      next();
    } else if (request.method === 'GET' && wantsPage(request)) {
      const to = targetOf(request.originalUrl);
      response.redirect(303, to === '/' ? '/login' : `/login?to=${encodeURIComponent(to)}`);
    } else {
      throw new Refusal(401, 'LOGIN_REQUIRED', 'not logged in, or no longer: open the dashboard again and log in');
    }
  };
}

/** Where nobody has to log in, everybody is an operator. */
export const everybodyIsOperator: RequestHandler = (_request, response, next) => {
  response.locals.visitor = { user: undefined, role: 'operator' } satisfies Visitor;
  next();
};

export const accountRoute: RequestHandler = (_request, response) => {
  response.send(accountPage(visitorOf(response)));
};

/** A field of the form; what is no text counts as empty. */
function field(request: Request, name: string): string {
  const value: unknown = request.body?.[name];
  return typeof value === 'string' ? value : '';
}

/** Paths of this server only: `//other.example` would lead away. */
function targetOf(value: unknown): string {
  return typeof value === 'string' && /^\/(?![/\\])[\w/.~%?&=:{}+-]*$/.test(value) ? value : '/';
}
