import { describe, expect, it } from 'vitest';
import type { CollectedResult, CollectorHolder, QueueActivity } from '../../src/application/ports.ts';
import { allPages, createRunPages, type WaitHint, type WaitOptions } from '../../src/application/result-pages.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { createFakeClock, settle } from '../support/fake-clock.ts';
import {
  chunkIn,
  createFakeImportRecords,
  type StoredImport,
  someTotals,
  storedImport,
} from '../support/fake-import-records.ts';
import { createFakeResultQueue, storedResults } from '../support/fake-result-queue.ts';
import { result } from '../support/files-results.ts';

const QUIET: QueueActivity = { unfinishedJobs: 0, workers: 0, mismatchedJobs: 0 };

function answer(number: number, runId = 'R'): CollectedResult {
  const outcomes = [{ id: `P${number}`, category: 'A', confidence: 0.9 }];
  return { ...result(`r-${runId}-${number}`, outcomes), runId, jobId: `${runId}-${number}`, chunk: number };
}

function unrecorded(id: string, runId?: string): CollectedResult {
  return { ...result(id, [{ id, category: 'A', confidence: 0.9 }]), runId, jobId: `job-${id}` };
}

interface Scene {
  readonly imports?: readonly StoredImport[];
  readonly results?: readonly CollectedResult[];
  readonly activity?: QueueActivity;
  readonly failures?: Record<string, number>;
  readonly noted?: boolean;
  readonly holder?: CollectorHolder;
}

/** A collector whose looks a test makes one by one. */
function setUp(scene: Scene, options: Partial<WaitOptions> = {}) {
  const { imports = [], results = [], activity = QUIET, failures = {}, noted = false, holder } = scene;
  const clock = createFakeClock();
  const stopper = new AbortController();
  const store = storedResults(results);
  const now = { activity, failures };
  const hints: WaitHint[] = [];
  const records = createFakeImportRecords(...imports);
  const ports = {
    queue: createFakeResultQueue(store),
    records,
    claims: { take: async () => holder, confirm: async () => undefined, release: async () => undefined },
    monitor: { activity: async () => now.activity, failures: async () => now.failures },
    notes: {
      find: async () => (noted ? { startedAt: new Date(0) } : undefined),
      write: async () => undefined,
      remove: async () => undefined,
    },
    clock,
  };
  const all = {
    runId: 'R',
    wait: true,
    stop: stopper.signal,
    onHint: (hint: WaitHint) => hints.push(hint),
    ...options,
  };
  return { ports, options: all, store, records, hints, clock, now, stop: () => stopper.abort() };
}

/** Reads to the end; before each look after the first, `next` may change the scene. */
async function collect(setting: ReturnType<typeof setUp>, next: readonly (() => void)[] = []) {
  const pages = createRunPages(setting.ports, setting.options);
  const collected: string[] = [];
  let over = false;
  const reading = (async () => {
    for await (const page of pages.pages()) collected.push(...page.map(({ resultId }) => resultId));
  })().finally(() => {
    over = true;
  });
  reading.catch(() => undefined);
  await settle();
  for (const change of next) {
    expect(over, 'waits').toBe(false);
    change();
    await setting.clock.advanceToNext();
    await settle();
  }
  // What it still waits for is only the second look at what was settled.
  for (let i = 0; !over && i < 3; i++) {
    await setting.clock.advanceToNext();
    await settle();
  }
  if (!over) throw new Error(`still waits with ${collected.join(', ')}`);
  await reading;
  return { collected, account: pages.account() };
}

