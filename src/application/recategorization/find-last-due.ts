import type { Calendar, Schedules } from './ports.ts';

/** When each schedule last came due. One that was set since has not come due yet. */
export async function findLastDue(
  { schedules, calendar }: { readonly schedules: Schedules; readonly calendar: Calendar },
  now: Date,
): Promise<readonly { readonly name: string; readonly at: Date }[]> {
  return (await schedules.list()).flatMap(({ name, cron, timeZone, updatedAt }) => {
    const at = calendar.previous(cron, timeZone, now);
    return at >= updatedAt ? [{ name, at }] : [];
  });
}
