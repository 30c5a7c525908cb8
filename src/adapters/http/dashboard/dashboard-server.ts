import express, { type Express, type RequestHandler } from 'express';
import type { Logger } from '../../../application/ports.ts';
import { CategorizerError } from '../../../domain/errors.ts';
import { type ListeningServer, listen } from '../listen.ts';
import { answerErrors, Refusal } from './answers.ts';
import { auditChanges } from './audit.ts';
import { type BoardQueues, createBoard } from './board.ts';
import { bounded, wellFormedOnly } from './bounds.ts';
import { accountRoute, everybodyIsOperator, loginRoutes, requireLogin, visitorOf } from './login.ts';
import { isChange, localNamesOnly, sameOriginOnly } from './origin-guard.ts';
import { notCached, securityHeaders } from './security-headers.ts';
import { createSessions, type EndedSessions, type User } from './sessions.ts';

export interface DashboardOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** None: nobody has to log in. Only on a loopback address. */
  readonly users: readonly User[];
  readonly sessionSecret: string | undefined;
  /** As browsers see this server behind one proxy. */
  readonly publicUrl: string | undefined;
  readonly queues: {
    readonly operator: BoardQueues;
    readonly viewer: BoardQueues;
    /** Whether the queues can be asked at all now. */
    ready(): boolean;
    /** What an error of theirs means. */
    explain(error: unknown): Promise<unknown>;
  };
  readonly endedSessions: EndedSessions;
  readonly logger: Logger;
}

/** bull-board behind a login. @throws CategorizerError `HTTP_NOT_LISTENING` */
export async function createDashboardServer(options: DashboardOptions): Promise<ListeningServer> {
  const { host, port, users, logger } = options;
  const server = await listen(createApp(options), {
    host,
    port,
    settings: 'DASHBOARD_HOST and DASHBOARD_PORT',
    logger,
  });
  if (users.length === 0) logger.warn({}, 'nobody has to log in: whoever reaches this port may change the queues');
  return server;
}

function createApp({ users, sessionSecret, publicUrl, queues, endedSessions, logger }: DashboardOptions): Express {
  const publicOrigin = publicUrl === undefined ? undefined : new URL(publicUrl).origin;
  const https = publicOrigin?.startsWith('https:') ?? false;
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  // Whose address counts for the limit on logins, and whether the browser came over TLS.
  app.set('trust proxy', publicOrigin === undefined ? false : 1);

  app.use(securityHeaders(https), notCached);
  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' });
  });
  app.use(wellFormedOnly);
  if (users.length === 0) {
    app.use(localNamesOnly(publicOrigin), sameOriginOnly(publicOrigin), everybodyIsOperator);
  } else {
    const sessions = createSessions({ users, secret: sessionSecret, https, ended: endedSessions });
    app.use(sameOriginOnly(publicOrigin), sessions.cookie);
    app.use(loginRoutes({ users, sessions, https, logger }), requireLogin(sessions));
  }
  app.get('/account', accountRoute);
  app.use(auditChanges(logger), viewersOnlyLook, onlyWhenReady(queues.ready), bounded());

  const boards = { operator: createBoard(queues.operator, 'operator'), viewer: createBoard(queues.viewer, 'viewer') };
  app.use((request, response, next) => boards[visitorOf(response).role](request, response, next));
  app.use((request) => {
    throw new Refusal(404, 'NOT_FOUND', `there is nothing here: ${request.method} ${request.path}`);
  });
  app.use(answerErrors({ explain: queues.explain, logger }));
  return app;
}

const viewersOnlyLook: RequestHandler = (request, response, next) => {
  if (isChange(request) && visitorOf(response).role !== 'operator') {
    throw new Refusal(403, 'READ_ONLY', 'a viewer may look at the queues and change nothing');
  }
  next();
};

/** bull-board would wait for an absent Redis. Its files are served all the same. */
function onlyWhenReady(ready: () => boolean): RequestHandler {
  return (request, _response, next) => {
    if (!request.path.startsWith('/static/') && !ready()) {
      throw new CategorizerError('REDIS_UNAVAILABLE', 'Redis does not answer (see REDIS_URL)', { retryable: true });
    }
    next();
  };
}
