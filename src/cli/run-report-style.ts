/** For people who read it in the morning, on a telephone, at night and on paper. */
export const STYLE = `
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --strong: #c2410c; --bar: #2563eb; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .25rem 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
code, .id { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; }
.id { margin: 0; }
.alert { border-left: .3rem solid var(--strong); background: var(--soft); padding: .5rem 1rem .5rem 1.5rem; margin: 0 0 1rem; }
p.alert { padding-left: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; max-width: 26rem; overflow-wrap: anywhere; }
thead th, tfoot th, tfoot td { border-bottom-width: 2px; }
th { font-weight: 600; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.zero, .kept { opacity: .55; }
.changed { background: color-mix(in srgb, var(--strong) calc(8% + var(--share) * .5), transparent); }
.text { white-space: pre-wrap; }
td ul { margin: 0; padding: 0; list-style: none; }
.bars { width: 100%; height: 9rem; border-bottom: 1px solid var(--line); fill: var(--bar); }
@media print { .scroll { overflow: visible; } section { break-inside: avoid; } details { display: block; } }
`;

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]);
}
