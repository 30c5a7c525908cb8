/** Runs and their reports, for a terminal. */
import type { Run, RunReport } from '../application/recategorization/ports.ts';
import { changedRatio, type RunCounts } from '../domain/run.ts';
import { formatCounts, formatFields, formatTable } from './context.ts';

/** Pairs of categories that are shown; all of them are in the HTML report. */
const MOST_PAIRS = 20;

export function formatRuns(runs: readonly Run[]): string {
  const header = ['run', 'state', 'begun', 'products', 'changed', 'added', 'review', 'rejected'];
  const rows = runs.map((run) => {
    const { changed, added, review, rejected, products } = run.counts ?? {};
    const counts = [products, changed, added, review, rejected].map((count) =>
      count === undefined ? '-' : `${count}`,
    );
    return [run.id, describeState(run), timeOf(run.createdAt), ...counts];
  });
  return formatTable([header, ...rows], 3);
}

/** @param previous the run of the same name before it */
export function formatRun(run: Run, report: RunReport | undefined, previous: Run | undefined): string {
  const { id, name, createdAt, model, failure, holds, decidedBy, finishedAt, lockedSince } = run;
  const fields = formatFields({
    run: id,
    name,
    state: `${describeState(run)} since ${timeOf(run.stateSince)}`,
    ...(failure && { failed: `while ${failure.state}: ${failure.code}: ${failure.message}` }),
    ...Object.fromEntries((holds ?? []).map(({ guard, message }) => [`held by ${guard}`, message])),
    ...(decidedBy !== undefined && { 'decided by': decidedBy }),
    model: `${model.version} (${model.sha256.slice(0, 12)})`,
    begun: timeOf(createdAt),
    ...(finishedAt && { ended: `${timeOf(finishedAt)}, after ${secondsBetween(createdAt, finishedAt)} s` }),
    ...(lockedSince && { 'holds the lock': `since ${timeOf(lockedSince)}` }),
  });
  const rejected = report && Object.keys(report.rejectedByCode).length > 0 && formatCounts(report.rejectedByCode);
  const parts = [
    fields,
    formatRunCounts(run, previous),
    rejected && `rejected by code: ${rejected}`,
    report && report.matrix.length > 0 && formatMatrix(report),
  ];
  return parts.filter(Boolean).join('\n\n');
}

function describeState({ state, settings, revertedAt, revertStartedAt }: Run): string {
  const words = [state, ...(settings.dryRun ? ['dry run'] : [])];
  if (revertedAt) words.push('reverted');
  else if (revertStartedAt) words.push('being reverted');
  return words.join(', ');
}

export function timeOf(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

const MEANINGS: Record<keyof RunCounts, string> = {
  products: 'rows of the source',
  skipped: 'the same input as at their last categorization',
  kept: 'categorized, and the same category as before',
  changed: 'another category than before',
  added: 'had no category',
  review: 'the model is unsure: a person is asked, and nothing is changed',
  rejected: 'cannot be categorized',
  decided: 'of the changed and added, what people decided',
};

/** Beside the run before it, where there is one. */
function formatRunCounts({ id, counts }: Run, previous: Run | undefined): string | undefined {
  if (counts?.changed === undefined) return undefined;
  const before = previous?.counts?.changed === undefined ? undefined : previous.counts;
  const names = Object.keys(MEANINGS) as (keyof RunCounts)[];
  const rows = names
    .filter((name) => name !== 'decided' || counts.decided > 0)
    .map((name) => [name, `${counts[name]}`, ...(before ? [`${before[name]}`] : [])]);
  const header = ['', id, ...(before && previous ? [previous.id] : [])];
  const [head, ...lines] = formatTable([header, ...rows], 1).split('\n');
  const share = ` (${(100 * changedRatio(counts)).toFixed(2)} % of the catalogue)`;
  const explained = lines.map((line, i) => `${line}  ${MEANINGS[names[i]]}${names[i] === 'changed' ? share : ''}`);
  return [head, ...explained].join('\n');
}

function formatMatrix({ matrix }: RunReport): string {
  const rows = matrix
    .slice(0, MOST_PAIRS)
    .map(({ from, to, products, meanConfidence }) => [
      from ?? '(none)',
      to,
      `${products}`,
      meanConfidence === null ? '-' : meanConfidence.toFixed(3),
    ]);
  const rest = matrix.length - rows.length;
  return formatTable([['from', 'to', 'products', 'confidence'], ...rows], 2) + (rest > 0 ? `\n… and ${rest} more` : '');
}

function secondsBetween(start: Date, end: Date): string {
  return ((end.getTime() - start.getTime()) / 1000).toFixed(1);
}
