/** How the report of a run looks, and how texts and numbers are written in it. */

/** For people who read it in the morning, on a telephone, at night and on paper. */
export const STYLE = `
:root { --text: #1b232e; --muted: #56637a; --page: #fff; --soft: #f1f3f6; --line: #d5dbe3; --alert: #b4470b;
  --alert-soft: #fff4e5; --shade: 217 119 6; --bar: #2f6fd0;
  --changed: #d97706; --added: #2f6fd0; --review: #8b5cf6; --rejected: #b91c1c; --kept: #94a3b8; --skipped: #d5dbe3; }
@media screen { :root { color-scheme: light dark; } }
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e3e8ef; --muted: #a3afbf; --page: #151a21; --soft: #202833; --line: #3a4553; --alert: #f59e4b;
    --alert-soft: #33240f; --bar: #6ea8fe; --added: #6ea8fe; --review: #a78bfa; --rejected: #f87171; --kept: #7b8797;
    --skipped: #3a4553; }
}
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  overflow-wrap: anywhere; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2; }
h2 { margin: 2.75rem 0 .5rem; padding-top: .75rem; font-size: 1.2rem; border-top: 1px solid var(--line); }
p { margin: .25rem 0 .75rem; max-width: 60rem; }
.id { margin: 0 0 .25rem; color: var(--muted); }
.lead { margin-top: .5rem; font-size: 1.15rem; }
.muted, .zero, .kept { color: var(--muted); }
code, pre { font: .875em/1.5 ui-monospace, monospace; white-space: pre-wrap; unicode-bidi: isolate; }
.name, td code { display: inline-block; width: max-content; max-width: 22rem; vertical-align: top; overflow-wrap: anywhere; }
td code, li code { padding: .05em .3em; background: var(--soft); border-radius: 3px; }
pre { margin: 0; }
i { color: var(--muted); }
.alert { margin: 1rem 0; padding: .75rem 1rem; background: var(--alert-soft); border-left: .35rem solid var(--alert); }
.alert :is(p, ul):last-child, .alert dl { margin-bottom: 0; }
.alert ul { margin: .25rem 0 .75rem; padding-left: 1.25rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: .75rem 0; }
dt { color: var(--muted); }
dd { margin: 0; min-width: 0; }
.alert dt { color: inherit; }
.stack { display: flex; height: 1.5rem; margin: .75rem 0; overflow: hidden; border-radius: 4px; }
.stack span { min-width: 3px; }
.stack span, .swatch { background: var(--color); }
.swatch { display: inline-block; width: .7em; height: .7em; margin-right: .5em; border-radius: 2px; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { overflow-wrap: break-word; border-collapse: collapse; font-size: .9rem; line-height: 1.35; }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
thead th { vertical-align: bottom; }
thead > tr > *, tbody:last-of-type > tr:last-child > * { border-bottom-color: var(--muted); }
tfoot > tr:first-child > * { font-weight: 600; }
thead .n { white-space: normal; }
th small { display: block; font-size: .85em; font-weight: normal; color: var(--muted); }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.pair > tr:first-child > * { border-bottom: 0; }
.pair > tr + tr > td { padding-top: 0; }
.pair ul { display: flex; flex-wrap: wrap; gap: .15rem 1.25rem; margin: 0; padding: 0; list-style: none; }
.pair li { overflow-wrap: anywhere; }
th .name { max-width: 14rem; white-space: normal; }
.text { min-width: 12rem; overflow-wrap: anywhere; }
.matrix tbody th, .matrix tfoot th, .matrix thead th:first-child { position: sticky; left: 0; background: var(--page); }
.matrix tbody tr:hover > * { background-color: var(--soft); }
.matrix .changed, .matrix tbody tr:hover > .changed { background-color: rgb(var(--shade) / calc(.1 + .55 * var(--share))); }
.matrix .all { font-weight: 600; }
.matrix .all:last-child { border-left: 1px solid var(--muted); }
.wide { font-size: .8rem; }
.wide :is(th, td) { padding: .25rem .35rem; }
.wide thead .name { width: auto; max-width: none; max-height: 13rem; writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
figure { margin: .75rem 0; max-width: 44rem; }
svg { display: block; width: 100%; height: auto; fill: var(--text); font: 12px system-ui, sans-serif; }
svg rect { fill: var(--bar); }
svg .axis { stroke: var(--muted); }
svg .bound { stroke: var(--alert); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .bound-label { fill: var(--alert); }
details { margin: .75rem 0; }
summary { cursor: pointer; }
@media (max-width: 40rem) {
  table { font-size: .85rem; }
  th, td { padding: .35rem; }
  .alert dl { grid-template-columns: 1fr; }
  .alert dd { margin-bottom: .5rem; }
}
@page { margin: 12mm; }
@page wide { size: A4 landscape; margin: 10mm; }
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2, section > p { break-after: avoid; }
  tr, p, dl, figure, .alert, .pair, .matrix:not(.wide) { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 9pt; }
  .name, td code { max-width: 12rem; }
  section:has(.wide) { page: wide; }
  .wide { font-size: min(8pt, 210pt / var(--columns)); }
  .wide :is(th, td) { padding: 1.5pt 2pt; }
}
`;

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]);
}

/** Markup of a name of any length. */
function nameOf(text: string): string {
  return `<span class="name">${escapeHtml(text)}</span>`;
}

/** Markup; no category, and one of blanks only, look like no name does. */
export function categoryName(code: string | null): string {
  if (code === null) return '<i class="name">(none)</i>';
  return code.trim() === '' ? '<i class="name">(blank)</i>' : nameOf(code);
}

const NUMBER = new Intl.NumberFormat('en-US');

export function formatNumber(value: number): string {
  return NUMBER.format(value);
}

export function formatDifference(value: number): string {
  if (value === 0) return '±0';
  return value > 0 ? `+${formatNumber(value)}` : `−${formatNumber(-value)}`;
}

/** `12.30 %` */
export function formatShare(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(2)} %`;
}

/** Of a model; null where it was not asked. */
export function formatConfidence(confidence: number | null): string {
  return confidence === null ? '-' : confidence.toFixed(3);
}

/** Markup of a cell that holds a number. */
export function cell(text: string): string {
  return `<td class="n">${text}</td>`;
}

/** Markup of the head of a table: columns of texts, then of numbers. */
export function tableHead(texts: readonly string[], numbers: readonly string[]): string {
  const columns = texts.map((text) => (text === '' ? '<td></td>' : `<th scope="col">${text}</th>`));
  return `<thead><tr>${columns.join('')}${numbers.map((text) => `<th scope="col" class="n">${text}</th>`).join('')}</tr></thead>`;
}

/**
 * A wide table scrolls in its own place, not the page, and by the keyboard too.
 *
 * @param label what it is, for who does not see it
 * @param rows markup
 * @param attributes of the table, as markup
 */
export function renderTable(label: string, rows: string, attributes = ''): string {
  return `<div class="scroll" role="region" tabindex="0" aria-label="${label}">
<table${attributes && ` ${attributes}`}>${rows}</table>
</div>`;
}
