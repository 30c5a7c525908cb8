/** The pictures of a report: what becomes of the products, from which category to which, how sure the model is. */
import type { Run, RunReport } from '../application/recategorization/ports.ts';
import type { RunCounts } from '../domain/run.ts';
import {
  categoryName,
  cell,
  escapeHtml,
  formatDifference,
  formatNumber,
  formatShare,
  renderTable,
  tableHead,
} from './run-report-style.ts';
import { timeOf } from './run-text.ts';

/** What adds up to `products`, in the order in which people want to know it. */
const PARTS = ['changed', 'added', 'review', 'rejected', 'kept', 'skipped'] as const satisfies (keyof RunCounts)[];

const MEANINGS: Record<keyof RunCounts, string> = {
  changed: 'another category than before',
  added: 'had no category',
  review: 'the model is unsure: a person is asked, and nothing is changed',
  rejected: 'cannot be categorized',
  kept: 'categorized, and the same category as before',
  skipped: 'the same input as at their last categorization',
  products: 'rows of the source',
  decided: 'of the changed and added: what people decided',
};

/** Counts are whole only from the report on. */
export function wholeCounts(run: Run | undefined): RunCounts | undefined {
  return run?.counts?.changed === undefined ? undefined : run.counts;
}

/** Beside the run before it, where there is one. */
export function renderCounts(run: Run, previous: Run | undefined): string {
  const counts = wholeCounts(run);
  if (!counts) return '<p>Nothing is counted yet.</p>';
  const before = wholeCounts(previous);
  const row = (name: keyof RunCounts, swatch: string) => {
    const beside = before ? cell(formatNumber(before[name])) + cell(formatDifference(counts[name] - before[name])) : '';
    return `<tr><th scope="row">${swatch}${name}<small>${MEANINGS[name]}</small></th>
${cell(formatNumber(counts[name]))}${cell(formatShare(counts[name], counts.products))}${beside}</tr>`;
  };
  const parts = PARTS.map((name) => row(name, `<span class="swatch" style="--color: var(--${name})"></span>`));
  const bar = PARTS.filter((name) => counts[name] > 0).map(
    (name) => `<span style="--color: var(--${name}); flex: ${counts[name]}"></span>`,
  );
  const table = renderTable(
    'What becomes of the products',
    `${tableHead([''], ['this run', 'share', ...(before ? ['before', 'difference'] : [])])}
<tbody>${parts.join('\n')}</tbody>
<tfoot>${row('products', '')}${counts.decided > 0 ? row('decided', '') : ''}</tfoot>`,
  );
  const comparison =
    before && previous
      ? `Before: <strong>${escapeHtml(previous.id)}</strong>, begun ${timeOf(previous.createdAt)}.`
      : 'No run of this name ended well before it: there is nothing to compare with.';
  return `<p class="muted">${comparison}</p>\n<div class="stack" aria-hidden="true">${bar.join('')}</div>\n${table}`;
}

/** With more the matrix cannot be read. */
const MOST_CATEGORIES = 30;
/** With more of them the names of the columns are written upwards. */
const MOST_BROAD_COLUMNS = 6;

type Matrix = RunReport['matrix'];

/** All categories that have no row and column of their own. */
const OTHERS = Symbol('others');
type Place = string | null | typeof OTHERS;

/** Rows: the category that the products have; columns: the one that they get. */
export function renderMatrix(matrix: Matrix): string {
  if (matrix.length === 0) return '<p>No product was categorized.</p>';
  const categories = [...changesByCategory(matrix).keys()];
  const shown = new Set(categories.slice(0, MOST_CATEGORIES));
  const others = categories.length - shown.size;
  const sums = sumByPlace(matrix, shown);
  const places: Place[] = [null, ...[...shown].sort(), OTHERS];
  const from = places.filter((place) => sums.has(place));
  const to = places.filter((place) => [...sums.values()].some((row) => row.has(place)));
  const most = Math.max(...matrix.map((pair) => (pair.from === pair.to ? 0 : pair.products)));

  const title = (place: Place) =>
    place === OTHERS ? `<i class="name">${count(others, 'other')}</i>` : categoryName(place);
  const at = (a: Place, b: Place) => sums.get(a)?.get(b) ?? 0;
  const all = (a: readonly Place[], b: readonly Place[]) =>
    `<td class="n all">${formatNumber(a.flatMap((row) => b.map((column) => at(row, column))).reduce((x, y) => x + y, 0))}</td>`;
  const render = (a: Place, b: Place) => {
    const products = at(a, b);
    if (products === 0) return '<td class="n zero">·</td>';
    if (a === OTHERS || b === OTHERS) return cell(formatNumber(products));
    if (a === b) return `<td class="n kept">${formatNumber(products)}</td>`;
    // The root, as few pairs are large and the small ones should be seen too.
    const share = Math.sqrt(products / most).toFixed(2);
    return `<td class="n changed" style="--share: ${share}">${formatNumber(products)}</td>`;
  };

  const head = to.map((b) => `<th scope="col" class="n">${title(b)}</th>`).join('');
  const rows = from.map(
    (a) => `<tr><th scope="row">${title(a)}</th>${to.map((b) => render(a, b)).join('')}${all([a], to)}</tr>`,
  );
  const totals = to.map((b) => all(from, [b])).join('');
  const table = renderTable(
    'From which category to which',
    `<thead><tr><th>now ↓ new →</th>${head}<th scope="col" class="n all"><span class="name">all</span></th></tr></thead>
<tbody>${rows.join('\n')}</tbody>
<tfoot><tr><th scope="row">all</th>${totals}${all(from, to)}</tr></tfoot>`,
    `class="matrix${to.length > MOST_BROAD_COLUMNS ? ' wide' : ''}" style="--columns: ${to.length + 1}"`,
  );
  return `<p>A row has the products of one category of now, a column those of one new category.
<span class="kept">Grey: they keep it.</span> Shaded: they get another or their first, the more of them the darker.</p>
${others > 0 ? `<p>${describeOthers(matrix, shown, others)}</p>\n` : ''}${table}`;
}

