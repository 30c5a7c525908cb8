import { isIPv4 } from 'node:net';
import type { Request, RequestHandler } from 'express';
import { Refusal } from './answers.ts';

/** Whether a request can change anything. */
export function isChange({ method }: Request): boolean {
  return method !== 'GET' && method !== 'HEAD';
}

/**
 * Lets changes through only from pages of this server, whatever cookie comes with them.
 *
 * @param publicOrigin as browsers see this server behind a proxy, such as `https://queues.example`
 */
export function sameOriginOnly(publicOrigin: string | undefined): RequestHandler {
  return (request, _response, next) => {
    if (isChange(request) && !isSameOrigin(request, publicOrigin ?? `http://${request.get('host')}`)) {
      throw new Refusal(
        403,
        'CSRF_REFUSED',
        'this change was not asked for by a page of this dashboard (behind a proxy, set DASHBOARD_PUBLIC_URL)',
      );
    }
    next();
  };
}

/** Browsers write both headers themselves, and scripts cannot; Sec-Fetch-Site comes only over TLS or from localhost. */
function isSameOrigin(request: Request, expected: string): boolean {
  const site = request.get('sec-fetch-site');
  if (site !== undefined && site !== 'same-origin') return false;
  const origin = request.get('origin');
  return origin === undefined ? site === 'same-origin' : origin === expected;
}

/**
 * Where nobody has to log in, any name that resolves to 127.0.0.1 would let a foreign page in as one of this origin
 * (DNS rebinding): only names of this machine are answered.
 */
export function localNamesOnly(publicOrigin: string | undefined): RequestHandler {
  const publicName = publicOrigin === undefined ? undefined : new URL(publicOrigin).hostname;
  return (request, _response, next) => {
    // Not request.hostname: behind a proxy that is what X-Forwarded-Host says, which any page can send.
    const name = nameOf(request.headers.host);
    if (!isLocalName(name) && name !== publicName) {
      throw new Refusal(403, 'HOST_REFUSED', 'without a login the dashboard answers only under localhost or 127.0.0.1');
    }
    next();
  };
}

/** Without its port; undefined where it is none. */
function nameOf(host: string | undefined): string | undefined {
  return /^(\[[\da-f:.]+\]|[\w.-]+)(:\d+)?$/i.exec(host ?? '')?.[1].toLowerCase();
}

function isLocalName(name: string | undefined): boolean {
  if (name === undefined) return false;
  return name === 'localhost' || name === '[::1]' || (isIPv4(name) && name.startsWith('127.'));
}
