import { type RequestHandler, type Response, Router } from 'express';
import type { Logger } from '../../../application/ports.ts';
import { visitorOf } from './login.ts';
import { isChange } from './origin-guard.ts';

/** What each route of bull-board that changes something does. The first that fits counts. */
const CHANGES = [
  ['put', '/api/queues/pause', 'pause all queues'],
  ['put', '/api/queues/resume', 'resume all queues'],
  ['post', '/api/queues/:queue/add', 'add job'],
  ['put', '/api/queues/:queue/retry/:state', 'retry all'],
  ['put', '/api/queues/:queue/promote', 'promote all'],
  ['put', '/api/queues/:queue/clean/:state', 'remove all'],
  ['put', '/api/queues/:queue/pause', 'pause queue'],
  ['put', '/api/queues/:queue/resume', 'resume queue'],
  ['put', '/api/queues/:queue/concurrency', 'set concurrency'],
  ['put', '/api/queues/:queue/rate-limit', 'set rate limit'],
  ['put', '/api/queues/:queue/rate-limit/release', 'release rate limit'],
  ['put', '/api/queues/:queue/empty', 'empty queue'],
  ['put', '/api/queues/:queue/obliterate', 'obliterate queue'],
  ['put', '/api/queues/:queue/job-schedulers/:scheduler/remove', 'remove scheduler'],
  ['patch', '/api/queues/:queue/job-schedulers/:scheduler', 'change scheduler'],
  ['put', '/api/queues/:queue/job-schedulers/:scheduler/run', 'run scheduler'],
  ['put', '/api/queues/:queue/:jobId/retry', 'retry job'],
  ['put', '/api/queues/:queue/:jobId/clean', 'remove job'],
  ['put', '/api/queues/:queue/:jobId/promote', 'promote job'],
  ['patch', '/api/queues/:queue/:jobId/update-data', 'change data of job'],
  ['patch', '/api/queues/:queue/:jobId/delay', 'change delay of job'],
  ['patch', '/api/queues/:queue/:jobId/priority', 'change priority of job'],
] as const;

/** Actions whose body is a few numbers that say what was set. */
const WITH_SETTINGS = /concurrency|rate limit|delay|priority|change scheduler/;

/** Logs every change after it happened or was refused: who, what, which queue and job, and the answer's status. */
export function auditChanges(logger: Logger): RequestHandler {
  const routes = Router();
  for (const [method, path, action] of CHANGES) {
    routes[method](path, (request, response, next) => {
      response.locals.change ??= { action, ...request.params };
      next();
    });
  }
  const follow: RequestHandler = (request, response, next) => {
    if (!isChange(request)) {
      next();
      return;
    }
    const results = keepResults(response);
    // Now: bull-board's own express app does not know whom to trust as a proxy.
    const address = request.ip;
    response.once('close', () => {
      const { user = 'nobody logged in', role } = visitorOf(response);
      const change: Record<string, unknown> = response.locals.change ?? { action: 'unknown', path: request.path };
      const status = response.statusCode;
      const line = {
        user,
        role,
        address,
        method: request.method,
        ...change,
        ...results,
        ...(WITH_SETTINGS.test(String(change.action)) && { settings: request.body }),
      };
      // Whoever asked went away, or the process stops: nobody knows how far it came.
      if (!response.writableFinished) logger.warn(line, 'change through the dashboard ended without an answer');
      else if (status < 400) logger.info({ ...line, status }, 'changed through the dashboard');
      else logger.warn({ ...line, status }, 'change through the dashboard refused');
    });
    routes(request, response, next);
  };
  return follow;
}

/** What only the answer knows: the id of a job that was added, and how many were retried. */
function keepResults(response: Response): Record<string, unknown> {
  const results: Record<string, unknown> = {};
  const json = response.json.bind(response);
  response.json = (body) => {
    if (typeof body?.job?.id === 'string') results.jobId = body.job.id;
    if (typeof body?.retried === 'number') results.retried = body.retried;
    return json(body);
  };
  return results;
}