/** How many products come to a category or leave it; the most first. */
function changesByCategory(matrix: Matrix): Map<string, number> {
  const changes = new Map<string, number>();
  for (const { from, to, products } of matrix) {
    for (const code of from === null ? [to] : [from, to]) {
      changes.set(code, (changes.get(code) ?? 0) + (from === to ? 0 : products));
    }
  }
  return new Map([...changes].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)));
}

function sumByPlace(matrix: Matrix, shown: ReadonlySet<string>): Map<Place, Map<Place, number>> {
  const placeOf = (code: string | null): Place => (code === null || shown.has(code) ? code : OTHERS);
  const sums = new Map<Place, Map<Place, number>>();
  for (const { from, to, products } of matrix) {
    const row = sums.get(placeOf(from)) ?? new Map<Place, number>();
    sums.set(placeOf(from), row.set(placeOf(to), (row.get(placeOf(to)) ?? 0) + products));
  }
  return sums;
}

function describeOthers(matrix: Matrix, shown: ReadonlySet<string>, others: number): string {
  const among = matrix.filter(({ from, to }) => from !== null && !shown.has(from) && !shown.has(to));
  const sum = (pairs: Matrix) => formatNumber(pairs.reduce((total, { products }) => total + products, 0));
  const kept = sum(among.filter(({ from, to }) => from === to));
  const changed = sum(among.filter(({ from, to }) => from !== to));
  return `Shown are the ${shown.size} categories with the most changes; ${count(others, 'other')} stand in one row and one
column. Among those, ${kept} products keep their category and ${changed} change it. The list below has every change.`;
}

function count(number: number, noun: string): string {
  return `${formatNumber(number)} ${noun}${number === 1 ? '' : 's'}`;
}

const BAR = { width: 64, gap: 6, height: 150, top: 30, left: 20 };

/** @param reviewBelow a confidence: what is below goes to a person */
export function renderHistogram(steps: readonly number[], reviewBelow: number): string {
  const products = steps.reduce((sum, step) => sum + step, 0);
  if (products === 0) return '<p>The model was asked about no product.</p>';
  const most = Math.max(...steps);
  const bottom = BAR.top + BAR.height;
  const x = (confidence: number) => Number((BAR.left + confidence * steps.length * BAR.width).toFixed(1));
  const label = (step: number) => (step / steps.length).toFixed(1);
  const bars = steps.map((step, i) => {
    const height = step === 0 ? 0 : Math.max(1, Math.round((BAR.height * step) / most));
    const left = x(i / steps.length) + BAR.gap / 2;
    return `<rect x="${left}" y="${bottom - height}" width="${BAR.width - BAR.gap}" height="${height}"/>
<text x="${x((i + 0.5) / steps.length)}" y="${bottom - height - 5}" text-anchor="middle">${formatNumber(step)}</text>`;
  });
  const ticks = Array.from(
    { length: steps.length + 1 },
    (_, i) => `<text x="${x(i / steps.length)}" y="${bottom + 17}" text-anchor="middle">${label(i)}</text>`,
  );
  const bound = `<line class="bound" x1="${x(reviewBelow)}" x2="${x(reviewBelow)}" y1="14" y2="${bottom}"/>
<text class="bound-label" x="${x(reviewBelow) - 5}" y="12" text-anchor="end">below ${reviewBelow}: to review</text>`;
  const numbers = steps.map((step, i) => `${label(i)} to ${label(i + 1)}: ${formatNumber(step)}`).join('; ');
  const sure = steps.at(-1) ?? 0;
  return `<p>${formatShare(sure, products)} of the ${formatNumber(products)} products that the model was asked about have a confidence
of ${label(steps.length - 1)} or more.</p>
<figure>
<svg viewBox="0 0 ${x(1) + BAR.left} ${bottom + 24}" role="img" aria-labelledby="confidence-title confidence-numbers">
<title id="confidence-title">Products by confidence</title><desc id="confidence-numbers">${numbers}</desc>
${bars.join('\n')}
<line class="axis" x1="${x(0)}" x2="${x(1)}" y1="${bottom}" y2="${bottom}"/>
${ticks.join('')}
${reviewBelow > 0 ? bound : ''}
</svg>
</figure>`;
}
