import { CronExpressionParser } from 'cron-parser';
import type { Calendar } from '../../application/recategorization/ports.ts';
import { messageOf } from '../../domain/errors.ts';

const DAY_MS = 24 * 3_600_000;

/**
 * The parser reads an expression on clocks that never change; what those times are elsewhere is found here. Asked for
 * times elsewhere, the parser leaves a night out where clocks change at midnight, and fails where they change by half an
 * hour (cron-parser 5.10.6).
 *
 * A time that a change of the clocks leaves out comes at the change, and one that comes twice comes the first time.
 */
export const cronCalendar: Calendar = {
  problem(cron, timeZone) {
    try {
      new Intl.DateTimeFormat('en', { timeZone });
    } catch {
      return `no such time zone: ${timeZone} (as in America/Sao_Paulo)`;
    }
    if (!/^\S+( \S+){4,5}$/.test(cron)) return 'expected five fields: minute hour day-of-month month day-of-week';
    try {
      CronExpressionParser.parse(cron, { tz: 'UTC' }).next();
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  },
  next(cron, timeZone, after, count) {
    const zone = readZone(timeZone);
    const wallTimes = CronExpressionParser.parse(cron, { tz: 'UTC', currentDate: zone.wallTime(after.getTime()) });
    const found: Date[] = [];
    let last = after.getTime();
    while (found.length < count) {
      const at = zone.firstInstant(wallTimes.next().getTime());
      // Several that were left out come at once; and the first of two may be past.
      if (at <= last) continue;
      found.push(new Date(at));
      last = at;
    }
    return found;
  },
  previous(cron, timeZone, before) {
    const zone = readZone(timeZone);
    const end = before.getTime();
    // Where the clocks were set back since yesterday, they showed later times than now before.
    const latest = Math.max(zone.wallTime(end), zone.wallTime(end - DAY_MS) + DAY_MS);
    const wallTimes = CronExpressionParser.parse(cron, { tz: 'UTC', currentDate: latest });
    for (;;) {
      const at = zone.firstInstant(wallTimes.prev().getTime());
      if (at < end) return new Date(at);
    }
  },
};

/** The clocks of a place. What they show is in milliseconds as well, as if they showed UTC. */
function readZone(timeZone: string) {
  const format = new Intl.DateTimeFormat('en', {
    timeZone,
    hourCycle: 'h23',
    ...{ year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' },
  });

  function wallTime(at: number): number {
    const shown: Record<string, number> = {};
    for (const { type, value } of format.formatToParts(at)) shown[type] = Number(value);
    const { year, month, day, hour, minute, second } = shown;
    return Date.UTC(year, month - 1, day, hour, minute, second) + (((at % 1000) + 1000) % 1000);
  }

  /** When the clocks show that time or a later one for the first time. */
  function firstInstant(wall: number): number {
    const offsetAt = (at: number) => wallTime(at) - at;
    const [before, after] = [wall - offsetAt(wall - DAY_MS), wall - offsetAt(wall + DAY_MS)];
    for (const at of [before, after]) if (wallTime(at) === wall) return at;
    // It is left out: the change is between the two.
    let [earlier, later] = [after, before];
    while (later - earlier > 1) {
      const middle = Math.floor((earlier + later) / 2);
      if (wallTime(middle) < wall) earlier = middle;
      else later = middle;
    }
    return later;
  }

  return { wallTime, firstInstant };
}
