/** Runs and their reports, for a terminal. */
import type { RevertCounts, Run, RunReport } from '../application/recategorization/ports.ts';
import {
  type AppliedCounts,
  changedRatio,
  countUnwritten,
  type RunCounts,
  UNWRITTEN_REASONS,
  type UnwrittenReason,
  writesToErp,
} from '../domain/run.ts';
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
    formatApplied(run),
    rejected && `rejected by code: ${rejected}`,
    report && report.matrix.length > 0 && formatMatrix(report),
  ];
  return parts.filter(Boolean).join('\n\n');
}

function describeState({ state, settings, revertedAt, revertStartedAt, lockedSince }: Run): string {
  const words = [state, ...(settings.dryRun ? ['dry run'] : [])];
  if (revertedAt) words.push('reverted');
  else if (revertStartedAt) words.push(lockedSince ? 'being reverted' : 'reverted in part');
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

export const DECIDED_MEANWHILE = 'people decided meanwhile: their word is applied in the next run';
export const EXCESS_ROWS =
  'touched by the statement beyond the changes; with --category-column it can be seen what they are';

/** Those that occur. */
export function unwrittenReasons(applied: AppliedCounts): UnwrittenReason[] {
  return (Object.keys(UNWRITTEN_REASONS) as UnwrittenReason[]).filter((reason) => applied[reason] > 0);
}

/** What a decision held back between plan and apply: neither written nor refused. */
export function countDecidedMeanwhile({ changed, added }: RunCounts, applied: AppliedCounts): number {
  return Math.max(0, changed + added - applied.written - countUnwritten(applied));
}

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

/** What became of the changes, where they were to be written. */
function formatApplied({ counts, settings, applied }: Run): string | undefined {
  if (!applied || !counts || !(writesToErp(settings) || countUnwritten(applied) > 0)) return undefined;
  const decided = countDecidedMeanwhile(counts, applied);
  const rows: [string, number, string][] = [
    ['written', applied.written, 'have their new category in the ERP'],
    ...(countUnwritten(applied) > 0 ? [['not written', countUnwritten(applied), ''] as [string, number, string]] : []),
    ...unwrittenReasons(applied).map((reason): [string, number, string] => [
      `  ${reason}`,
      applied[reason],
      UNWRITTEN_REASONS[reason],
    ]),
    ...(decided > 0 ? [['decided', decided, DECIDED_MEANWHILE] as [string, number, string]] : []),
    ...(applied.excessRows > 0 ? [['more rows', applied.excessRows, EXCESS_ROWS] as [string, number, string]] : []),
  ];
  const lines = formatTable(
    rows.map(([name, products]) => [name, `${products}`]),
    1,
  ).split('\n');
  return lines.map((line, i) => `${line}  ${rows[i][2]}`.trimEnd()).join('\n');
}

export function formatRevert(id: string, { restored, kept, locked = 0, untouched = 0 }: RevertCounts): string {
  return formatFields({
    run: id,
    restored,
    'left as they are': `${kept}: changed since, or decided by people`,
    ...(locked > 0 && { locked: `${locked}: others hold their rows; categorizer runs revert ${id} tries them again` }),
    ...(untouched > 0 && { 'not written': `${untouched}: a trigger, a policy or the statement left their rows alone` }),
  });
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
