import { request } from 'node:http';
import { expect, vi } from 'vitest';
import { type LiveCli, PATIENCE, startLive } from './cli-live.ts';
import type { Environment } from './processes.ts';

/** Hashes with the smallest cost that is accepted, of the passwords below. */
export const OPERATOR = {
  user: 'ada',
  password: 'operator-password',
  hash: 'scrypt:15:8:1:hBSK2bTwmwdlYxvR5RnA1w:FG2HYxGi6BXjibcVGsR2mcgSh4lZvHHBejj3Th60_84',
};
export const VIEWER = {
  user: 'vic',
  password: 'viewer-password',
  hash: 'scrypt:15:8:1:kuTwNUmFntP03NZfz8t2vg:6_oU_kFuu1DKK9Tw85TiqnlrPHKCZY0_oo3O-_qns6Y',
};

/** Both users. */
export const LOGINS: Environment = {
  DASHBOARD_OPERATOR_USER: OPERATOR.user,
  DASHBOARD_OPERATOR_PASSWORD_HASH: OPERATOR.hash,
  DASHBOARD_VIEWER_USER: VIEWER.user,
  DASHBOARD_VIEWER_PASSWORD_HASH: VIEWER.hash,
};

export interface Dashboard {
  readonly url: string;
  readonly port: number;
  readonly cli: LiveCli;
  /** Its log so far: one object a line. */
  log(): Record<string, unknown>[];
}

/** Starts the dashboard on a free port; resolves when that listens. */
export async function startDashboard(env: Environment): Promise<Dashboard> {
  const cli = startLive(['dashboard'], { DASHBOARD_PORT: '0', ...env });
  const log = () =>
    cli
      .stderr()
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line): Record<string, unknown> => JSON.parse(line));
  await vi.waitFor(() => {
    if (cli.exit()) return;
    if (!log().some(({ msg }) => msg === 'http listening')) throw new Error('the dashboard does not listen yet');
  }, PATIENCE);
  const port = Number(log().find(({ msg }) => msg === 'http listening')?.port);
  if (Number.isNaN(port)) throw new Error(`the dashboard ended:\n${cli.stderr()}`);
  return { url: `http://127.0.0.1:${port}`, port, cli, log };
}

export async function stopDashboard(dashboard: Dashboard | undefined): Promise<void> {
  dashboard?.cli.kill('SIGKILL');
  await dashboard?.cli.ended;
}

/** What came back, with its text read. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export interface Call {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** One request as it is: no redirect is followed. */
export async function call({ url }: Dashboard, path: string, options: Call = {}): Promise<Reply> {
  const response = await fetch(`${url}${path}`, { redirect: 'manual', ...options });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** The form of the login page, sent as a browser does. */
export function postLogin(
  dashboard: Dashboard,
  form: { readonly user: string; readonly password: string; readonly to?: string },
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  return call(dashboard, '/login', {
    method: 'POST',
    headers: { origin: dashboard.url, 'content-type': 'application/x-www-form-urlencoded', ...headers },
    body: new URLSearchParams(form).toString(),
  });
}

/** The `Cookie` header that answers what was set. */
export function cookieOf({ headers }: Reply): string {
  return headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ');
}

export interface Session {
  readonly cookie: string;
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Reply>;
  /** A change as a page of the dashboard asks for it. */
  change(method: string, path: string, body?: unknown): Promise<Reply>;
}

/** Logs in. */
export async function logIn(dashboard: Dashboard, { user, password }: typeof OPERATOR): Promise<Session> {
  const reply = await postLogin(dashboard, { user, password });
  expect(reply.status, reply.text).toBe(303);
  return sessionOf(dashboard, cookieOf(reply));
}

/** @param cookie none where nobody has to log in */
export function sessionOf(dashboard: Dashboard, cookie = ''): Session {
  return {
    cookie,
    get: (path, headers = {}) => call(dashboard, path, { headers: { cookie, ...headers } }),
    change: (method, path, body = {}) =>
      call(dashboard, path, {
        method,
        headers: { cookie, origin: dashboard.url, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
  };
}

/** Sends a Host header of one's own, which fetch does not. @returns the status */
export function statusUnderName(
  { port }: Dashboard,
  name: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path, headers: { ...headers, host: name } }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .on('error', reject)
      .end();
  });
}
