import type { RunStatistics } from '../../application/recategorization/ports.ts';
import type { RunCounts, RunState } from '../../domain/run.ts';
import type { Database } from './connection.ts';

/** Dry runs change nothing, so they say nothing of how the nights went. */
const REAL = `NOT (settings->>'dryRun')::boolean`;

/** What became of the newest runs of each name, from the record: the same after a restart, and in every process. */
export function createRunStatistics(database: Database): RunStatistics {
  return {
    async read() {
      const rows = await database.query<{
        name: string;
        state: RunState;
        state_since: Date;
        created_at: Date;
        finished_at: Date | null;
        counts: RunCounts | null;
        last_success: Date | null;
        last_end: Date | null;
      }>(
        `SELECT DISTINCT ON (name) name, state, state_since, created_at, finished_at, counts,
           max(finished_at) FILTER (WHERE state = 'finished') OVER (PARTITION BY name) AS last_success,
           max(finished_at) FILTER (WHERE state IN ('finished', 'finished_with_rejects'))
             OVER (PARTITION BY name) AS last_end
         FROM categorizer.runs WHERE ${REAL} ORDER BY name, created_at DESC`,
      );
      return rows.map((row) => ({
        name: row.name,
        state: row.state,
        stateSince: row.state_since,
        durationSeconds: ((row.finished_at ?? new Date()).getTime() - row.created_at.getTime()) / 1000,
        counts: row.counts ?? undefined,
        lastSuccessAt: row.last_success ?? undefined,
        lastEndAt: row.last_end ?? undefined,
      }));
    },
  };
}