describe('the results of an import that has a record', () => {
  it('are the answers of its chunks and no others, and are complete when each chunk is answered', async () => {
    const setting = setUp({
      imports: [storedImport('R', ['answered', 'answered'], someTotals())],
      results: [answer(0), unrecorded('r-hand-1', 'R'), answer(1), unrecorded('r-x')],
      activity: { ...QUIET, unfinishedJobs: 500, workers: 1 },
    });
    expect((await collect(setting)).collected).toEqual(['r-R-0', 'r-R-1']);
    expect(setting.hints).toEqual([]);
  });

  it('are waited for while chunks are on the queue or in work, and read when they come', async () => {
    const stored = storedImport('R', ['answered', 'waiting'], someTotals());
    const setting = setUp({
      imports: [stored],
      results: [answer(0)],
      activity: { ...QUIET, unfinishedJobs: 1, workers: 1 },
    });
    const { collected } = await collect(setting, [
      () => undefined,
      () => {
        setting.store.waiting.push(answer(1));
        stored.chunks.set(1, chunkIn(1, 'answered'));
      },
    ]);
    expect(collected).toEqual(['r-R-0', 'r-R-1']);
  });

  it('are not waited for where a chunk failed or is missing: the account says so', async () => {
    const states = ['collected', 'failed', 'missing', 'answered'] as const;
    const stored = storedImport('R', states, someTotals({ jobs: 4, products: 40 }));
    const { collected, account } = await collect(setUp({ imports: [stored], results: [answer(3)] }));
    expect(collected).toEqual(['r-R-3']);
    expect(account).toMatchObject({ failed: 10, missing: 10 });
  });

  it('are looked for once more after they were read: an answer that turns out to be none leaves its chunk missing', async () => {
    const stored = storedImport('R', ['answered', 'answered'], someTotals());
    // The queue gives no page for the second, as the real one does with an answer of other products.
    const setting = setUp({ imports: [stored], results: [answer(0)] });
    const { account } = await collect(setting, [() => stored.chunks.set(1, chunkIn(1, 'missing'))]);
    expect(account).toMatchObject({ missing: 10 });
  });

  it('are waited for while not all of it was sent, and a person is told what to do', async () => {
    const stored = storedImport('R', ['answered']);
    const setting = setUp({ imports: [stored], results: [answer(0)] });
    await collect(setting, [
      () => undefined,
      () => {
        stored.record = { ...stored.record, totals: someTotals({ jobs: 1, products: 10 }) };
      },
    ]);
    expect(new Set(setting.hints)).toEqual(new Set(['not all sent']));
  });

  it('are lost where the record vanishes, at whatever moment', async () => {
    const setting = setUp({ imports: [storedImport('R', ['waiting'], someTotals())] });
    const lost = collect(setting, [() => setting.records.imports.clear()]);
    await expect(lost).rejects.toMatchObject({ code: 'RUN_LOST', message: expect.stringContaining('again') });
  });

  it('without waiting are what is there', async () => {
    const stored = storedImport('R', ['answered', 'waiting'], someTotals());
    const setting = setUp({ imports: [stored], results: [answer(0)] }, { wait: false });
    const { collected, account } = await collect(setting);
    expect(collected).toEqual(['r-R-0']);
    expect(account).toMatchObject({ waiting: 10 });
  });

  it('say once for each look that jobs wait and nobody works', async () => {
    const stored = storedImport('R', ['waiting'], someTotals({ jobs: 1, products: 10 }));
    const setting = setUp({ imports: [stored], activity: { ...QUIET, unfinishedJobs: 1 } });
    await collect(setting, [() => undefined, () => stored.chunks.set(0, chunkIn(0, 'missing'))]);
    expect(new Set(setting.hints)).toEqual(new Set(['no worker']));
  });

  it('say that what is left is for another model than those of the workers', async () => {
    const stored = storedImport('R', ['waiting', 'collected'], someTotals());
    const setting = setUp({ imports: [stored], activity: { unfinishedJobs: 1, workers: 2, mismatchedJobs: 1 } });
    await collect(setting, [() => undefined, () => stored.chunks.set(0, chunkIn(0, 'failed'))]);
    expect(new Set(setting.hints)).toEqual(new Set(['no fitting worker']));
  });

  it('are left to the collector that holds the run', async () => {
    const holder = { host: 'erp-1', pid: 4711, since: '2026-11-27T01:00:00.000Z', out: '/data/a.csv' };
    const setting = setUp({ imports: [storedImport('R', ['answered'], someTotals())], results: [answer(0)], holder });
    await expect(collect(setting)).rejects.toMatchObject({
      code: 'RUN_HELD',
      message: expect.stringMatching(/since 2026-11-27T01:00:00.000Z by process 4711 on erp-1, into \/data\/a\.csv/),
    });
  });
});

