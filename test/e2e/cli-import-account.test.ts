import { afterEach, beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { payloadKeys } from '../support/bulk-chunks.ts';
import { PATIENCE, startLive } from '../support/cli-live.ts';
import { failWaitingJobs, openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { namedCommand, runForAccount, runInShell } from '../support/import-account.ts';
import { readRows, untilDone } from '../support/load.ts';
import { runCli, startWorker } from '../support/processes.ts';
import { makeProducts, type TestProduct, toCsv } from '../support/products.ts';

let workspace: Workspace;
let queues: Queues;
let out: string;

beforeEach(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
  out = workspace.path('out.jsonl');
});
afterEach(async () => {
  await queues.close();
  await workspace.remove();
});

const run = (...args: string[]) => runCli(args, { env: queues.env });
const account = (...args: string[]) => runForAccount(args, queues.env);
const show = (runId: string) => account('imports', 'show', runId);

async function addWorker(): Promise<void> {
  const worker = await startWorker(queues.env);
  onTestFinished(async () => {
    worker.kill('SIGKILL');
    await worker.ended;
  });
}

/** The numbers of a table that a command printed, by their name. */
function numbersIn(table: string): Record<string, number> {
  const lines = [...table.matchAll(/^([a-z][a-z ]*[a-z]) {2,}([\d,]+)(?: .*)?$/gm)];
  return Object.fromEntries(lines.map(([, name, number]) => [name, Number(number.replaceAll(',', ''))]));
}

async function expectEachOnce(products: readonly TestProduct[]): Promise<void> {
  const rows = await readRows(out);
  expect(rows.map(({ productId }) => productId).sort()).toEqual(products.map(({ productId }) => productId).sort());
}

describe('the account of an import', () => {
  it('is the same in every command, as text and as JSON, however often they are run', async () => {
    const products = makeProducts(20);
    const csv = toCsv(products);
    const file = await workspace.write('c.csv', `${csv}bad,1\nworse,1,2\n${csv.split('\n')[1]}\n`);
    const enqueue = ['enqueue', file, '--run', 'R', '--chunk-size', '6', '--on-duplicate', 'first'];
    const read = { read: 23, skipped: 1, rejected: 2, rejectedByCode: { INVALID_ROW: 2 }, sent: 20 };

    const sent = await account(...enqueue);
    expect(sent.code).toBe(3);
    expect(sent.account).toMatchObject({ ...read, sentNow: 20, sentBefore: 0, waiting: 20, categorized: 0 });
    const again = await run(...enqueue);
    const table = { read: 23, rejected: 2, skipped: 1, failed: 0, missing: 0, 'sent now': 0, 'sent before': 20 };
    expect(numbersIn(again.stdout)).toEqual({ ...table, categorized: 0, 'on the queue': 20 });
    expect(again.stderr).toMatch(/^all of run R was sent before: nothing was sent now; /);
    expect(again.code).toBe(3);
    expect((await show('R')).account).toMatchObject({ ...read, state: 'waiting', progress: 0, waiting: 20 });

    await addWorker();
    await untilDone(queues.products);
    expect((await show('R')).account).toMatchObject({ ...read, state: 'to collect', progress: 1, answered: 20 });

    const collected = await account('results', '--run', 'R', '--out', out);
    const complete = { ...read, categorized: 20, answered: 0, waiting: 0, failed: 0, missing: 0 };
    expect(collected.account).toMatchObject({ ...complete, models: [{ products: 20 }] });
    expect(collected.code).toBe(3);
    const file1 = await workspace.read('out.jsonl');
    const repeated = await run('results', '--run', 'R', '--out', out);
    expect(numbersIn(repeated.stdout)).toMatchObject({ ...table, categorized: 20, 'collected now': 0 });
    expect(repeated.stderr).toBe('no new results on the queue\n');
    expect(repeated.code).toBe(3);
    expect(await workspace.read('out.jsonl')).toBe(file1);
    const last = await account(...enqueue);
    expect(last.account).toMatchObject({ ...complete, sentNow: 0, sentBefore: 20 });
    expect(last.code).toBe(3);

    const other = await run('results', '--run', 'R', '--out', workspace.path('other.jsonl'), '--json');
    expect(other.stdout).toBe('');
    expect(other.stderr).toMatch(/^RUN_COLLECTED: all 20 products of run R were collected before/m);
    expect(other.code).toBe(1);
    expect(await workspace.names()).not.toContain('other.jsonl');

    const shown = await run('imports', 'show', 'R');
    expect(numbersIn(shown.stdout)).toMatchObject({ ...table, categorized: 20 });
    expect(shown.stdout).toMatch(
      /^state +complete, 100 % answered\nbegan +\S+Z \(\d+ min ago\)\ncommand +categorizer /m,
    );
    expect(shown.stderr).toBe('');
    const list = await run('imports', 'list', '--json');
    expect(JSON.parse(list.stdout)).toMatchObject({ ...complete, runId: 'R', state: 'complete', progress: 1 });
  });

  it('of an interrupted import says that it is being sent, and how to go on', async () => {
    const file = await workspace.write('c.csv', toCsv(makeProducts(20_000)));
    const sending = startLive(
      ['enqueue', file, '--run', 'S', '--chunk-size', '1000', '--max-pending', '1'],
      queues.env,
    );
    await expect.poll(sending.stderr, PATIENCE).toContain('--max-pending');
    sending.kill('SIGKILL');
    await sending.ended;
    const { account: shown, code } = await show('S');
    expect(code).toBe(0);
    expect(shown).toMatchObject({ state: 'sending', sent: shown.waiting, categorized: 0 });
    expect(shown).not.toHaveProperty('read');
    const list = await run('imports', 'list');
    expect(list.stdout).toMatch(/^run +state +began +read .*\nS +sending +0 min ago +- +0 +0 % /);
    const collected = await run('results', '--run', 'S', '--out', out);
    expect(collected.stderr).toMatch(/^RUN_INCOMPLETE: run S: not all of it was sent; .*: categorizer enqueue /m);
    expect(collected.code).toBe(1);
    expect(await workspace.names()).toEqual(['c.csv']);
    expect((await run('imports', 'show', 'nosuch')).stderr).toBe(
      'RUN_NOT_FOUND: there is no import nosuch; the latest: S\n',
    );
  });
});

describe('an import of which something was lost', () => {
  it('is incomplete, and the command that is named then sends again what failed, was removed or lost its payload', async () => {
    const products = makeProducts(10);
    // A name that a shell must not take apart.
    const file = await workspace.write("a 'quoted' $name.csv", toCsv(products));
    await run('enqueue', file, '--run', 'R', '--chunk-size', '2');
    await failWaitingJobs(queues, () => 'REDIS_REFUSED');
    const failed = await run('results', '--run', 'R', '--wait', '--out', out);
    expect(failed.stderr).toMatch(
      /^RUN_INCOMPLETE: run R: 10 products failed \(REDIS_REFUSED 5\); .*no file was written/m,
    );
    expect(failed.code).toBe(1);
    expect(await workspace.names()).not.toContain('out.jsonl');
    expect((await show('R')).account).toMatchObject({ state: 'incomplete', failedByCode: { REDIS_REFUSED: 5 } });
    const mended = await account('enqueue', file, '--run', 'R', '--chunk-size', '2');
    expect(mended.account).toMatchObject({ sentNow: 10, sentBefore: 0, waiting: 10, failed: 0 });
    expect(mended.code).toBe(0);

    const job = (await queues.products.getWaiting()).find(({ data }) => data.payload.includes(':R-1'));
    await job?.remove();
    await addWorker();
    await untilDone(queues.products);
    const payload = (await payloadKeys(queues)).filter((key) => key.includes(':r-R-3'));
    expect(await queues.redis.del(payload)).toBe(1);
    const incomplete = await account('results', '--run', 'R', '--wait', '--out', out);
    expect(incomplete.account).toMatchObject({ categorized: 6, missing: 4, failed: 0 });
    expect(incomplete.code).toBe(1);
    expect(incomplete.stderr).toMatch(/^RUN_INCOMPLETE: run R: 4 products are missing; /m);

    const again = await runInShell(namedCommand(incomplete.stderr), queues.env);
    expect(again.code, again.stderr).toBe(0);
    const whole = await account('results', '--run', 'R', '--wait', '--out', out);
    expect(whole.account).toMatchObject({ read: 10, categorized: 10, missing: 0, failed: 0 });
    expect(whole.code).toBe(0);
    await expectEachOnce(products);
    expect(await queues.results.getWaitingCount()).toBe(0);
  });
});
