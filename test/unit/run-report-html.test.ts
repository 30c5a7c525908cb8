import { describe, expect, it } from 'vitest';
import type { Run, RunReport } from '../../src/application/recategorization/ports.ts';
import { type RunReportPage, renderRunReport } from '../../src/cli/run-report-html.ts';
import type { RunCounts } from '../../src/domain/run.ts';

const COUNTS: RunCounts = {
  products: 12_345,
  skipped: 9_000,
  kept: 1_000,
  changed: 1_500,
  added: 800,
  review: 40,
  rejected: 5,
  decided: 2,
};

const REPORT: RunReport = {
  matrix: [
    { from: 'A', to: 'B', products: 1_400, meanConfidence: 0.91 },
    { from: 'A', to: 'A', products: 1_000, meanConfidence: 0.99 },
    { from: null, to: 'A', products: 800, meanConfidence: 0.95 },
    { from: 'B', to: 'A', products: 100, meanConfidence: null },
  ],
  confidence: [0, 0, 0, 0, 0, 0, 40, 100, 200, 3_000],
  rejectedByCode: { WRONG_WIDTH: 5 },
  samples: [{ from: 'B', to: 'A', products: [{ productId: 'SKU-1', confidence: null, decidedBy: 'ana' }] }],
  rejectSamples: [{ productId: null, code: 'INVALID_PRODUCT_ID', message: 'there is no id' }],
  reviewSamples: [{ productId: 'SKU-2', from: 'A', to: 'B', confidence: 0.61 }],
};

function someRun(options: Partial<Run> = {}): Run {
  const at = new Date('2026-11-25T05:00:00Z');
  return {
    id: 'night-2',
    name: 'nightly',
    state: 'finished',
    stateSince: at,
    createdAt: at,
    finishedAt: at,
    model: { version: '7', sha256: 'ab'.repeat(32), categories: ['A', 'B'] },
    counts: COUNTS,
    settings: {
      source: { table: 'erp.products', idColumn: 'product_id', featureColumns: ['features'] },
      full: false,
      dryRun: false,
      maxChangeRatio: 0.1,
      maxRejectRatio: 0.01,
      minProducts: 1,
      reviewBelow: 0.7,
      sliceSize: 8192,
      maxPendingMiB: 256,
    },
    ...options,
  };
}

const render = (page: Partial<RunReportPage> = {}) =>
  renderRunReport({ run: someRun(), report: REPORT, previous: undefined, ...page });

/** The text of each cell, row by row, of the table that follows a heading. */
function tableAfter(html: string, heading: string): string[][] {
  const [table] = html.slice(html.indexOf(`<h2>${heading}</h2>`)).match(/<table>.*?<\/table>/s) ?? [''];
  return [...table.matchAll(/<tr>(.*?)<\/tr>/gs)].map(([, row]) =>
    [...row.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/gs)].map(([, cell]) => cell.replaceAll(/<[^>]+>/g, '')),
  );
}

/** Elements that are opened and not closed, or the other way round. */
function unbalanced(html: string): string[] {
  const open: string[] = [];
  const wrong: string[] = [];
  for (const [, slash, name] of html.matchAll(/<(\/?)([a-z][a-z0-9]*)\b[^>]*>/g)) {
    if (['meta', 'br'].includes(name)) continue;
    if (slash === '') open.push(name);
    else if (open.pop() !== name) wrong.push(name);
  }
  return [...wrong, ...open];
}

