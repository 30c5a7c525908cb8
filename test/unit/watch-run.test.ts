import { describe, expect, it } from 'vitest';
import type { RunProgress } from '../../src/application/ports.ts';
import { watchRun } from '../../src/application/watch-run.ts';
import { CategorizerError } from '../../src/domain/errors.ts';
import { createFakeClock, settle } from '../support/fake-clock.ts';

const TOTALS = { jobs: 10, products: 10_000, rejected: 0 };

/** A run of 10 jobs, all of which were sent and none of which is finished. */
const UNDER_WAY: RunProgress = {
  begun: true,
  totals: TOTALS,
  collected: 0,
  failed: {},
  unfinishedJobs: 10,
  workers: 1,
};
/** No job of any run is left. */
const QUIET: RunProgress = { ...UNDER_WAY, unfinishedJobs: 0, workers: 0 };
/** Of a producer that keeps no record. */
const UNKNOWN: RunProgress = { ...QUIET, begun: false, totals: undefined };
/** Its producer is still sending, or was interrupted. */
const NOT_ALL_SENT: RunProgress = { ...QUIET, totals: undefined };

function setUp(first: RunProgress, options: { readonly runId?: string } = { runId: 'night-7' }) {
  const clock = createFakeClock();
  const stopper = new AbortController();
  const asked: (string | undefined)[] = [];
  const waitedWith: RunProgress[] = [];
  let now = first;
  const monitor = {
    async progress(runId: string | undefined) {
      asked.push(runId);
      return now;
    },
  };
  const watch = watchRun(
    { monitor, clock },
    { runId: options.runId, stop: stopper.signal, onWait: (progress) => waitedWith.push(progress) },
  );
  /** Looks once, and lets time pass until it answers. @param results that are on the queue */
  async function look(results: number): Promise<boolean> {
    const answer = watch.more({ results, products: 0 });
    // Of an answer that nobody awaits yet.
    answer.catch(() => undefined);
    await clock.advanceToNext();
    return answer;
  }
  return {
    watch,
    clock,
    asked,
    waitedWith,
    look,
    stop: () => stopper.abort(),
    become: (progress: RunProgress) => {
      now = progress;
    },
  };
}

describe('a run whose size is known', () => {
  it('is complete when there is a result for each of its jobs', async () => {
    const { look, watch, waitedWith } = setUp({ ...UNDER_WAY, unfinishedJobs: 0 });
    expect(await look(10)).toBe(false);
    expect(watch.missingJobs()).toBe(0);
    expect(waitedWith).toEqual([]);
  });

  it('counts what was collected before, and what failed whatever its code', async () => {
    const { look, become, watch } = setUp({ ...UNDER_WAY, collected: 4, failed: { WRONG_WIDTH: 1, STALLED: 2 } });
    expect(await look(2)).toBe(true);
    become({ ...UNDER_WAY, collected: 4, failed: { WRONG_WIDTH: 1, STALLED: 3 } });
    expect(await look(2)).toBe(false);
    expect(watch.missingJobs()).toBe(0);
  });

  it('is complete though other runs have jobs on the queue', async () => {
    const { look } = setUp({ ...UNDER_WAY, unfinishedJobs: 500 });
    expect(await look(10)).toBe(false);
  });

  it('is complete when all was collected before', async () => {
    const { look } = setUp({ ...QUIET, collected: 10 });
    expect(await look(0)).toBe(false);
  });

  it('is waited for while jobs are unfinished, and each time it is said how far it is', async () => {
    const { look, become, waitedWith } = setUp(UNDER_WAY);
    const later = { ...UNDER_WAY, unfinishedJobs: 5 };
    expect(await look(0)).toBe(true);
    become(later);
    expect(await look(5)).toBe(true);
    expect(await look(5)).toBe(true);
    expect(waitedWith).toEqual([UNDER_WAY, later, later]);
  });

  it('is looked at again after 50 milliseconds', async () => {
    const { watch, clock } = setUp(UNDER_WAY);
    let answer: boolean | undefined;
    const looked = watch.more({ results: 0, products: 0 }).then((more) => {
      answer = more;
    });
    await clock.advance(49);
    expect(answer).toBeUndefined();
    await clock.advance(1);
    await looked;
    expect(answer).toBe(true);
  });

  it('misses jobs that are nowhere any more, which is known when nothing came of a second look', async () => {
    const { look, watch, waitedWith } = setUp({ ...QUIET, failed: { STALLED: 1 } });
    expect(await look(6)).toBe(true);
    expect(watch.missingJobs()).toBe(0);
    expect(await look(6)).toBe(false);
    expect(watch.missingJobs()).toBe(3);
    expect(waitedWith).toEqual([]);
  });

  it('is given another look as long as each brings more results', async () => {
    const { look, watch } = setUp(QUIET);
    for (const results of [5, 6, 7]) expect(await look(results)).toBe(true);
    expect(await look(7)).toBe(false);
    expect(watch.missingJobs()).toBe(3);
  });

  it('is waited for again where a job came back between two looks', async () => {
    const { look, become, watch } = setUp(QUIET);
    expect(await look(9)).toBe(true);
    become({ ...UNDER_WAY, unfinishedJobs: 1 });
    expect(await look(9)).toBe(true);
    become(QUIET);
    expect(await look(9)).toBe(true);
    expect(await look(10)).toBe(false);
    expect(watch.missingJobs()).toBe(0);
  });
});

