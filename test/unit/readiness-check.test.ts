import { describe, expect, it } from 'vitest';
import { createCheckReadiness } from '../../src/application/check-readiness.ts';
import type { QueueDepth } from '../../src/application/ports.ts';
import { CategorizerError } from '../../src/domain/errors.ts';

const NOW = 1_000_000_000;

interface Situation {
  redisProblem?: () => Promise<string | undefined>;
  queueDepths?: () => Promise<readonly QueueDepth[]>;
  oldestWaitingAgeSeconds?: number;
  paused?: boolean;
  idleSeconds?: number;
}

function depthOf(queue: string, oldestWaitingAgeSeconds: number, paused = false): QueueDepth {
  const jobs = { waiting: 1, active: 0, delayed: 0, prioritized: 0, failed: 0, completed: 0 };
  return { queue, jobs, oldestWaitingAgeSeconds, paused, workers: 1 };
}

function check({ oldestWaitingAgeSeconds = 0, paused, idleSeconds = 0, ...ports }: Situation) {
  return createCheckReadiness({
    redisProblem: async () => undefined,
    // Results may lie on their queue for days: that is the collector's affair.
    queueDepths: async () => [depthOf('in', oldestWaitingAgeSeconds, paused), depthOf('results', 1e6)],
    lastProgressAt: () => NOW - idleSeconds * 1000,
    now: () => NOW,
    model: { space: 'own', width: 16 },
    ...ports,
  })();
}

const READY = { ready: true, problems: [] };

describe('a worker is ready', () => {
  it.each([
    { title: 'when nothing waits, however long it has had nothing to do', idleSeconds: 1e6 },
    { title: 'when jobs wait long and it is at work', oldestWaitingAgeSeconds: 7200, idleSeconds: 1 },
    { title: 'when a job came just now after a quiet night', oldestWaitingAgeSeconds: 1, idleSeconds: 36_000 },
    { title: 'when a job has waited for 30 seconds exactly', oldestWaitingAgeSeconds: 30, idleSeconds: 1e6 },
    { title: 'when it has done nothing for 30 seconds exactly', oldestWaitingAgeSeconds: 1e6, idleSeconds: 30 },
    {
      title: 'when the queue is paused, as nobody wants progress then',
      oldestWaitingAgeSeconds: 1e6,
      idleSeconds: 1e6,
      paused: true,
    },
  ])('$title', async ({ title, ...situation }) => {
    expect(await check(situation), title).toEqual(READY);
  });
});

describe('jobs for another model', () => {
  const queueOf = (jobs: Partial<QueueDepth['jobs']>, mismatched: QueueDepth['mismatched']) =>
    check({
      queueDepths: async () => [
        { ...depthOf('in', 0), jobs: { ...depthOf('in', 0).jobs, waiting: 0, ...jobs }, mismatched },
      ],
    });
  const other = (delayed: number, waiting = 0) => ({ space: 'other', width: 16, delayed, waiting });

  it.each([
    { title: 'alone on the queue', jobs: { delayed: 3 }, mismatched: [other(3)], all: 'all 3 jobs' },
    {
      title: 'alone, some being looked at',
      jobs: { delayed: 2, active: 1 },
      mismatched: [other(2, 1)],
      all: 'all 3 jobs',
    },
    {
      title: 'of several kinds',
      jobs: { delayed: 5 },
      mismatched: [other(3), { width: 2, delayed: 2, waiting: 0 }],
      all: 'all 5 jobs',
    },
    { title: 'the only one', jobs: { delayed: 1 }, mismatched: [other(1)], all: 'the only job' },
  ])('make it not ready: $title', async ({ jobs, mismatched, all }) => {
    const { ready, problems } = await queueOf(jobs, mismatched);
    expect(ready).toBe(false);
    expect(problems).toEqual([expect.stringMatching(new RegExp(`^${all} on the queue .*other.*own \\(width 16\\)`))]);
  });

  it.each([
    { title: 'with others that it can do', jobs: { delayed: 3, waiting: 1 }, mismatched: [other(3)] },
    { title: 'with one that is tried again', jobs: { delayed: 4 }, mismatched: [other(3)] },
    {
      title: 'that were given back by workers of another kind and fit this one',
      jobs: { delayed: 3 },
      mismatched: [{ space: 'own', width: 16, delayed: 3, waiting: 0 }],
    },
    { title: 'nowhere', jobs: {}, mismatched: [] },
  ])('leave it ready: $title', async ({ jobs, mismatched }) => {
    expect(await queueOf(jobs, mismatched)).toEqual(READY);
  });
});

describe('a worker is not ready, and says why,', () => {
  it('when Redis cannot be trusted', async () => {
    const problem = 'maxmemory-policy of Redis is allkeys-lru';
    expect(await check({ redisProblem: async () => problem })).toEqual({ ready: false, problems: [problem] });
  });

  it('when a job waits for more than 30 seconds and it has done nothing for as long', async () => {
    const { ready, problems } = await check({ oldestWaitingAgeSeconds: 31.4, idleSeconds: 45.2 });
    expect(ready).toBe(false);
    expect(problems).toEqual(['a job has waited for 31 s, and this worker has taken or finished none for 45 s']);
  });

  it('when the queue cannot be looked at', async () => {
    const queueDepths = async () => {
      throw new CategorizerError('REDIS_UNAVAILABLE', 'Redis went away');
    };
    expect(await check({ queueDepths })).toEqual({ ready: false, problems: ['Redis went away'] });
  });
});

describe('a Redis that does not answer', () => {
  it('is asked one question only', async () => {
    let asked = 0;
    const queueDepths = async () => {
      asked++;
      return [];
    };
    await check({ redisProblem: async () => 'Redis does not answer', queueDepths });
    expect(asked).toBe(0);
  });
});
