import type { Schedule, Schedules } from '../../application/recategorization/ports.ts';
import type { Database } from './connection.ts';

const COLUMNS = 'name, cron, time_zone AS "timeZone", missed, settings, updated_at AS "updatedAt"';

export function createSchedules(database: Database): Schedules {
  return {
    list: () =>
      database.query<Schedule & Record<string, unknown>>(`SELECT ${COLUMNS} FROM categorizer.schedules ORDER BY name`),

    async get(name) {
      const rows = await database.query<Schedule & Record<string, unknown>>(
        `SELECT ${COLUMNS} FROM categorizer.schedules WHERE name = $1`,
        [name],
      );
      return rows[0];
    },

    async set({ name, cron, timeZone, missed, settings }) {
      await database.query(
        `INSERT INTO categorizer.schedules (name, cron, time_zone, missed, settings) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, time_zone = excluded.time_zone,
           missed = excluded.missed, settings = excluded.settings, updated_at = now()`,
        [name, cron, timeZone, missed, settings],
      );
    },

    async remove(name) {
      const rows = await database.query('DELETE FROM categorizer.schedules WHERE name = $1 RETURNING name', [name]);
      return rows.length > 0;
    },
  };
}