describe('a run that is still being sent', () => {
  it('is waited for, though no job is on the queue at the moment', async () => {
    const { look, waitedWith } = setUp(NOT_ALL_SENT);
    for (let i = 0; i < 5; i++) expect(await look(3)).toBe(true);
    expect(waitedWith).toHaveLength(5);
  });

  it('ends when all was sent and has its results', async () => {
    const { look, become } = setUp(NOT_ALL_SENT);
    expect(await look(10)).toBe(true);
    become(QUIET);
    expect(await look(10)).toBe(false);
  });
});

describe('a run whose size is not known, as its producer keeps no record', () => {
  it('is waited for until no job of any run is left, and one look longer for the last results', async () => {
    const { look, become, watch, waitedWith } = setUp({ ...UNKNOWN, unfinishedJobs: 2 });
    expect(await look(0)).toBe(true);
    expect(waitedWith).toHaveLength(1);
    become(UNKNOWN);
    expect(await look(1)).toBe(true);
    expect(await look(2)).toBe(true);
    expect(await look(2)).toBe(false);
    expect(watch.missingJobs()).toBe(0);
    expect(waitedWith).toHaveLength(1);
  });

  it('that nobody ever sent ends at the second look, with nothing missing', async () => {
    const { look, watch } = setUp(UNKNOWN);
    expect(await look(0)).toBe(true);
    expect(await look(0)).toBe(false);
    expect(watch.missingJobs()).toBe(0);
  });
});

describe('the watch of a run', () => {
  it('asks for that run', async () => {
    const { look, asked } = setUp(UNDER_WAY);
    await look(0);
    await look(0);
    expect(asked).toEqual(['night-7', 'night-7']);
  });

  it('asks for all runs where none is named', async () => {
    const { look, asked } = setUp(UNKNOWN, {});
    await look(0);
    expect(asked).toEqual([undefined]);
  });

  it('knows how far the run was when it last looked', async () => {
    const { look, become, watch } = setUp(UNDER_WAY);
    expect(watch.progress()).toBeUndefined();
    await look(0);
    become(QUIET);
    expect(watch.progress()).toBe(UNDER_WAY);
    await look(10);
    expect(watch.progress()).toBe(QUIET);
  });

  it('ends with INTERRUPTED when it is stopped while it waits', async () => {
    const { watch, clock, stop } = setUp(UNDER_WAY);
    const more = watch.more({ results: 0, products: 0 });
    const ended = expect(more).rejects.toMatchObject({ code: 'INTERRUPTED' });
    await settle();
    stop();
    await clock.advance(50);
    await ended;
  });

  it('is not interrupted when the run was complete already', async () => {
    const { look, stop } = setUp(QUIET);
    stop();
    expect(await look(10)).toBe(false);
  });

  it('ends with what keeps it from looking', async () => {
    const outage = new CategorizerError('REDIS_UNAVAILABLE', 'Redis does not answer', { retryable: true });
    const watch = watchRun(
      { monitor: { progress: () => Promise.reject(outage) }, clock: createFakeClock() },
      { runId: undefined, stop: new AbortController().signal, onWait: () => undefined },
    );
    await expect(watch.more({ results: 0, products: 0 })).rejects.toBe(outage);
  });
});
