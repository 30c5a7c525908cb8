import { CronExpressionParser } from 'cron-parser';
import type { Calendar } from '../../application/recategorization/ports.ts';
import { messageOf } from '../../domain/errors.ts';

/** The parser that BullMQ's job schedulers use, so that what is shown is what happens. */
export const cronCalendar: Calendar = {
  problem(cron, timeZone) {
    try {
      new Intl.DateTimeFormat('en', { timeZone });
    } catch {
      return `no such time zone: ${timeZone} (as in America/Sao_Paulo)`;
    }
    if (!/^\S+( \S+){4,5}$/.test(cron)) return 'expected five fields: minute hour day-of-month month day-of-week';
    try {
      CronExpressionParser.parse(cron, { tz: timeZone }).next();
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  },
  next(cron, timeZone, after, count) {
    const times = CronExpressionParser.parse(cron, { tz: timeZone, currentDate: after });
    return Array.from({ length: count }, () => times.next().toDate());
  },
  previous(cron, timeZone, before) {
    return CronExpressionParser.parse(cron, { tz: timeZone, currentDate: before }).prev().toDate();
  },
};
