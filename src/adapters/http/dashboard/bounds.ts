import express, { type Request, type RequestHandler, Router } from 'express';
import { Refusal } from './answers.ts';

/** Jobs on one page. The board itself offers no more than 50. */
const MOST_JOBS_PER_PAGE = 100;
const DAY_MS = 24 * 3600 * 1000;

/** Numbers in a query, and the most that each may be: the board takes any, and reads that much. */
const MOST_IN_QUERY: Readonly<Record<string, number>> = {
  jobsPerPage: MOST_JOBS_PER_PAGE,
  page: 1_000_000,
  depth: 5,
  maxChildren: 100,
};

/** Names that the board decodes once more than the server did. */
const DECODED_AGAIN = ['activeQueue', 'queueName'];

/** Numbers in a body that Redis has to reckon with: one that it cannot stops every worker of the queue. */
const MOST_IN_BODY: Readonly<Record<string, () => number>> = {
  concurrency: () => 1_000_000,
  max: () => 1_000_000_000,
  duration: () => DAY_MS,
  runAt: () => Date.now() + 366 * DAY_MS,
};

/** States from which jobs can be removed; under another name the board would empty a set that is none of jobs. */
const STATES = [
  'active',
  'completed',
  'delayed',
  'failed',
  'paused',
  'prioritized',
  'waiting',
  'waiting-children',
  'wait',
];

/** An address that was cut within a % would be read one way by the router and another by the board. */
export const wellFormedOnly: RequestHandler = (request, _response, next) => {
  decode(request.url);
  next();
};

/** Makes what a query asks for small, and refuses what no page of the dashboard asks for. */
export function bounded(): Router {
  const router = Router();
  router.use('/api', boundQuery, express.json(), boundBody);
  router.put('/api/queues/:queue/clean/:state', (request, _response, next) => {
    if (!STATES.includes(request.params.state)) throw badRequest('there is no such state of jobs');
    next();
  });
  return router;
}

const boundQuery: RequestHandler = (request, _response, next) => {
  const [path, query] = splitUrl(request);
  const parameters = new URLSearchParams(query);
  if (/\p{Cc}/u.test([...parameters.values()].join(''))) throw badRequest('the address holds a control character');
  for (const name of DECODED_AGAIN) {
    for (const value of parameters.getAll(name)) decode(value);
  }
  let isChanged = false;
  for (const [name, most] of Object.entries(MOST_IN_QUERY)) {
    const values = parameters.getAll(name);
    if (values.length !== 1 || !(Number(values[0]) > most)) continue;
    parameters.set(name, `${most}`);
    isChanged = true;
  }
  // Express reads the query of the address whenever it is asked for.
  if (isChanged) request.url = `${path}?${parameters}`;
  next();
};

const boundBody: RequestHandler = ({ body }: { body: unknown }, _response, next) => {
  if (typeof body === 'object' && body !== null) {
    for (const [name, most] of Object.entries(MOST_IN_BODY)) {
      const value: unknown = Reflect.get(body, name);
      if (typeof value === 'number' && value > most()) throw badRequest(`${name} is too large`);
    }
  }
  next();
};

function splitUrl({ url }: Request): [path: string, query: string] {
  const at = url.indexOf('?');
  return at === -1 ? [url, ''] : [url.slice(0, at), url.slice(at + 1)];
}

function decode(text: string): void {
  try {
    decodeURIComponent(text);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    throw badRequest('a % in the address begins no character');
  }
}

function badRequest(message: string): Refusal {
  return new Refusal(400, 'BAD_REQUEST', message);
}
