import type { Request, RequestHandler, Response } from 'express';
import { ipKeyGenerator, type RateLimitRequestHandler, rateLimit } from 'express-rate-limit';

const WINDOW_MS = 15 * 60_000;
const MAX_PER_ADDRESS = 10;
/** More than from one address: whoever reaches the page could otherwise lock a user out with a few requests. */
const MAX_PER_USER = 30;

/** Counts attempts to log in; one that succeeds is forgotten with all before it. */
export interface Attempts {
  /** In this order, before the password is looked at. */
  readonly limits: readonly RequestHandler[];
  succeeded(request: Request): void;
}

/** @param options.refuse answers what comes too often; `Retry-After` is set already */
export function createAttempts(options: {
  readonly userOf: (request: Request) => string;
  readonly refuse: (request: Request, response: Response, minutes: number) => void;
}): Attempts {
  const addressOf = (request: Request) => ipKeyGenerator(request.ip ?? '');

  function createLimit(limit: number, keyOf: (request: Request) => string): RateLimitRequestHandler {
    const handler: RateLimitRequestHandler = rateLimit({
      windowMs: WINDOW_MS,
      limit,
      keyGenerator: keyOf,
      standardHeaders: false,
      legacyHeaders: false,
      // It would write to standard error what this server decides on purpose, such as whom it trusts as a proxy.
      validate: false,
      async handler(request, response) {
        const resetTime = (await handler.getKey(keyOf(request)))?.resetTime;
        const ms = (resetTime?.getTime() ?? Date.now() + WINDOW_MS) - Date.now();
        response.setHeader('retry-after', Math.max(1, Math.ceil(ms / 1000)));
        options.refuse(request, response, Math.max(1, Math.ceil(ms / 60_000)));
      },
    });
    return handler;
  }

  const byAddress = createLimit(MAX_PER_ADDRESS, addressOf);
  const byUser = createLimit(MAX_PER_USER, options.userOf);
  return {
    limits: [byAddress, byUser],
    succeeded(request) {
      byAddress.resetKey(addressOf(request));
      byUser.resetKey(options.userOf(request));
    },
  };
}
