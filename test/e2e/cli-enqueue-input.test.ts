import { mkdir, readdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { writeParquet } from '../support/bulk-input.ts';
import { PATIENCE, startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';
import { makeProducts, toCsv } from '../support/products.ts';

let workspace: Workspace;
let queues: Queues;

beforeEach(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
});
afterEach(async () => {
  await queues.close();
  await workspace.remove();
});

describe('enqueue that is interrupted while standard input gives nothing', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    'ends at the first %s with %i, with nothing sent and nothing left on the disk',
    async (signal, exitCode) => {
      const temporary = workspace.path('tmp');
      await mkdir(temporary);
      const args = ['enqueue', '-', '--run', 'R', '--rejects', workspace.path('r')];
      const cli = startLive(args, { ...queues.env, TMPDIR: temporary });
      onTestFinished(async () => {
        cli.kill('SIGKILL');
        await cli.ended;
      });
      cli.stdin.write(toCsv(makeProducts(600)));
      await expect
        .poll(async () => (await readdir(temporary, { recursive: true })).length, PATIENCE)
        .toBeGreaterThan(1);
      cli.kill(signal);
      await expect.poll(cli.exit, { timeout: 5_000 }).toEqual({ code: exitCode, signal: null });
      expect(cli.stderr()).toBe('INTERRUPTED: stopped by a signal\n');
      expect(await workspace.names()).toEqual(['tmp']);
      expect(await readdir(temporary)).toEqual([]);
      expect(await queues.products.getWaitingCount()).toBe(0);
    },
  );
});

describe('the disk', () => {
  it.each(['csv', 'jsonl', 'parquet'] as const)('has nothing left of an import of %s', async (format) => {
    const temporary = workspace.path('tmp');
    await mkdir(temporary);
    const products = makeProducts(20);
    const lines = products.map((product) => JSON.stringify(product)).join('\n');
    // Broken quotes, so that a repaired copy is read.
    const csv = `${toCsv(products)}"bad,1\n`;
    const file =
      format === 'parquet'
        ? await writeParquet(workspace.path('c.parquet'), products, 'productId, features')
        : await workspace.write(`c.${format}`, format === 'csv' ? csv : lines);
    const { code } = await runCli(['enqueue', file], { env: { ...queues.env, TMPDIR: temporary } });
    expect(code).toBe(format === 'csv' ? 3 : 0);
    expect(await readdir(temporary)).toEqual([]);
  });
});
