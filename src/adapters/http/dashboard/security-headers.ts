import type { RequestHandler } from 'express';
import helmet from 'helmet';

/**
 * Everything comes from this server, and no other site may frame it or learn from it.
 * bull-board sets styles in the markup and from scripts, hence 'unsafe-inline' for styles alone; its scripts are files,
 * and its settings a JSON block that does not run.
 *
 * @param https whether browsers come over TLS
 */
export function securityHeaders(https: boolean): RequestHandler {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'script-src': ["'self'"],
        'style-src': ["'self'", "'unsafe-inline'"],
        'img-src': ["'self'", 'data:'],
        'font-src': ["'self'", 'data:'],
        'connect-src': ["'self'"],
        'form-action': ["'self'"],
        'base-uri': ["'self'"],
        'frame-ancestors': ["'none'"],
      },
    },
    // With 'no-referrer' browsers send the origin of a form as "null", and the origin guard could not tell whose it is.
    referrerPolicy: { policy: 'same-origin' },
    strictTransportSecurity: https,
    xFrameOptions: { action: 'deny' },
  });
}

/** What the queues hold is for those who are logged in: nothing of it stays in a cache. bull-board's files may. */
export const notCached: RequestHandler = (request, response, next) => {
  if (!request.path.startsWith('/static/')) response.setHeader('cache-control', 'no-store');
  next();
};
