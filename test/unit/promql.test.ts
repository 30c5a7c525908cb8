import { describe, expect, it } from 'vitest';
import { checkPromql, type Series } from '../support/promql.ts';

describe('a query', () => {
  const known: Series = new Map([
    ['jobs', new Set(['queue', 'state', 'job', 'instance'])],
    ['age', new Set(['queue', 'job', 'instance'])],
    ['seconds_bucket', new Set(['path', 'le', 'job', 'instance'])],
    ['limit', new Set<string>()],
  ]);

  it.each([
    'max by (job, queue) (jobs{state="waiting"}) > on () group_left () limit',
    'max by (job, queue) (age) > scalar(limit)',
    'sum without (instance) (rate(jobs[5m])) / 2',
    'histogram_quantile(0.9, sum by (path, le) (rate(seconds_bucket[5m])))',
    'label_replace(age, "where", "$1", "queue", "(.*)") * on (where) count_values("where", limit)',
    'max(age) or vector(0)',
    'avg_over_time(max(age)[1h:1m] offset 1d)',
  ])('has no problems: %s', (query) => {
    expect(checkPromql(query, known).problems).toEqual([]);
  });

  it.each([
    { query: 'max(made_up_total) > 1', problem: 'nobody exports made_up_total' },
    { query: '{__name__="made_up_total"}', problem: 'nobody exports made_up_total' },
    { query: 'absent(made_up_total)', problem: 'nobody exports made_up_total' },
    { query: 'age{state="waiting"}', problem: 'no label state in age' },
    { query: 'max by (state) (rate(age[5m]))', problem: 'no label state in rate(age[5m])' },
    { query: 'sum by (job) (max by (queue) (age))', problem: 'no label job in max by (queue) (age)' },
    { query: 'age - on (state) jobs', problem: 'no label state in age - on (state) jobs' },
    {
      query: 'jobs * on (queue) group_left (state) age',
      problem: 'no label state in jobs * on (queue) group_left (state) age',
    },
    {
      query: 'max by (queue) (age) > limit',
      problem: 'sides with labels (queue) and () never match in max by (queue) (age) > limit',
    },
    {
      query: 'histogram_quantile(0.9, seconds_bucket) > on (le) limit',
      problem: expect.stringContaining('no label le in'),
    },
    { query: 'max(age) >', problem: 'does not parse at character 10' },
    { query: 'rate(age[$window])', problem: 'does not parse at character 9' },
  ])('has a problem: $query', ({ query, problem }) => {
    expect(checkPromql(query, known).problems).toContainEqual(problem);
  });

  it.each([
    { query: 'max by (queue) (age)', labels: ['queue'] },
    { query: 'sum without (instance, job) (jobs)', labels: ['queue', 'state'] },
    { query: 'max(age) / 2', labels: [] },
    { query: 'time() - 5', labels: [] },
  ])('leaves labels: $query', ({ query, labels }) => {
    expect([...checkPromql(query, known).labels].toSorted()).toEqual(labels);
  });
});