describe('the report of a run as a page', () => {
  it('needs nothing else: no address, no script, no file', () => {
    const html = render();
    expect(html).not.toMatch(/https?:|src=|href=|@import|url\(|<script|<link/i);
  });

  it('closes what it opens', () => {
    expect(unbalanced(render())).toEqual([]);
    expect(unbalanced(render({ previous: someRun({ id: 'night-1' }) }))).toEqual([]);
  });

  it('has the rows and columns of the matrix with totals that add up, and what had none last', () => {
    expect(tableAfter(render(), 'From which category to which')).toEqual([
      ['has ↓ gets →', 'A', 'B', 'all'],
      ['A', '1,000', '1,400', '2,400'],
      ['B', '100', '·', '100'],
      ['(none)', '800', '·', '800'],
      ['all', '1,900', '1,400', '3,300'],
    ]);
  });

  it('lists the changes, the largest first, with samples, and not what stays', () => {
    const [, ...rows] = tableAfter(render(), 'The largest changes');
    expect(rows.map(([pair, products]) => [pair, products])).toEqual([
      ['A → B', '1,400'],
      ['(none) → A', '800'],
      ['B → A', '100'],
    ]);
    expect(rows[2][3]).toBe('SKU-1 decided by ana');
  });

  it('compares with the run before it', () => {
    const previous = someRun({ id: 'night-1', counts: { ...COUNTS, changed: 2_000, rejected: 1 } });
    const rows = tableAfter(render({ previous }), 'What became of the products');
    expect(rows[0]).toEqual(['', 'night-2', 'night-1', 'difference', '']);
    expect(rows.find(([name]) => name === 'changed')?.slice(1, 4)).toEqual(['1,500', '2,000', '-500']);
    expect(rows.find(([name]) => name === 'rejected')?.slice(1, 4)).toEqual(['5', '1', '+4']);
  });

  it('says why a run is held back, and the two ways on', () => {
    const run = someRun({
      state: 'awaiting_approval',
      finishedAt: undefined,
      holds: [{ guard: 'max-change-ratio', message: '1500 of 12345 products would change their category' }],
    });
    const html = render({ run });
    expect(html).toContain('<h1>Held back: waits for approval');
    expect(html).toContain('1500 of 12345 products would change their category');
    expect(html).toContain('categorizer runs approve night-2');
    expect(html).toContain('categorizer runs reject night-2');
    expect(render()).not.toContain('runs approve');
  });

  it('never looks applied where it was not', () => {
    const settings = { ...someRun().settings, dryRun: true };
    expect(render({ run: someRun({ settings }) })).toContain('<h1>Dry run: nothing was applied');
    expect(render({ run: someRun({ state: 'cancelled' }) })).toContain('<h1>Cancelled: nothing was applied');
    const failure = { state: 'applying' as const, code: 'APPLY_SQL_FAILED', message: 'no such table' };
    expect(render({ run: someRun({ state: 'failed', failure }) })).toContain(
      'While applying: APPLY_SQL_FAILED: no such table',
    );
  });

  it('says plainly that nothing changes', () => {
    const counts = { ...COUNTS, changed: 0, added: 0 };
    const report = { ...REPORT, matrix: [], samples: [], reviewSamples: [], rejectedByCode: {}, rejectSamples: [] };
    const html = render({ run: someRun({ counts }), report });
    expect(html).toContain('<h1>Applied (no category changes)');
    expect(html).toContain('No product gets another category.');
    expect(html).toContain('No product was rejected.');
    expect(unbalanced(html)).toEqual([]);
  });

  it('shows what is in the data as text, wherever it stands', () => {
    const evil = `<img src=x onerror="alert('1')">&`;
    const run = someRun({
      id: evil,
      name: evil,
      state: 'awaiting_approval',
      decidedBy: evil,
      model: { version: evil, sha256: 'ab', categories: [] },
      holds: [{ guard: 'min-products', message: evil }],
      failure: { state: 'running', code: evil, message: evil },
      settings: { ...someRun().settings, source: { ...someRun().settings.source, table: evil }, applySql: evil },
    });
    const report: RunReport = {
      matrix: [{ from: evil, to: evil + 2, products: 1, meanConfidence: 1 }],
      confidence: [1],
      rejectedByCode: { [evil]: 1 },
      samples: [{ from: evil, to: evil + 2, products: [{ productId: evil, confidence: 1, decidedBy: evil }] }],
      rejectSamples: [{ productId: evil, code: evil, message: evil }],
      reviewSamples: [{ productId: evil, from: evil, to: evil, confidence: 0.1 }],
    };
    const html = renderRunReport({ run, report, previous: someRun({ id: evil }) });
    expect(html).not.toContain('<img');
    expect(html).toContain('&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;');
    expect(unbalanced(html)).toEqual([]);
  });

  it('stays readable with very many categories, and says what is left out', () => {
    const codes = Array.from({ length: 60 }, (_, i) => `C${String(i).padStart(2, '0')}`);
    const matrix = codes.map((from, i) => ({
      from,
      to: codes[(i + 1) % 60],
      products: 1000 - i,
      meanConfidence: 0.9,
    }));
    const html = render({ report: { ...REPORT, matrix } });
    const rows = tableAfter(html, 'From which category to which');
    expect(rows.length).toBeLessThanOrEqual(32);
    expect(rows[1][0]).toBe('C00');
    expect(html).toContain('30 more categories, with fewer changes, are left out');
    expect(tableAfter(html, 'The largest changes')).toHaveLength(61);
  });

  it('draws a bar for each step of the confidence, and has its number', () => {
    const html = render();
    expect(html.match(/<rect /g)).toHaveLength(10);
    const [, ...rows] = tableAfter(html, 'How sure the model is');
    expect(rows[9]).toEqual(['0.9 to 1.0', '3,000']);
  });
});
