/** The report of a run as one HTML page that needs nothing else: no script, no font, no picture from elsewhere. */
import type { Run, RunReport } from '../application/recategorization/ports.ts';
import { ERROR_CODES, REJECT_CODES } from '../domain/errors.ts';
import {
  type AppliedCounts,
  countUnwritten,
  DEFAULT_LOCK_TIMEOUT_MS,
  type RunSettings,
  UNWRITTEN_REASONS,
  writesToErp,
} from '../domain/run.ts';
import { renderCounts, renderHistogram, renderMatrix, wholeCounts } from './run-report-charts.ts';
import {
  categoryName,
  cell,
  escapeHtml as e,
  formatConfidence,
  formatNumber,
  formatShare,
  renderTable,
  STYLE,
  tableHead,
} from './run-report-style.ts';
import { countDecidedMeanwhile, DECIDED_MEANWHILE, EXCESS_ROWS, timeOf, unwrittenReasons } from './run-text.ts';

export interface RunReportPage {
  readonly run: Run;
  readonly report: RunReport;
  /** The run of the same name before it. */
  readonly previous: Run | undefined;
}

/** So many changes are seen at once; the rest unfolds. */
const MOST_CHANGES = 40;

export function renderRunReport({ run, report, previous }: RunReportPage): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${headline(run)} - ${e(run.id)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header>
<p class="id">Recategorization <strong>${e(run.id)}</strong></p>
<h1>${headline(run)}</h1>
<p class="lead">${summary(run)}</p>
${[renderFailure(run), renderHolds(run)].filter(Boolean).join('\n')}
${renderFacts(run)}
</header>
${section('What becomes of the products', renderCounts(run, previous))}
${run.applied ? section('What was written', renderApplied(run, run.applied)) : ''}
${section('From which category to which', renderMatrix(report.matrix))}
${section('Changes, the largest first', renderChanges(report))}
${section('How sure the model is', renderHistogram(report.confidence, run.settings.reviewBelow))}
${section('To review', renderReviews(run, report))}
${section('Rejected', renderRejects(report))}
${section('Settings', renderSettings(run.settings))}
</main>
</body>
</html>
`;
}

function section(title: string, content: string): string {
  return `<section>\n<h2>${title}</h2>\n${content}\n</section>`;
}

function headline({ state, settings, failure, revertStartedAt, revertedAt }: Run): string {
  if (revertedAt) return 'Reverted';
  if (revertStartedAt) return 'Being reverted';
  if (settings.dryRun && (state === 'finished' || state === 'finished_with_rejects')) {
    return 'Dry run: nothing was applied';
  }
  const words: Record<Run['state'], string> = {
    planned: 'Planned: nothing is applied yet',
    running: 'Under way: nothing is applied yet',
    awaiting_approval: 'Held back: it waits for approval',
    applying: 'It is being applied',
    finished: 'Applied',
    finished_with_rejects: 'Applied; some products were rejected or not written',
    cancelled: 'Cancelled: nothing was applied',
    failed: failure?.state === 'applying' ? 'Failed: a part may be applied' : 'Failed: nothing was applied',
  };
  return words[state];
}

function summary(run: Run): string {
  const counts = wholeCounts(run);
  if (!counts) return 'Nothing is counted yet.';
  const { products, changed, added } = counts;
  if (changed + added === 0) return 'This run changes nothing: no product gets another category, and none its first.';
  const share = `${formatNumber(changed)} of ${formatNumber(products)} products (${formatShare(changed, products)})`;
  const first = added === 0 ? '' : `, and ${formatNumber(added)} their first`;
  const done = !run.settings.dryRun && (run.state === 'finished' || run.state === 'finished_with_rejects');
  const unwritten = run.applied ? countUnwritten(run.applied) : 0;
  if (run.applied && unwritten > 0) {
    return `${share} were to get another category${first}. ${formatNumber(run.applied.written)} were written, and ${formatNumber(unwritten)} were not: see what was written.`;
  }
  const get = run.state === 'applying' ? 'get' : 'would get';
  return `${share} ${done ? 'got' : get} another category${first}.`;
}

function renderFailure({ id, state, failure }: Run): string {
  if (state !== 'failed' || !failure) return '';
  return `<div class="alert">
<p><strong>It failed</strong> while ${e(failure.state)}: ${e(failure.message)} (<code>${e(failure.code)}</code>)</p>
<p>When that is mended it goes on with: <code>categorizer runs resume ${e(id)}</code></p>
</div>`;
}

function renderHolds({ id, state, settings, holds = [] }: Run): string {
  const waits = state === 'awaiting_approval';
  if (!waits && holds.length === 0) return '';
  const was = settings.dryRun ? 'This is a dry run; a real one would be held back:' : 'It was held back:';
  const reasons = holds.map(({ message }) => `<li>${e(message)}</li>`).join('');
  const decide = `<p>Nothing is applied yet, and no other run begins before somebody decides:</p>
<dl>
<dt>apply it</dt><dd><code>categorizer runs approve ${e(id)}</code></dd>
<dt>give it up, and change nothing</dt><dd><code>categorizer runs reject ${e(id)}</code></dd>
</dl>`;
  return `<div class="alert">
<p><strong>${waits ? 'Why it is held back:' : was}</strong></p>
<ul>${reasons || '<li>no reason was recorded</li>'}</ul>
${waits ? decide : ''}
</div>`;
}

function renderFacts({ name, model, createdAt, finishedAt, decidedBy, revertedAt }: Run): string {
  return renderFields({
    name: e(name),
    model: `${e(model.version)} <span class="muted">(sha256 <code>${e(model.sha256.slice(0, 12))}</code>)</span>`,
    begun: timeOf(createdAt),
    ended: finishedAt ? `${timeOf(finishedAt)}, after ${durationBetween(createdAt, finishedAt)}` : 'not yet',
    'decided by': decidedBy === undefined ? undefined : e(decidedBy),
    reverted: revertedAt && timeOf(revertedAt),
  });
}

/** @param fields markup */
function renderFields(fields: Readonly<Record<string, string | undefined>>): string {
  const known = Object.entries(fields).filter(([, value]) => value !== undefined);
  return `<dl>\n${known.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join('\n')}\n</dl>`;
}

function renderChanges({ matrix, samples }: RunReport): string {
  const changes = matrix.filter(({ from, to }) => from !== to);
  if (changes.length === 0) return '<p>No product gets another category.</p>';
  const all = changes.reduce((sum, { products }) => sum + products, 0);
  const pairs = changes.map(({ from, to, products, meanConfidence }) => {
    const numbers = [formatNumber(products), formatShare(products, all), formatConfidence(meanConfidence)];
    const sampled = samples.find((sample) => sample.from === from && sample.to === to)?.products ?? [];
    const list = sampled.map((product) => `<li><code>${e(product.productId)}</code> ${describeAnswer(product)}</li>`);
    const some = list.length === 0 ? '' : `\n<tr><td colspan="4"><ul>${list.join('')}</ul></td></tr>`;
    return `<tbody class="pair">
<tr><td>${categoryName(from)} → ${categoryName(to)}</td>${numbers.map(cell).join('')}</tr>${some}
</tbody>`;
  });
  const head = tableHead(['now → new'], ['products', 'of all changes', 'mean confidence']);
  const largest = renderTable('The largest changes', head + pairs.slice(0, MOST_CHANGES).join('\n'));
  const smaller = changes.slice(MOST_CHANGES);
  if (smaller.length === 0) return largest;
  const products = formatNumber(smaller.reduce((sum, change) => sum + change.products, 0));
  return `${largest}
<details><summary>${formatNumber(smaller.length)} smaller changes, of ${products} products together</summary>
${renderTable('Smaller changes', head + pairs.slice(MOST_CHANGES).join('\n'))}
</details>`;
}

function describeAnswer({ confidence, decidedBy }: { confidence: number | null; decidedBy?: string }): string {
  const decided = decidedBy === undefined ? [] : [`decided by ${e(decidedBy)}`];
  return [...(confidence === null ? [] : [formatConfidence(confidence)]), ...decided].join(', ');
}

function renderReviews({ counts, settings }: Run, { reviewSamples }: RunReport): string {
  if (reviewSamples.length === 0) return '<p>There is nothing to review.</p>';
  const rows = reviewSamples.map(
    ({ productId, from, to, confidence }) =>
      `<tr><td><code>${e(productId)}</code></td><td>${categoryName(from)}</td><td>${categoryName(to)}</td>${cell(formatConfidence(confidence))}</tr>`,
  );
  const products = counts?.review === undefined ? '' : `: ${formatNumber(counts.review)} products`;
  return `<p>Below a confidence of ${settings.reviewBelow}${products}. They stay as they are until a person decides, in
<code>categorizer review list</code>. The least sure first:</p>
${renderTable('Products to review', `${tableHead(['product', 'now', 'proposed'], ['confidence'])}<tbody>${rows.join('\n')}</tbody>`)}`;
}

function renderApplied({ counts, settings }: Run, applied: AppliedCounts): string {
  const unwritten = countUnwritten(applied);
  const decided = counts ? countDecidedMeanwhile(counts, applied) : 0;
  const place = writesToErp(settings) ? 'in the ERP' : 'in the record of this program; nothing is written to the ERP';
  const sentences = [
    `<p>${formatNumber(applied.written)} products have their new category ${place}.</p>`,
    ...(decided > 0 ? [`<p>${formatNumber(decided)}: ${DECIDED_MEANWHILE}.</p>`] : []),
    ...(applied.excessRows > 0 ? [`<p>${formatNumber(applied.excessRows)} rows were ${e(EXCESS_ROWS)}.</p>`] : []),
  ];
  if (unwritten === 0) return sentences.join('\n');
  const totals = unwrittenReasons(applied).map(
    (reason) =>
      `<tr><td>${reason}</td><td>${UNWRITTEN_REASONS[reason]}</td>${cell(formatNumber(applied[reason]))}</tr>`,
  );
  const samples = applied.samples.map(
    ({ productId, reason, seen, wanted, found }) =>
      `<tr><td><code>${e(productId)}</code></td><td>${categoryName(seen)}</td><td>${categoryName(wanted)}</td>
<td>${reason === 'gone' ? '<i>(gone)</i>' : categoryName(found)}</td><td>${reason}</td></tr>`,
  );
  const byReason = `${tableHead(['not written', 'why'], ['products'])}<tbody>${totals.join('\n')}</tbody>`;
  const head = tableHead(['product', 'the run saw', 'was to be', 'the ERP has', 'why'], []);
  return `${sentences.join('\n')}
${renderTable('Products that were not written', byReason)}
<p>Some of them:</p>
${renderTable('Some of the products that were not written', `${head}<tbody>${samples.join('\n')}</tbody>`)}`;
}

function renderRejects({ rejectedByCode, rejectSamples }: RunReport): string {
  const codes = Object.entries(rejectedByCode);
  if (codes.length === 0) return '<p>No product was rejected.</p>';
  const explained = new Map<string, string>(Object.entries({ ...REJECT_CODES, ...ERROR_CODES }));
  const totals = codes.map(
    ([code, products]) =>
      `<tr><td><code>${e(code)}</code></td><td>${e(explained.get(code) ?? '')}</td>${cell(formatNumber(products))}</tr>`,
  );
  const samples = rejectSamples.map(({ productId, code, message }) => {
    const id = productId === null ? '<i>(none)</i>' : `<code>${e(productId)}</code>`;
    return `<tr><td>${id}</td><td><code>${e(code)}</code></td><td class="text">${e(message)}</td></tr>`;
  });
  const byCode = `${tableHead(['code', 'what is wrong'], ['products'])}<tbody>${totals.join('\n')}</tbody>`;
  const some = `${tableHead(['product', 'code', 'why'], [])}<tbody>${samples.join('\n')}</tbody>`;
  return `${renderTable('Rejected products by code', byCode)}
<p>Some of them:</p>
${renderTable('Some of the rejected products', some)}`;
}

function renderSettings(settings: RunSettings): string {
  const { source, maxChangeRatio, maxRejectRatio, minProducts, reviewBelow, full, dryRun, apply, applySql } = settings;
  const lockTimeout = (settings.lockTimeoutMs ?? DEFAULT_LOCK_TIMEOUT_MS) / 1000;
  const from = source.table === undefined ? `<pre>${e(source.sql ?? '')}</pre>` : `<code>${e(source.table)}</code>`;
  return renderFields({
    source: from,
    'present category': source.categoryColumn && `column <code>${e(source.categoryColumn)}</code>`,
    'looked at': full ? 'every product (<code>--full</code>)' : 'products whose input changed',
    'dry run': dryRun ? 'yes: it ends with this report' : 'no',
    'held back': `when more than ${formatRatio(maxChangeRatio)} change, more than ${formatRatio(maxRejectRatio)} are rejected, or the source
has fewer than ${formatNumber(minProducts)} products`,
    'to review': `below a confidence of ${reviewBelow}`,
    ...(apply && {
      'written to the ERP': `column <code>${e(source.categoryColumn ?? '')}</code>, where it has the category that the run
saw (<code>--apply</code>)`,
    }),
    'rows of others': `waited for ${lockTimeout} s`,
    "the ERP's statement": applySql === undefined ? 'none' : `<pre>${e(applySql)}</pre>`,
  });
}

/** `2.5 %` */
function formatRatio(ratio: number): string {
  return `${Number((100 * ratio).toPrecision(6))} %`;
}

function durationBetween(start: Date, end: Date): string {
  const seconds = Math.round((end.getTime() - start.getTime()) / 1000);
  const minutes = Math.floor(seconds / 60);
  if (minutes === 0) return `${seconds} s`;
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
