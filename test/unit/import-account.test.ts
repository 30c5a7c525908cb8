import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { accountForImport, createImportTracker } from '../../src/application/import-tracker.ts';
import { exitCodeOf, incompleteSentence } from '../../src/cli/account.ts';
import { CHUNK_STATES, type ImportAccount, importStateOf } from '../../src/domain/import.ts';
import {
  chunkIn,
  createFakeImportRecords,
  SOME_MODEL,
  someTotals,
  storedImport,
} from '../support/fake-import-records.ts';

async function accountOf(...args: Parameters<typeof storedImport>): Promise<ImportAccount> {
  const account = await accountForImport(createFakeImportRecords(storedImport(...args)), args[0]);
  if (!account) throw new Error('no account');
  return account;
}

const placed = ({ skipped, rejected, categorized, answered, waiting, failed, missing }: ImportAccount) =>
  skipped + rejected + categorized + answered + waiting + failed + missing;

describe('the account of an import', () => {
  it('counts every row of the input in exactly one place, whatever became of its chunks', async () => {
    const chunks = fc.array(
      fc.record({ state: fc.constantFrom(...CHUNK_STATES), products: fc.integer({ min: 1, max: 9 }), bad: fc.nat(9) }),
      { maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(chunks, fc.nat(5), fc.nat(5), async (all, rejected, skipped) => {
        const products = all.reduce((sum, chunk) => sum + chunk.products, 0);
        const totals = someTotals({
          jobs: all.length,
          products,
          rejected,
          rejectedByCode: { INVALID_ROW: rejected },
          skipped,
        });
        const stored = storedImport('R', [], totals);
        for (const [number, chunk] of all.entries()) {
          const answer = { model: SOME_MODEL, rejected: { WRONG_WIDTH: Math.min(chunk.bad, chunk.products) } };
          stored.chunks.set(number, chunkIn(number, chunk.state, chunk.products, answer));
        }
        const account = await accountForImport(createFakeImportRecords(stored), 'R');
        if (!account) throw new Error('no account');
        expect(placed(account)).toBe(account.read);
        expect(account.read).toBe(products + rejected + skipped);
        expect(Object.values(account.rejectedByCode).reduce((sum, count) => sum + count, 0)).toBe(account.rejected);
        const complete = all.every(({ state }) => state === 'collected');
        expect(importStateOf(account) === 'complete').toBe(complete);
        expect(exitCodeOf(account, incompleteSentence(account, undefined, true) !== undefined, false) === 1).toBe(
          !complete,
        );
      }),
    );
  });

  it('counts a chunk as missing whose entry is lost as well: the totals know that it was there', async () => {
    const account = await accountOf('R', ['collected'], someTotals({ jobs: 3, products: 25 }));
    expect(account).toMatchObject({ categorized: 10, missing: 15, missingJobs: 2, waiting: 0 });
  });

  it('does not know how much was read before all of it was sent, and is not complete', async () => {
    const account = await accountOf('R', ['collected', 'collected']);
    expect(account).toMatchObject({ read: undefined, sent: 20, categorized: 20 });
    expect(importStateOf(account)).toBe('sending');
    expect(incompleteSentence(account, 'categorizer enqueue R', true)).toContain('not all of it was sent');
  });

  it('of an import without products is complete', async () => {
    const account = await accountOf('R', [], someTotals({ jobs: 0, products: 0 }));
    expect(account).toMatchObject({ read: 0, categorized: 0, missing: 0 });
    expect(importStateOf(account)).toBe('complete');
  });

  it('has a line for each model that answered, and more than one is not clean unless any is accepted', async () => {
    const stored = storedImport('R', ['collected', 'collected'], someTotals());
    const other = { version: 'v1', sha256: 'b'.repeat(64) };
    stored.chunks.set(1, chunkIn(1, 'collected', 10, { model: other, rejected: {} }));
    const account = await accountForImport(createFakeImportRecords(stored), 'R');
    if (!account) throw new Error('no account');
    expect(account.models).toEqual([
      { ...SOME_MODEL, products: 10 },
      { ...other, products: 10 },
    ]);
    expect(exitCodeOf(account, false, false)).toBe(3);
    expect(exitCodeOf(account, false, true)).toBe(0);
  });

  it('is none where there is no record', async () => {
    expect(await accountForImport(createFakeImportRecords(), 'R')).toBeUndefined();
  });
});

describe('what keeps an import from being complete', () => {
  const command = "categorizer enqueue 'a b.csv' --run R";

  it('is told with what was lost and the command that sends it again', async () => {
    const account = await accountOf('R', ['failed', 'missing', 'collected'], someTotals({ jobs: 3, products: 30 }));
    expect(incompleteSentence(account, command, true)).toBe(
      `run R: 10 products failed (REDIS_REFUSED 1), 10 products are missing; what is lost is sent again when you run the same import again: ${command}`,
    );
    expect(incompleteSentence(account, command, false), 'of a command that only sends too').toContain(command);
  });

  it('is told with how to wait where it is only on its way, and is nothing to a command that only sends', async () => {
    const account = await accountOf('R', ['waiting', 'answered'], someTotals());
    expect(incompleteSentence(account, command, true)).toBe(
      'run R: 20 products are still to come; wait for them: categorizer results --run R --wait',
    );
    expect(incompleteSentence(account, command, false)).toBeUndefined();
  });

  it('is nothing where all of it is collected', async () => {
    expect(
      incompleteSentence(await accountOf('R', ['collected', 'collected'], someTotals()), command, true),
    ).toBeUndefined();
  });
});

describe('a tracker', () => {
  it('looks at no chunk again that was collected', async () => {
    const stored = storedImport('R', ['collected', 'waiting', 'collected'], someTotals({ jobs: 3, products: 30 }));
    const records = createFakeImportRecords(stored);
    const tracker = createImportTracker(records, 'R');
    await tracker.look();
    stored.chunks.set(1, chunkIn(1, 'answered'));
    expect((await tracker.look())?.answered).toEqual([1]);
    expect(records.looked()).toBe(4);
    stored.chunks.set(1, chunkIn(1, 'collected'));
    expect((await tracker.look())?.account).toMatchObject({ categorized: 30, answered: 0 });
    expect((await tracker.look())?.account).toMatchObject({ categorized: 30 });
    expect(records.looked()).toBe(5);
  });
});
