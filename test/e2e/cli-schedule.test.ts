import { Queue } from 'bullmq';
import { beforeEach, describe, expect, inject, it, onTestFinished } from 'vitest';
import { type Nightly, openNightly } from '../support/nightly-commands.ts';
import { createErp, SOURCE, WRITE_BACK } from '../support/nightly-erp.ts';
import { makeProducts } from '../support/products.ts';

const SET = ['schedule', 'set', 'nightly', '--tz', 'America/Sao_Paulo', '--cron'];

let night: Nightly;

beforeEach(async () => {
  night = openNightly(await createErp(inject('postgresUrl')));
});

/** What calls when a schedule is due. */
async function setUp() {
  const queue = new Queue('product-runs', { connection: night.queues.redis, prefix: night.queues.prefix });
  onTestFinished(() => queue.close());
  return (await queue.getJobSchedulers()).map(({ key, pattern, tz, next = 0 }) => ({
    key,
    pattern,
    tz,
    next: new Date(next),
  }));
}

describe('schedule', () => {
  it('set makes one, or changes it as a whole; list shows when it is due next, in UTC; remove ends it', async () => {
    const { run } = night;
    const made = await run([...SET, '0 2 * * *', ...WRITE_BACK, '--review-below', '0.9', '--missed', 'skip']);
    expect(made.stderr).toBe('');
    expect(made.stdout).toMatch(/^schedule +nightly\ncron +0 2 \* \* \*\ntime zone +America\/Sao_Paulo\nnext +/);
    // Two o'clock there is five in UTC. Three nights, a day apart.
    const times = [...made.stdout.matchAll(/(\S+) 05:00:00 UTC/g)].map(([, day]) => Date.parse(day));
    expect(times).toHaveLength(3);
    expect([times[1] - times[0], times[2] - times[1]]).toEqual([86_400_000, 86_400_000]);
    expect(made.code).toBe(0);
    const next = new Date(times[0] + 5 * 3_600_000);
    expect(await setUp()).toEqual([{ key: 'nightly', pattern: '0 2 * * *', tz: 'America/Sao_Paulo', next }]);

    const listed = await run(['schedule', 'list', '--json']);
    expect(JSON.parse(listed.stdout)).toMatchObject({
      ...{
        name: 'nightly',
        cron: '0 2 * * *',
        timeZone: 'America/Sao_Paulo',
        missed: 'skip',
        next: next.toISOString(),
      },
      settings: { reviewBelow: 0.9, maxChangeRatio: 0.1, dryRun: false, applySql: WRITE_BACK.at(-1) },
    });

    await run([...SET, '30 3 * * 1-5', ...SOURCE]);
    const changed = await run(['schedule', 'list']);
    expect(changed.stdout).toMatch(
      /^schedule +cron +time zone +missed +next +source\nnightly +30 3 \* \* 1-5 +America\/Sao_Paulo +catch-up +\S+ 06:30:00 UTC +erp\.products\n$/,
    );
    expect(await setUp()).toMatchObject([{ pattern: '30 3 * * 1-5' }]);
    const [{ settings }] = await night.erp.rows('SELECT settings FROM categorizer.schedules');
    expect(settings).toMatchObject({ reviewBelow: 0.7 });
    expect(settings).not.toHaveProperty('applySql');

    const removed = await run(['schedule', 'remove', 'nightly']);
    expect(removed).toEqual({ code: 0, stdout: 'schedule  nightly\nstate     removed\n', stderr: '' });
    expect(await setUp()).toEqual([]);
    const again = await run(['schedule', 'remove', 'nightly']);
    expect(again).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^SCHEDULE_NOT_FOUND: [^\n]+ nightly: /),
    });
  });

  it.each([
    ['0 0 30 2 *', 'America/Sao_Paulo'],
    ['0 2 * * *', 'America/Brasilia'],
  ])('that would never come due (%s in %s) is refused with 2', async (cron, zone) => {
    const { code, stdout, stderr } = await night.run(['schedule', 'set', 'n', '--cron', cron, '--tz', zone, ...SOURCE]);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^error: --cron ".*" --tz \S+: .+\n/);
    expect(stderr).toContain(cron);
    expect(code).toBe(2);
    expect(await night.erp.rows('SELECT FROM categorizer.schedules')).toEqual([]);
    expect(await setUp()).toEqual([]);
  });
});

describe('recategorize --schedule', () => {
  it('begins a run with the settings of the schedule by hand', async () => {
    const { erp, run, json } = night;
    await erp.put(makeProducts(5));
    await run([...SET, '0 2 1 1 *', ...WRITE_BACK, '--min-products', '6']);
    const held = await json(['recategorize', '--schedule', 'nightly', '--local']);
    expect(held.said).toMatchObject({
      id: expect.stringMatching(/^nightly-2\d{7}T\d{6}Z$/),
      ...{ name: 'nightly', state: 'awaiting_approval', holds: [{ guard: 'min-products' }] },
      settings: { minProducts: 6, applySql: WRITE_BACK.at(-1) },
    });
    expect(held.code).toBe(4);
    const unknown = await run(['recategorize', '--schedule', 'weekly']);
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringMatching(/^SCHEDULE_NOT_FOUND: [^\n]+ weekly: /) });
  });
});
