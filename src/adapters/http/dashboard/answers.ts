import type { ErrorRequestHandler, Request, Response } from 'express';
import type { Logger } from '../../../application/ports.ts';
import { CategorizerError, messageOf } from '../../../domain/errors.ts';
import { messagePage } from './pages.ts';

/** An answer that is no success, for a reason that the caller may know. */
export class Refusal extends Error {
  override readonly name = 'Refusal';

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Whether a person's browser asks for a page; everything else is answered in JSON. */
export function wantsPage(request: Request): boolean {
  return request.accepts(['json', 'html']) === 'html';
}

/** The last handler. @param explain says of an error of the queue what it means */
export function answerErrors(options: {
  readonly explain: (error: unknown) => Promise<unknown>;
  readonly logger: Logger;
}): ErrorRequestHandler {
  return async (thrown: unknown, request, response, next) => {
    if (response.headersSent) {
      next(thrown);
      return;
    }
    const error = await options.explain(thrown);
    const answer = toAnswer(error);
    if (answer.status === 500) {
      options.logger.error({ path: request.path, reason: messageOf(error) }, 'request failed');
    }
    sendProblem(request, response, answer);
  };
}

interface Problem {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** As a page, which asks again by itself where that can help, or as `{error, code}`. */
function sendProblem(request: Request, response: Response, { status, code, message }: Problem): void {
  response.status(status);
  if (wantsPage(request)) response.send(messagePage({ message, again: status === 503 && request.method === 'GET' }));
  else response.json({ error: message, code });
}

function toAnswer(error: unknown): Problem {
  if (error instanceof CategorizerError && error.retryable) {
    return { status: 503, code: error.code, message: error.message };
  }
  if (error instanceof URIError) {
    return { status: 400, code: 'BAD_REQUEST', message: 'a % in the address begins no character' };
  }
  // Those of express and its parsers have no code of ours.
  if (error instanceof Error && 'status' in error && typeof error.status === 'number' && error.status < 600) {
    const code = 'code' in error && typeof error.code === 'string' ? error.code : 'BAD_REQUEST';
    return { status: error.status, code, message: error.message };
  }
  return { status: 500, code: 'INTERNAL', message: messageOf(error) };
}
