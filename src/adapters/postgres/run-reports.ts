import type { RunReport, RunReports } from '../../application/recategorization/ports.ts';
import type { RunCounts } from '../../domain/run.ts';
import type { Client, Database } from './connection.ts';

/** Pairs of categories that have samples, and samples of each. */
const SAMPLED_PAIRS = 20;
const SAMPLES = 5;
const MORE_SAMPLES = 20;
/** Steps of the histogram of confidences. */
const STEPS = 10;

export function createRunReports(database: Database): RunReports {
  return {
    async create(runId) {
      return database.transaction(async (client) => {
        // The planner knows nothing yet of what was just written.
        await client.query('ANALYZE categorizer.staged, categorizer.rejects');
        const planned = await readPlanned(client, runId);
        const { counts, confidence } = await count(client, runId, planned);
        const matrix = await readMatrix(client);
        const report: RunReport = {
          matrix,
          confidence,
          rejectedByCode: await readRejectedByCode(client, runId),
          samples: await readSamples(client, matrix),
          rejectSamples: await readRejectSamples(client, runId),
          reviewSamples: await readReviewSamples(client),
        };
        await client.query('UPDATE categorizer.runs SET counts = $2, report = $3 WHERE id = $1', [
          runId,
          counts,
          report,
        ]);
        return counts;
      });
    },

    async get(runId) {
      const rows = await database.query<{ report: RunReport | null }>(
        'SELECT report FROM categorizer.runs WHERE id = $1',
        [runId],
      );
      return rows[0]?.report ?? undefined;
    },
  };
}

async function readPlanned(client: Client, runId: string): Promise<Pick<RunCounts, 'products' | 'skipped'>> {
  const { rows } = await client.query<{ products: number; skipped: number }>(
    `SELECT (counts->>'products')::float8 AS products, (counts->>'skipped')::float8 AS skipped
     FROM categorizer.runs WHERE id = $1`,
    [runId],
  );
  return rows[0];
}

async function count(
  client: Client,
  runId: string,
  planned: Pick<RunCounts, 'products' | 'skipped'>,
): Promise<{ counts: RunCounts; confidence: number[] }> {
  // Of nulls least() takes no notice: what a person decided would be among the most confident.
  const steps = Array.from(
    { length: STEPS },
    (_, step) => `count(confidence) FILTER (WHERE least(floor(confidence * ${STEPS}), ${STEPS - 1}) = ${step})::float8`,
  );
  const { rows } = await client.query<Omit<RunCounts, 'products' | 'skipped'> & { confidence: number[] }>(
    `SELECT count(*) FILTER (WHERE review_features IS NULL AND category_code = current_category)::float8 AS kept,
       count(*) FILTER (WHERE review_features IS NULL AND category_code <> current_category)::float8 AS changed,
       count(*) FILTER (WHERE review_features IS NULL AND current_category IS NULL)::float8 AS added,
       count(review_features)::float8 AS review, count(decided_by)::float8 AS decided,
       (SELECT count(*)::float8 FROM categorizer.rejects WHERE run_id = $1) AS rejected,
       ARRAY[${steps.join(', ')}] AS confidence
     FROM categorizer.staged`,
    [runId],
  );
  const [{ confidence, ...counted }] = rows;
  return { counts: { ...planned, ...counted }, confidence };
}

async function readMatrix(client: Client): Promise<RunReport['matrix']> {
  const { rows } = await client.query<RunReport['matrix'][number]>(
    `SELECT current_category AS "from", category_code AS "to", count(*)::float8 AS products,
       avg(confidence)::float8 AS "meanConfidence"
     FROM categorizer.staged WHERE review_features IS NULL
     GROUP BY 1, 2 ORDER BY products DESC, 1, 2`,
  );
  return rows;
}

async function readRejectedByCode(client: Client, runId: string): Promise<Record<string, number>> {
  const { rows } = await client.query<{ code: string; products: number }>(
    'SELECT code, count(*)::float8 AS products FROM categorizer.rejects WHERE run_id = $1 GROUP BY 1 ORDER BY 2 DESC, 1',
    [runId],
  );
  return Object.fromEntries(rows.map(({ code, products }) => [code, products]));
}

/** Of the largest changes; not of what stays as it is. */
async function readSamples(client: Client, matrix: RunReport['matrix']): Promise<RunReport['samples']> {
  const changes = matrix.filter(({ from, to }) => from !== to).slice(0, SAMPLED_PAIRS);
  const samples = [];
  for (const { from, to } of changes) {
    const { rows } = await client.query<{ productId: string; confidence: number | null; decidedBy: string | null }>(
      `SELECT product_id AS "productId", confidence, decided_by AS "decidedBy" FROM categorizer.staged
       WHERE review_features IS NULL AND current_category IS NOT DISTINCT FROM $1 AND category_code = $2 LIMIT $3`,
      [from, to, SAMPLES],
    );
    const products = rows.map(({ decidedBy, ...row }) => ({ ...row, ...(decidedBy !== null && { decidedBy }) }));
    samples.push({ from, to, products });
  }
  return samples;
}

async function readRejectSamples(client: Client, runId: string): Promise<RunReport['rejectSamples']> {
  const { rows } = await client.query<RunReport['rejectSamples'][number]>(
    `SELECT product_id AS "productId", code, message FROM categorizer.rejects WHERE run_id = $1
     ORDER BY code, product_id LIMIT $2`,
    [runId, MORE_SAMPLES],
  );
  return rows;
}

async function readReviewSamples(client: Client): Promise<RunReport['reviewSamples']> {
  const { rows } = await client.query<RunReport['reviewSamples'][number]>(
    `SELECT product_id AS "productId", current_category AS "from", category_code AS "to", confidence
     FROM categorizer.staged WHERE review_features IS NOT NULL ORDER BY confidence, product_id LIMIT $1`,
    [MORE_SAMPLES],
  );
  return rows;
}
