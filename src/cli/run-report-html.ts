/** The report of a run as one HTML page that needs nothing else: no script, no font, no picture from elsewhere. */
import type { Run, RunReport } from '../application/recategorization/ports.ts';
import { changedRatio, type RunCounts } from '../domain/run.ts';
import { escapeHtml as e, STYLE } from './run-report-style.ts';

export interface RunReportPage {
  readonly run: Run;
  readonly report: RunReport;
  /** The run of the same name before it. */
  readonly previous: Run | undefined;
}

/** With more the matrix cannot be read: those with the most changed products are shown. */
const MOST_CATEGORIES = 30;
const NONE = '(none)';

const COUNTS: Record<keyof RunCounts, string> = {
  products: 'products in the catalogue',
  skipped: 'the same input as at their last categorization',
  kept: 'categorized, and the same category as before',
  changed: 'another category than before',
  added: 'had no category',
  review: 'the model is unsure: a person is asked, nothing is changed',
  rejected: 'cannot be categorized',
  decided: 'of the changed and added: decided by people',
};

export function renderRunReport(page: RunReportPage): string {
  const { run, report, previous } = page;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${e(run.id)}: ${e(headline(run))}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header><p class="id">${e(run.id)}</p><h1>${e(headline(run))}</h1>${holdsOf(run)}</header>
${section('What became of the products', countsTable(run, previous))}
${section('From which category to which', matrixOf(report))}
${section('The largest changes', changesOf(report))}
${section('How sure the model is', histogram(report.confidence))}
${section('To review', reviewsOf(report))}
${section('Rejected', rejectsOf(report))}
${section('The run', factsOf(run))}
</main>
</body>
</html>
`;
}

function headline({ state, counts, settings }: Run): string {
  const nothing = counts !== undefined && counts.changed + counts.added === 0;
  const what = nothing ? 'no category changes' : `${number(counts?.changed)} change, ${number(counts?.added)} are new`;
  const words: Record<Run['state'], string> = {
    planned: 'Planned',
    running: 'Under way',
    awaiting_approval: 'Held back: waits for approval',
    applying: 'Being applied',
    finished: settings.dryRun ? 'Dry run: nothing was applied' : 'Applied',
    finished_with_rejects: settings.dryRun ? 'Dry run: nothing was applied' : 'Applied, with rejects',
    cancelled: 'Cancelled: nothing was applied',
    failed: 'Failed',
  };
  return `${words[state]} (${what})`;
}

function holdsOf({ id, state, holds, failure }: Run): string {
  const reasons = (holds ?? []).map(({ message }) => `<li>${e(message)}</li>`).join('');
  const why = failure
    ? `<p class="alert">While ${e(failure.state)}: ${e(failure.code)}: ${e(failure.message)}</p>`
    : '';
  const held = reasons === '' ? '' : `<ul class="alert">${reasons}</ul>`;
  const commands =
    state === 'awaiting_approval'
      ? `<p>To apply it: <code>categorizer runs approve ${e(id)}</code><br>To give it up: <code>categorizer runs reject ${e(id)}</code></p>`
      : '';
  return why + held + commands;
}

function countsTable({ id, counts }: Run, previous: Run | undefined): string {
  if (!counts) return '<p>Nothing was counted yet.</p>';
  const before = previous?.counts?.changed === undefined ? undefined : previous.counts;
  const rows = (Object.keys(COUNTS) as (keyof RunCounts)[]).map((name) => {
    const share = name === 'changed' ? `: ${(100 * changedRatio(counts)).toFixed(2)} % of the catalogue` : '';
    const difference = before ? `${cell(number(before[name]))}${cell(signed(counts[name] - before[name]))}` : '';
    return `<tr><th scope="row">${name}</th>${cell(number(counts[name]))}${difference}<td>${COUNTS[name]}${share}</td></tr>`;
  });
  const head = before && previous ? `<th>${e(previous.id)}</th><th>difference</th>` : '';
  return scrolling(`<thead><tr><th></th><th>${e(id)}</th>${head}<th></th></tr></thead><tbody>${rows.join('')}</tbody>`);
}

/** Rows: what the products have; columns: what they would get. */
function matrixOf({ matrix }: RunReport): string {
  if (matrix.length === 0) return '<p>No product was categorized.</p>';
  const shown = largestCategories(matrix);
  const from = [...shown, null].filter((code) => matrix.some((pair) => pair.from === code));
  const to = shown.filter((code) => matrix.some((pair) => pair.to === code));
  const products = new Map(matrix.map((pair) => [keyOf(pair.from, pair.to), pair.products]));
  const most = Math.max(1, ...matrix.filter((pair) => pair.from !== pair.to).map((pair) => pair.products));
  const sum = (codes: readonly (readonly [string | null, string])[]) =>
    codes.reduce((total, [a, b]) => total + (products.get(keyOf(a, b)) ?? 0), 0);
  const rows = from.map((a) => {
    const cells = to.map((b) => {
      const count = products.get(keyOf(a, b)) ?? 0;
      if (count === 0) return '<td class="n zero">·</td>';
      if (a === b) return `<td class="n kept">${number(count)}</td>`;
      return `<td class="n changed" style="--share:${Math.ceil((100 * count) / most)}%">${number(count)}</td>`;
    });
    return `<tr><th scope="row">${e(a ?? NONE)}</th>${cells.join('')}${cell(number(sum(to.map((b) => [a, b]))))}</tr>`;
  });
  const head = to.map((code) => `<th scope="col">${e(code)}</th>`).join('');
  const totals = to.map((b) => cell(number(sum(from.map((a) => [a, b]))))).join('');
  const all = cell(number(sum(from.flatMap((a) => to.map((b) => [a, b] as const)))));
  const categories = new Set(matrix.flatMap(({ from, to }) => (from === null ? [to] : [from, to])));
  const left = categories.size - shown.length;
  const note = left > 0 ? `<p>${left} more categories, with fewer changes, are left out of this table.</p>` : '';
  return `${scrolling(
    `<thead><tr><th>has ↓ gets →</th>${head}<th>all</th></tr></thead><tbody>${rows.join('')}</tbody><tfoot><tr><th scope="row">all</th>${totals}${all}</tr></tfoot>`,
  )}${note}`;
}

function largestCategories(matrix: RunReport['matrix']): string[] {
  const changes = new Map<string, number>();
  for (const { from, to, products } of matrix) {
    const weight = from === to ? 0 : products;
    for (const code of from === null ? [to] : [from, to]) changes.set(code, (changes.get(code) ?? 0) + weight);
  }
  const sorted = [...changes].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).map(([code]) => code);
  return sorted.slice(0, MOST_CATEGORIES).sort();
}

function changesOf({ matrix, samples }: RunReport): string {
  const changes = matrix.filter(({ from, to }) => from !== to);
  if (changes.length === 0) return '<p>No product gets another category.</p>';
  const rows = changes.map(({ from, to, products, meanConfidence }) => {
    const some = samples.find((sample) => sample.from === from && sample.to === to)?.products ?? [];
    const names = some.map(({ productId, confidence, decidedBy }) => {
      const who = decidedBy === undefined ? ratio(confidence) : `decided by ${decidedBy}`;
      return `<li><code>${e(productId)}</code> ${e(who)}</li>`;
    });
    return `<tr><td>${e(from ?? NONE)} → ${e(to)}</td>${cell(number(products))}${cell(ratio(meanConfidence))}<td><ul>${names.join('')}</ul></td></tr>`;
  });
  const head = '<thead><tr><th>from → to</th><th>products</th><th>confidence</th><th>some of them</th></tr></thead>';
  return scrolling(`${head}<tbody>${rows.join('')}</tbody>`);
}

function histogram(steps: readonly number[]): string {
  const most = Math.max(1, ...steps);
  const width = 100 / steps.length;
  const label = (step: number) => (step / steps.length).toFixed(1);
  const bars = steps.map((count, step) => {
    const height = (100 * count) / most;
    return `<rect x="${step * width + 0.5}%" y="${100 - height}%" width="${width - 1}%" height="${height}%"><title>${label(step)} to ${label(step + 1)}: ${number(count)}</title></rect>`;
  });
  const rows = steps.map(
    (count, step) => `<tr><th scope="row">${label(step)} to ${label(step + 1)}</th>${cell(number(count))}</tr>`,
  );
  return `<svg class="bars" role="img" aria-label="Products by confidence; the table below has the numbers">${bars.join('')}</svg>
<details><summary>The numbers</summary>${scrolling(`<thead><tr><th>confidence</th><th>products</th></tr></thead><tbody>${rows.join('')}</tbody>`)}</details>`;
}

function reviewsOf({ reviewSamples }: RunReport): string {
  if (reviewSamples.length === 0) return '<p>The model is sure of every product.</p>';
  const rows = reviewSamples.map(
    ({ productId, from, to, confidence }) =>
      `<tr><td><code>${e(productId)}</code></td><td>${e(from ?? NONE)}</td><td>${e(to)}</td>${cell(ratio(confidence))}</tr>`,
  );
  const head = '<thead><tr><th>product</th><th>has</th><th>proposed</th><th>confidence</th></tr></thead>';
  return `<p>The least sure first.</p>${scrolling(`${head}<tbody>${rows.join('')}</tbody>`)}`;
}

function rejectsOf({ rejectedByCode, rejectSamples }: RunReport): string {
  const codes = Object.entries(rejectedByCode);
  if (codes.length === 0) return '<p>No product was rejected.</p>';
  const totals = codes.map(([code, count]) => `<li><code>${e(code)}</code> ${number(count)}</li>`);
  const rows = rejectSamples.map(
    ({ productId, code, message }) =>
      `<tr><td><code>${e(productId ?? NONE)}</code></td><td>${e(code)}</td><td>${e(message)}</td></tr>`,
  );
  const head = '<thead><tr><th>product</th><th>code</th><th>why</th></tr></thead>';
  return `<ul>${totals.join('')}</ul>${scrolling(`${head}<tbody>${rows.join('')}</tbody>`)}`;
}

function factsOf({ name, model, createdAt, finishedAt, decidedBy, settings, revertedAt }: Run): string {
  const { source, maxChangeRatio, maxRejectRatio, minProducts, reviewBelow, full, dryRun, applySql } = settings;
  const facts: Record<string, string | undefined> = {
    schedule: name,
    model: `${model.version}, sha256 ${model.sha256.slice(0, 12)}`,
    begun: utc(createdAt),
    ended: finishedAt && utc(finishedAt),
    reverted: revertedAt && utc(revertedAt),
    'decided by': decidedBy,
    source: source.table ?? source.sql,
    'what is looked at': full ? 'every product' : 'products whose input changed',
    'dry run': dryRun ? 'yes' : undefined,
    guards: `at most ${ratio(maxChangeRatio)} changed, at most ${ratio(maxRejectRatio)} rejected, at least ${number(minProducts)} products`,
    'review below': ratio(reviewBelow),
    'statement of the ERP': applySql,
  };
  const rows = Object.entries(facts)
    .filter(([, fact]) => fact !== undefined)
    .map(([what, fact]) => `<tr><th scope="row">${what}</th><td class="text">${e(fact ?? '')}</td></tr>`);
  return scrolling(`<tbody>${rows.join('')}</tbody>`);
}

function section(title: string, content: string): string {
  return `<section><h2>${title}</h2>${content}</section>`;
}

/** A wide table scrolls in its own place, not the page. */
function scrolling(rows: string): string {
  return `<div class="scroll"><table>${rows}</table></div>`;
}

function cell(text: string): string {
  return `<td class="n">${text}</td>`;
}

function keyOf(from: string | null, to: string): string {
  return JSON.stringify([from, to]);
}

function number(value: number | undefined): string {
  return value === undefined ? '-' : value.toLocaleString('en-US');
}

function signed(value: number): string {
  return value > 0 ? `+${number(value)}` : number(value);
}

function ratio(value: number | null): string {
  return value === null ? '-' : String(Number(value.toFixed(3)));
}

function utc(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
