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
    ...describeCounts(run.counts, previous),
    ...(report &&
      Object.keys(report.rejectedByCode).length > 0 && { 'rejected by code': formatCounts(report.rejectedByCode) }),
  });
  return report && report.matrix.length > 0 ? `${fields}\n\n${formatMatrix(report)}` : fields;
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

function describeCounts(counts: RunCounts | undefined, previous: Run | undefined): Record<string, string> {
  if (counts?.changed === undefined) return {};
  const before = previous?.counts?.changed === undefined ? undefined : previous.counts;
  const line = (name: keyof RunCounts) => `${counts[name]}${before ? ` (${before[name]} in ${previous?.id})` : ''}`;
  const share = `${(100 * changedRatio(counts)).toFixed(2)} % of the catalogue`;
  return {
    products: line('products'),
    skipped: `${line('skipped')}, same input as before`,
    kept: line('kept'),
    changed: `${line('changed')}, ${share}`,
    added: `${line('added')}, had no category`,
    'to review': line('review'),
    rejected: line('rejected'),
    ...(counts.decided > 0 && { 'by people': `${counts.decided} of the changed and added` }),
  };
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