describe('a run that is not there', () => {
  it('is not found, and the latest imports are named', async () => {
    const setting = setUp({ imports: [storedImport('other', [], someTotals())] }, { wait: false });
    await expect(collect(setting)).rejects.toMatchObject({
      code: 'RUN_NOT_FOUND',
      message: expect.stringContaining('other'),
    });
  });

  it('was lost where this machine remembers that it was sent, whether it is waited for or not', async () => {
    for (const wait of [true, false]) {
      await expect(collect(setUp({ noted: true }, { wait }))).rejects.toMatchObject({ code: 'RUN_LOST' });
    }
  });

  it('is waited for until it begins', async () => {
    const setting = setUp({});
    const { collected } = await collect(setting, [
      () => undefined,
      () => {
        setting.records.imports.set('R', storedImport('R', ['answered'], someTotals({ jobs: 1, products: 10 })));
        setting.store.waiting.push(answer(0));
      },
    ]);
    expect(collected).toEqual(['r-R-0']);
    expect(setting.hints).toEqual(['not begun', 'not begun']);
  });

  it('is not found when the time is over', async () => {
    const setting = setUp({}, { timeoutMs: 120 });
    const passing = Array.from({ length: 3 }, () => () => undefined);
    await expect(collect(setting, passing)).rejects.toMatchObject({ code: 'RUN_NOT_FOUND' });
    expect(setting.hints.at(-1)).toBe('timed out');
  });

  it('is interrupted by a signal', async () => {
    const setting = setUp({});
    await expect(collect(setting, [setting.stop])).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });

  it('is no error while this process still sends it', async () => {
    let sending = true;
    const setting = setUp({}, { stillSending: () => sending });
    const { collected } = await collect(setting, [
      () => undefined,
      () => {
        sending = false;
        setting.records.imports.set('R', storedImport('R', ['answered'], someTotals({ jobs: 1, products: 10 })));
        setting.store.waiting.push(answer(0));
      },
    ]);
    expect(collected).toEqual(['r-R-0']);
    expect(setting.hints).toEqual([]);
  });
});

describe('the results of a run whose producer keeps no record', () => {
  it('are all that name it, and are waited for until no job of any run is left', async () => {
    const setting = setUp({
      results: [unrecorded('r-1', 'R'), unrecorded('r-2', 'other')],
      activity: { ...QUIET, unfinishedJobs: 2, workers: 1 },
    });
    const { collected, account } = await collect(setting, [
      () => setting.store.waiting.push(unrecorded('r-3', 'R')),
      () => {
        setting.now.activity = QUIET;
      },
    ]);
    expect(collected).toEqual(['r-1', 'r-3']);
    expect(account).toBeUndefined();
  });

  it('are looked for once more when the last job is gone: it completes after its result is there', async () => {
    const setting = setUp({ results: [unrecorded('r-1', 'R')] });
    const { collected } = await collect(setting, [() => setting.store.waiting.push(unrecorded('r-2', 'R'))]);
    expect(collected).toEqual(['r-1', 'r-2']);
  });

  it('are over where all of its jobs failed', async () => {
    const { collected } = await collect(setUp({ failures: { WRONG_WIDTH: 2 } }));
    expect(collected).toEqual([]);
  });
});

describe('the results of all runs', () => {
  it('leave those of a run that another collector holds, and name it once', async () => {
    const holder = { host: 'erp-1', pid: 4711, since: 'now', out: 'a.csv' };
    const setting = setUp({
      results: [unrecorded('r-1', 'A'), unrecorded('r-2', 'B'), unrecorded('r-3', 'B'), unrecorded('r-4')],
    });
    const held: (string | undefined)[] = [];
    const claims = {
      ...setting.ports.claims,
      take: async (runId: string | undefined) => (runId === 'B' ? holder : undefined),
    };
    const { stop } = setting.options;
    const ids: string[] = [];
    for await (const page of allPages(
      { ...setting.ports, claims },
      { wait: false, stop, onHeld: (runId) => held.push(runId) },
    )) {
      ids.push(...page.map(({ resultId }) => resultId));
    }
    expect(ids).toEqual(['r-1', 'r-4']);
    expect(held).toEqual(['B']);
  });
});

it('an error of a port ends the collection as it is', async () => {
  const setting = setUp({});
  const away = new CategorizerError('REDIS_UNAVAILABLE', 'away', { retryable: true });
  setting.ports.monitor.failures = () => Promise.reject(away);
  await expect(collect(setting)).rejects.toBe(away);
});
