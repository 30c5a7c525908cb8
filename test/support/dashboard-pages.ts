/** The pages of the dashboard, as a test reads and uses them in a browser. */
import { fileURLToPath } from 'node:url';
import type { Locator, Page } from 'playwright-core';
import { expect } from 'vitest';
import type { OPERATOR } from './dashboard.ts';

const IMAGES = new URL('../../docs/images/', import.meta.url);

/** Fills in the form of the login page and sends it; resolves when the page is there that answers. */
export async function sendLogin(page: Page, { user, password }: typeof OPERATOR): Promise<void> {
  await page.getByLabel('User').fill(user);
  await page.getByLabel('Password').fill(password);
  const answered = page.waitForEvent('load');
  await page.getByRole('button', { name: 'Log in' }).click();
  await answered;
}

/** The queue on the overview. */
export function cardOf(page: Page, queue: string): Locator {
  return page
    .getByRole('main')
    .getByRole('listitem')
    .filter({ has: page.getByRole('link', { name: queue }) });
}

/**
 * What the tab "Data" of a job's page says, without blanks between names and values; objects are unfolded that are
 * shown as `{}` at first.
 */
export async function dataOf(page: Page): Promise<string> {
  await page.getByRole('tab', { name: 'Data' }).click();
  const data = page.getByRole('tabpanel');
  await data.getByText('jobData').waitFor();
  for (const folded of await data.getByRole('button', { name: 'expand JSON' }).elementHandles()) await folded.click();
  return (await data.textContent()) ?? '';
}

/** No word is longer than a SHA-256 in hexadecimal digits, and all of it fits on a screen or two. */
export function expectToBeReadable(text: string): void {
  expect(text).not.toMatch(/[\w+/=]{65}/);
  expect(text.length).toBeLessThan(1500);
}

/** bull-board's buttons have pictures and no names. */
export function withIcon(buttons: Locator, icon: string): Locator {
  return buttons.filter({ has: buttons.page().locator(`svg.lucide-${icon}`) });
}

/** The buttons of three pages by their texts or pictures, without those that only show more. */
export async function controlsOf(page: Page, jobId: string) {
  const read = async (path: string, ready: string) => {
    await page.goto(path);
    await page.getByText(ready).first().waitFor();
    const labels: string[] = [];
    for (const button of await page.getByRole('main').locator('button:not([role=tab], [aria-label])').all()) {
      labels.push((await button.textContent()) || (await iconOf(button)));
    }
    return labels;
  };
  return {
    overview: await read('/', '1 Job'),
    queue: await read('/queue/product-categorization?status=failed', 'NOPERM'),
    job: await read(`/queue/product-categorization/${jobId}`, 'NOPERM'),
  };
}

async function iconOf(button: Locator): Promise<string> {
  const classes = await button.locator('svg').first().getAttribute('class');
  return /lucide-(\S+)/.exec(classes ?? '')?.[1] ?? '';
}

/** As its `Cookie` header would be. */
export async function cookieOfPage(page: Page): Promise<string> {
  const cookies = await page.context().cookies();
  return cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
}

/** For README and docs; only where asked for, so that a test changes no file of the repository. */
export async function saveScreenshot(page: Page, name: string): Promise<void> {
  if (process.env.UPDATE_SCREENSHOTS !== '1') return;
  await page.screenshot({ path: fileURLToPath(new URL(name, IMAGES)), animations: 'disabled' });
}
