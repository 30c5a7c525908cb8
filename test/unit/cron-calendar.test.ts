import { describe, expect, it } from 'vitest';
import { cronCalendar } from '../../src/adapters/cron/calendar.ts';

const HOURS = 3_600_000;
const FIRST = new Date('2026-01-01T00:00:00Z');
const LAST = new Date('2027-01-01T00:00:00Z');

/** What changes there in the year 2026, and times that it touches. */
const ZONES: { zone: string; times: string[] }[] = [
  // Nothing since 2019.
  { zone: 'America/Sao_Paulo', times: ['02:00'] },
  // 01:00 becomes 02:00 on March 29, and 02:00 becomes 01:00 on October 25.
  { zone: 'Europe/Lisbon', times: ['01:00', '01:30'] },
  // 02:00 becomes 03:00 on March 8, and 02:00 becomes 01:00 on November 1.
  { zone: 'America/New_York', times: ['01:30', '02:30'] },
  // 02:00 becomes 01:30 on April 5, and 02:00 becomes 02:30 on October 4: half an hour.
  { zone: 'Australia/Lord_Howe', times: ['01:45', '02:00', '02:15'] },
  // 24:00 becomes 23:00 on April 4, and 00:00 becomes 01:00 on September 6.
  { zone: 'America/Santiago', times: ['00:00', '23:30'] },
];

const CASES = ZONES.flatMap(({ zone, times }) => times.map((time) => ({ zone, time })));

function cronOf(time: string): string {
  const [hour, minute] = time.split(':').map(Number);
  return `${minute} ${hour} * * *`;
}

/** The local day and time of each, as `2026-03-08 03:00`. */
function localTimes(zone: string, times: readonly Date[]): string[] {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' });
  return times.map((time) => format.format(time));
}

/** As the queue does: each time asked for after the one before. */
function oneByOne(cron: string, zone: string): Date[] {
  const found: Date[] = [];
  for (let at = FIRST; ; ) {
    [at] = cronCalendar.next(cron, zone, at, 1);
    if (at >= LAST) return found;
    found.push(at);
  }
}

function backwards(cron: string, zone: string): Date[] {
  const found: Date[] = [];
  for (let at = LAST; ; ) {
    at = cronCalendar.previous(cron, zone, at);
    if (at <= FIRST) return found.reverse();
    found.push(at);
  }
}

/** All local days of the year that begin and end within it. */
function daysOf(zone: string): string[] {
  const days = Array.from({ length: 365 }, (_, day) => new Date(FIRST.getTime() + (24 * day + 12) * HOURS));
  return localTimes(zone, days)
    .map((time) => time.slice(0, 10))
    .filter((day) => day > '2026-01-01' && day < '2026-12-31');
}

function expectOneEachDay(zone: string, time: string, times: readonly Date[]): void {
  const local = localTimes(zone, times).filter((each) => each > '2026-01-02' && each < '2026-12-31');
  expect(local.map((each) => each.slice(0, 10))).toEqual(daysOf(zone));
  // Two days at most have it at another time: those of a change.
  expect(local.filter((each) => each.slice(11) !== time).length).toBeLessThanOrEqual(1);
}

describe('a time of every day comes once a day in a whole year', () => {
  it.each(CASES)('$time in $zone', ({ zone, time }) => {
    expectOneEachDay(zone, time, cronCalendar.next(cronOf(time), zone, FIRST, 365));
  });

  it.each(CASES)('$time in $zone, asked for one by one', ({ zone, time }) => {
    expectOneEachDay(zone, time, oneByOne(cronOf(time), zone));
  });

  it.each(CASES)('$time in $zone, looking back', ({ zone, time }) => {
    const times = backwards(cronOf(time), zone);
    expectOneEachDay(zone, time, times);
    expect(times).toEqual(oneByOne(cronOf(time), zone));
  });
});

