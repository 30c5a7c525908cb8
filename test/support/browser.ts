import { existsSync } from 'node:fs';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';

/** Where the packages of Debian and others put it. */
const CHROMIUMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

const DESKTOP = { width: 1280, height: 800 };

/** How long a page may take: a machine with other work is slow. */
const PATIENCE_MS = 20_000;

/** Why the tests in a browser cannot run here, or undefined. */
export function browserMissing(): string | undefined {
  return findChromium() === undefined ? 'not installed: chromium (Debian package)' : undefined;
}

function findChromium(): string | undefined {
  return CHROMIUMS.find((path) => existsSync(path));
}

/** Chromium without a window. Its own sandbox does not start for root, as whom containers run tests. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox'], timeout: PATIENCE_MS });
}

/** One person's browser: cookies of its own, and a page. */
export interface Visit {
  readonly page: Page;
  readonly context: BrowserContext;
  /**
   * What no page should do, in order: errors in the console (refusals by the content security policy among them),
   * uncaught errors, and requests to another server.
   */
  readonly problems: string[];
}

/** @param origin of the server that is visited, as `http://host:port` */
export async function startVisit(
  browser: Browser,
  origin: string,
  viewport: { readonly width: number; readonly height: number } = DESKTOP,
): Promise<Visit> {
  const context = await browser.newContext({ baseURL: origin, viewport, locale: 'en-US', timezoneId: 'UTC' });
  context.setDefaultTimeout(PATIENCE_MS);
  const problems: string[] = [];
  context.on('console', (message) => {
    if (message.type() === 'error') problems.push(`${pathOf(message.location().url)}: ${message.text()}`);
  });
  context.on('weberror', (thrown) => problems.push(`uncaught: ${thrown.error().message}`));
  context.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.origin !== origin) problems.push(`asked another server: ${url.href}`);
  });
  return { page: await context.newPage(), context, problems };
}

function pathOf(url: string): string {
  return URL.canParse(url) ? new URL(url).pathname : url;
}

/** How many pixels of the page lie outside of the window's width. */
export function overflowOf(page: Page): Promise<number> {
  return page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
}