describe('the clocks', () => {
  function around(cron: string, zone: string, after: string, count: number): string[] {
    return cronCalendar.next(cron, zone, new Date(after), count).map((time) => time.toISOString());
  }

  it('where they never change are a fixed time behind UTC', () => {
    expect(around('0 2 * * *', 'America/Sao_Paulo', '2026-10-17T12:00:00Z', 2)).toEqual([
      '2026-10-18T05:00:00.000Z',
      '2026-10-19T05:00:00.000Z',
    ]);
  });

  it('that leave a time out have it when they have changed, on that day', () => {
    // 02:30 does not exist: 03:00 EDT is 07:00 UTC.
    const [before, missing, after] = around('30 2 * * *', 'America/New_York', '2026-03-07T00:00:00Z', 3);
    expect([before, after]).toEqual(['2026-03-07T07:30:00.000Z', '2026-03-09T06:30:00.000Z']);
    expect(missing >= '2026-03-08T07:00:00.000Z' && missing < '2026-03-08T08:00:00.000Z').toBe(true);
  });

  it('that have a time twice have it the first time', () => {
    expect(around('30 1 * * *', 'America/New_York', '2026-10-31T12:00:00Z', 2)).toEqual([
      '2026-11-01T05:30:00.000Z',
      '2026-11-02T06:30:00.000Z',
    ]);
  });

  it('that have a time twice have it no more after the first time', () => {
    // Between the two.
    expect(around('30 1 * * *', 'America/New_York', '2026-11-01T06:00:00Z', 1)).toEqual(['2026-11-02T06:30:00.000Z']);
  });

  it('of a place that is half an hour ahead of others are read too', () => {
    expect(around('30 2 * * 1', 'Asia/Kolkata', '2026-01-01T00:00:00Z', 1)).toEqual(['2026-01-04T21:00:00.000Z']);
  });

  it('that change let no quarter of an hour come twice, nor an hour be left out by day', () => {
    const times = cronCalendar.next('*/15 * * * *', 'America/New_York', new Date('2026-03-07T12:00:00Z'), 96 * 2);
    for (let i = 1; i < times.length; i++) {
      expect(times[i].getTime() - times[i - 1].getTime()).toBe(HOURS / 4);
    }
  });
});

describe('the last time before a moment', () => {
  const lastBefore = (before: string) =>
    cronCalendar.previous('0 2 * * *', 'America/Sao_Paulo', new Date(before)).toISOString();

  it('is that of today when it is past, and that of yesterday before', () => {
    expect(lastBefore('2026-11-25T05:00:00.001Z')).toBe('2026-11-25T05:00:00.000Z');
    expect(lastBefore('2026-11-25T05:00:00.000Z')).toBe('2026-11-24T05:00:00.000Z');
  });

  it('of a schedule of some days is days ago', () => {
    const monday = cronCalendar.previous('0 2 * * 1', 'America/Sao_Paulo', new Date('2026-11-29T12:00:00Z'));
    expect(monday.toISOString()).toBe('2026-11-23T05:00:00.000Z');
  });
});

describe('a cron expression', () => {
  it.each([
    { cron: '0 2 * * *' },
    { cron: '*/5 8-18 * * 1-5' },
    { cron: '0 0 2 * * *' },
    { cron: '0 2 1 * *' },
    { cron: '0 2 * * MON' },
    { cron: '0 2 29 2 *' },
  ])('$cron is understood', ({ cron }) => {
    expect(cronCalendar.problem(cron, 'America/Sao_Paulo')).toBeUndefined();
  });

  it.each([
    { cron: '' },
    { cron: '0 2 * *' },
    { cron: '0 0 2 * * * 2026' },
    { cron: '60 2 * * *' },
    { cron: '0 24 * * *' },
    { cron: 'at two' },
    { cron: '@daily' },
    { cron: '0 2 30 2 *' },
    { cron: '0  2 * * *' },
  ])('"$cron" is refused with a sentence', ({ cron }) => {
    expect(cronCalendar.problem(cron, 'America/Sao_Paulo')).toMatch(/\w+ \w+/);
  });

  it('in a time zone that does not exist is refused, and that is said', () => {
    expect(cronCalendar.problem('0 2 * * *', 'America/Sao Paulo')).toBe(
      'no such time zone: America/Sao Paulo (as in America/Sao_Paulo)',
    );
  });
});
