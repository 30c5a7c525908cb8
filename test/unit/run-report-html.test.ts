import { describe, expect, it } from 'vitest';
import type { Run, RunReport } from '../../src/application/recategorization/ports.ts';
import { renderRunReport } from '../../src/cli/run-report-html.ts';
import type { AppliedCounts, RunCounts } from '../../src/domain/run.ts';
import { runSettings } from '../support/recategorization-settings.ts';

type Matrix = RunReport['matrix'];

const NO_COUNTS: RunCounts = {
  products: 0,
  skipped: 0,
  kept: 0,
  changed: 0,
  added: 0,
  review: 0,
  rejected: 0,
  decided: 0,
};
const NOTHING: RunReport = {
  matrix: [],
  confidence: Array(10).fill(0),
  rejectedByCode: {},
  samples: [],
  rejectSamples: [],
  reviewSamples: [],
};

const WRITTEN: AppliedCounts = { written: 0, changed: 0, gone: 0, locked: 0, untouched: 0, excessRows: 0, samples: [] };

function runOf(changes: Partial<Run> = {}): Run {
  return {
    id: 'night-2',
    name: 'nightly',
    state: 'finished',
    stateSince: new Date('2026-11-25T05:04:12Z'),
    settings: runSettings(),
    model: { version: '1.2', sha256: '0123456789abcdef'.repeat(4), categories: ['A', 'B'] },
    createdAt: new Date('2026-11-25T05:00:00Z'),
    finishedAt: new Date('2026-11-25T05:04:12Z'),
    counts: NO_COUNTS,
    ...changes,
  };
}

function render(run: Partial<Run> = {}, report: Partial<RunReport> = {}, previous?: Run): string {
  return renderRunReport({ run: runOf(run), report: { ...NOTHING, ...report }, previous });
}

function pair(from: string | null, to: string, products: number): Matrix[number] {
  return { from, to, products, meanConfidence: 0.9 };
}

/** Each of so many categories keeps most of its products and loses some to the next three, the first ones the most. */
function matrixOf(categories: number): Matrix {
  const codes = Array.from({ length: categories }, (_, i) => `C${String(i).padStart(2, '0')}`);
  const pairs = codes.flatMap((from, i) => [
    pair(from, from, 1000 + i),
    ...[1, 2, 3].map((step) => pair(from, codes[(i + step) % categories], (categories - i) * 10 + step)),
  ]);
  return pairs.sort((a, b) => b.products - a.products);
}

const HELD: Partial<Run> = {
  state: 'awaiting_approval',
  finishedAt: undefined,
  counts: { ...NO_COUNTS, products: 100_000, changed: 64_721, added: 12, kept: 35_267 },
  holds: [
    { guard: 'max-change-ratio', message: '64 % would change' },
    { guard: 'min-products', message: 'too few products' },
  ],
};

/** Of a run and a report in which every text that comes from data is another one of `texts`. */
function hostile(state: 'failed' | 'awaiting_approval'): { page: string; texts: string[] } {
  const texts: string[] = [];
  const evil = (length = 200) => {
    texts.push(`evil${texts.length}</td></script><b onclick="x()">&amp;'`.padEnd(length, 'w').slice(0, length));
    return texts[texts.length - 1];
  };
  const [from, to] = [evil(), evil()];
  const report: Partial<RunReport> = {
    matrix: [pair(from, to, 5), pair(from, from, 3)],
    rejectedByCode: { [evil()]: 1 },
    samples: [{ from, to, products: [{ productId: evil(), confidence: 0.5, decidedBy: evil() }] }],
    rejectSamples: [{ productId: evil(), code: evil(), message: evil() }],
    reviewSamples: [{ productId: evil(), from: evil(), to: evil(), confidence: 0.5 }],
  };
  const place = state === 'failed' ? { sql: evil() } : { table: evil() };
  const source = { ...place, categoryColumn: evil(), idColumn: 'id', featureColumns: ['f'] };
  const run: Partial<Run> = {
    id: evil(),
    name: evil(),
    state,
    ...(state === 'failed' && { failure: { state: 'applying', code: evil(), message: evil() } }),
    holds: [{ guard: 'min-products', message: evil() }],
    decidedBy: evil(),
    model: { version: evil(), sha256: evil(12), categories: [] },
    settings: runSettings({ source, applySql: evil() }),
    applied: {
      ...WRITTEN,
      changed: 1,
      samples: [{ productId: evil(), reason: 'changed', seen: evil(), wanted: evil(), found: evil() }],
    },
  };
  return { page: render(run, report, runOf({ id: evil() })), texts };
}

const PAGES: Record<string, string> = {
  'a run that changes nothing': render(),
  'a run that is held back': render(HELD, { matrix: matrixOf(3), confidence: [0, 0, 0, 0, 0, 0, 5, 0, 0, 9] }, runOf()),
  'a run with 60 categories': render({}, { matrix: matrixOf(60) }),
  'a run that failed with hostile data': hostile('failed').page,
  'a run that is held back with hostile data': hostile('awaiting_approval').page,
};

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };

/** What a person reads. */
function textOf(html: string): string {
  const words = html.replace(/<style>.*<\/style>/s, '').replace(/<[^>]*>/g, ' ');
  return words.replace(/&([a-z]+|#39);/g, (_, name) => ENTITIES[name]).replace(/\s+/g, ' ');
}

function section(page: string, title: string): string {
  return page.split('<section>').find((part) => part.includes(`<h2>${title}</h2>`)) ?? '';
}

/** Rows of cells of the first table of a section. */
function tableOf(page: string, title: string): string[][] {
  const table = section(page, title).split('</table>')[0];
  const rows = table.split('<tr').slice(1);
  return rows.map((row) => [...row.matchAll(/<t[dh].*?<\/t[dh]>/gs)].map(([cell]) => textOf(cell).trim()));
}

function numberOf(cell: string): number {
  return cell === '·' ? 0 : Number(cell.replaceAll(',', ''));
}

describe.each(Object.entries(PAGES))('the page of %s', (_, page) => {
  it('needs nothing else', () => {
    expect(page).not.toMatch(/https?:|\b(src|href)=|@import|url\(|<(script|link|img|iframe|object)\b/i);
  });

  it('closes every tag that it opens, in order', () => {
    const open: string[] = [];
    for (const [, slash, name, self] of page.matchAll(/<(\/?)([a-z][a-z0-9]*)[^>]*?(\/?)>/g)) {
      if (slash) expect(open.pop()).toBe(name);
      else if (!self && name !== 'meta') open.push(name);
    }
    expect(open).toEqual([]);
    expect(page).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(page.replace(/<[a-z/!][^<>]*>/g, '')).not.toMatch(/<|undefined|NaN|\[object/);
  });
});

it.each(['failed', 'awaiting_approval'] as const)(
  'texts from data are on the page as they came, and never in a tag: of a run that is %s',
  (state) => {
    const { page, texts } = hostile(state);
    const text = textOf(page);
    for (const evil of texts) expect(text).toContain(evil.replace(/\s+/g, ' '));
    expect(page.match(/<[^>]*evil[^>]*>/g)).toBeNull();
    expect(page).not.toContain('<b ');
  },
);

describe('the head of the page', () => {
  it('of a run that is held back says why, and with which commands a person decides', () => {
    const text = textOf(PAGES['a run that is held back']);
    expect(text).toContain('Held back: it waits for approval');
    expect(text).toContain('64,721 of 100,000 products (64.72 %) would get another category, and 12 their first.');
    expect(text).toContain('64 % would change too few products');
    expect(text).toContain('categorizer runs approve night-2');
    expect(text).toContain('categorizer runs reject night-2');
    expect(text).toContain('ended not yet');
  });

  it('of a run that was held back and approved still says why, and offers no decision', () => {
    const text = textOf(render({ ...HELD, state: 'finished', decidedBy: 'ana' }));
    expect(text).toContain('It was held back: 64 % would change');
    expect(text).toContain('decided by ana');
    expect(text).toContain('(64.72 %) got another category');
    expect(text).not.toMatch(/runs (approve|reject)/);
  });

  it('of a dry run says that nothing was applied, and that a guard would hold it', () => {
    const text = textOf(render({ ...HELD, state: 'finished', settings: runSettings({ dryRun: true }) }));
    expect(text).toContain('Dry run: nothing was applied');
    expect(text).toContain('a real one would be held back: 64 % would change');
    expect(text).toContain('would get another category');
  });

  it.each(['planned', 'running', 'cancelled', 'failed'] as const)(
    'of a run that is %s never looks applied',
    (state) => {
      const failure = { state: 'running', code: 'MODEL_MISMATCH', message: 'another model' } as const;
      const text = textOf(render({ ...HELD, state, ...(state === 'failed' && { failure }) }));
      expect(text).toMatch(/night-2 \w+( \w+)?: nothing (is|was) applied/);
      expect(text).toContain('would get another category');
    },
  );

  it('of a run that failed says where, why and how it goes on', () => {
    const failure = { state: 'applying', code: 'APPLY_SQL_FAILED', message: 'no such table' } as const;
    const text = textOf(render({ state: 'failed', failure }));
    expect(text).toContain('Failed: a part may be applied');
    expect(text).toContain('while applying: no such table ( APPLY_SQL_FAILED )');
    expect(text).toContain('categorizer runs resume night-2');
  });

  it('of a run that changes nothing says so', () => {
    const page = render({ counts: { ...NO_COUNTS, products: 500, skipped: 500 } });
    expect(textOf(page)).toContain('This run changes nothing: no product gets another category, and none its first.');
    expect(textOf(section(page, 'From which category to which'))).toContain('No product was categorized.');
    expect(textOf(section(page, 'Changes, the largest first'))).toContain('No product gets another category.');
    expect(textOf(section(page, 'How sure the model is'))).toContain('The model was asked about no product.');
    expect(textOf(section(page, 'Rejected'))).toContain('No product was rejected.');
  });

  it('of a reverted run says that first', () => {
    const text = textOf(render({ revertStartedAt: new Date(), revertedAt: new Date('2026-11-26T08:00:00Z') }));
    expect(text).toContain('night-2 Reverted');
    expect(text).toContain('reverted 2026-11-26 08:00:00 UTC');
  });

  it('has the model, and the times in UTC', () => {
    const text = textOf(render());
    expect(text).toContain('name nightly model 1.2 (sha256 0123456789ab )');
    expect(text).toContain('begun 2026-11-25 05:00:00 UTC ended 2026-11-25 05:04:12 UTC, after 4 min 12 s');
  });
});

describe('the counts', () => {
  const counts = { products: 2_000, skipped: 1_500, kept: 300, changed: 50, added: 40, review: 100, rejected: 10 };

  it('stand beside those of the run before it, with the difference', () => {
    const before = runOf({ id: 'night-1', counts: { ...NO_COUNTS, products: 2_000, skipped: 3_000, kept: 299 } });
    const page = render({ counts: { ...counts, decided: 7 } }, {}, before);
    const rows = tableOf(page, 'What becomes of the products').map(([name, ...cells]) => [
      name.split(' ')[0],
      ...cells,
    ]);
    expect(rows).toEqual([
      ['', 'this run', 'share', 'before', 'difference'],
      ['changed', '50', '2.50 %', '0', '+50'],
      ['added', '40', '2.00 %', '0', '+40'],
      ['review', '100', '5.00 %', '0', '+100'],
      ['rejected', '10', '0.50 %', '0', '+10'],
      ['kept', '300', '15.00 %', '299', '+1'],
      ['skipped', '1,500', '75.00 %', '3,000', '−1,500'],
      ['products', '2,000', '100.00 %', '2,000', '±0'],
      ['decided', '7', '0.35 %', '0', '+7'],
    ]);
    expect(textOf(page)).toContain('Before: night-1 , begun 2026-11-25 05:00:00 UTC.');
  });

  it.each([
    { title: 'no run', previous: undefined },
    { title: 'a run that came to no report', previous: runOf({ counts: { products: 7 } as RunCounts }) },
  ])('stand alone after $title', ({ previous }) => {
    const page = render({ counts: { ...counts, decided: 0 } }, {}, previous);
    expect(tableOf(page, 'What becomes of the products')[0]).toEqual(['', 'this run', 'share']);
    expect(textOf(page)).toContain('there is nothing to compare with');
  });

  it.each([undefined, { products: 7, skipped: 0 } as RunCounts])('may not be there yet: %j', (some) => {
    expect(textOf(section(render({ counts: some }), 'What becomes of the products'))).toContain(
      'Nothing is counted yet',
    );
  });
});

describe('the matrix', () => {
  const grid = (matrix: Matrix) => tableOf(render({}, { matrix }), 'From which category to which');

  it('has a row for each category of now, a column for each new one, and those without a category first', () => {
    const matrix = [pair('A', 'A', 1_200), pair('OLD', 'B', 30), pair('A', 'B', 20), pair(null, 'A', 4)];
    expect(grid(matrix)).toEqual([
      ['now ↓ new →', 'A', 'B', 'all'],
      ['(none)', '4', '·', '4'],
      ['A', '1,200', '20', '1,220'],
      ['OLD', '·', '30', '30'],
      ['all', '1,204', '50', '1,254'],
    ]);
  });

  it.each([1, 3, 30, 31, 60])('of %i categories has totals that add up to every categorized product', (categories) => {
    const matrix = [...matrixOf(categories), pair(null, 'C00', 17)];
    const [, ...rows] = grid(matrix).map((cells) => cells.slice(1).map(numberOf));
    const totals = rows[rows.length - 1];
    const sum = (numbers: number[]) => numbers.reduce((x, y) => x + y, 0);
    for (const row of rows) expect(sum(row.slice(0, -1))).toBe(row[row.length - 1]);
    for (const [i, total] of totals.entries()) expect(sum(rows.slice(0, -1).map((row) => row[i]))).toBe(total);
    expect(totals[totals.length - 1]).toBe(sum(matrix.map(({ products }) => products)));
  });

  it('of many categories shows the 30 with the most changes, and says what it sums up', () => {
    const page = PAGES['a run with 60 categories'];
    const [head, ...rows] = tableOf(page, 'From which category to which');
    const shown = [...Array.from({ length: 30 }, (_, i) => `C${String(i).padStart(2, '0')}`), '30 others', 'all'];
    expect(rows.map(([name]) => name)).toEqual(shown);
    expect(head.slice(1)).toEqual(shown);
    expect(textOf(page)).toContain('Shown are the 30 categories with the most changes; 30 others');
    expect(grid(matrixOf(30)).at(-2)?.[0]).toBe('C29');
  });

  it('is as dark as a change is large, and muted where products keep their category', () => {
    const page = render({}, { matrix: [pair('A', 'A', 900), pair('A', 'B', 100), pair('B', 'A', 25)] });
    expect(page).toContain('<td class="n kept">900</td>');
    expect(page).toContain('<td class="n changed" style="--share: 1.00">100</td>');
    expect(page).toContain('<td class="n changed" style="--share: 0.50">25</td>');
  });

  it('keeps a category that is called (none) or is blank apart from no category', () => {
    const names = grid([pair(null, 'A', 1), pair('(none)', 'A', 2), pair('', 'A', 4)]).map(([name]) => name);
    expect(names).toEqual(['now ↓ new →', '(none)', '(blank)', '(none)', 'all']);
  });
});

describe('the changes', () => {
  it('have their mean confidence, and samples with who decided', () => {
    const products = [
      { productId: 'P1', confidence: 0.98765 },
      { productId: 'P2', confidence: null, decidedBy: 'ana' },
    ];
    const matrix = [pair('A', 'A', 50), pair(null, 'B', 30), { ...pair('B', 'A', 10), meanConfidence: null }];
    const samples = [
      { from: 'A', to: 'B', products: [{ productId: 'another', confidence: 0.5 }] },
      { from: null, to: 'B', products },
    ];
    const page = render({}, { matrix, samples });
    expect(tableOf(page, 'Changes, the largest first')).toEqual([
      ['now → new', 'products', 'of all changes', 'mean confidence'],
      ['(none) → B', '30', '75.00 %', '0.900'],
      ['P1 0.988 P2 decided by ana'],
      ['B → A', '10', '25.00 %', '-'],
    ]);
  });

  it('are all on the page; the smaller of many are folded', () => {
    const changes = section(PAGES['a run with 60 categories'], 'Changes, the largest first');
    expect(changes.split('class="pair"')).toHaveLength(181);
    expect(changes.split('<details>')[0].split('class="pair"')).toHaveLength(41);
    expect(changes).toContain('<summary>140 smaller changes, of ');
  });
});

describe('the confidences', () => {
  const confidence = [0, 0, 0, 0, 0, 0, 0, 250, 0, 1_750];

  it('are a picture with its numbers, also for who does not see it', () => {
    const page = render({ settings: runSettings({ reviewBelow: 0.7 }) }, { confidence });
    const picture = section(page, 'How sure the model is');
    expect(picture).toMatch(
      /<desc id="confidence-numbers">0\.0 to 0\.1: 0; .*0\.7 to 0\.8: 250; .*0\.9 to 1\.0: 1,750</,
    );
    expect(picture.match(/<rect /g)).toHaveLength(10);
    expect(picture).toMatch(/<rect [^>]*height="150"\/>\n<text [^>]*>1,750</);
    expect(textOf(picture)).toContain('below 0.7: to review');
    expect(textOf(picture)).toContain('87.50 % of the 2,000 products that the model was asked about');
  });
});

describe('products that are not applied', () => {
  it('to review are counted, and the least sure are named', () => {
    const reviewSamples = [{ productId: 'P1', from: null, to: 'B', confidence: 0.41 }];
    const page = render({ counts: { ...NO_COUNTS, review: 1_234 } }, { reviewSamples });
    expect(tableOf(page, 'To review')[1]).toEqual(['P1', '(none)', 'B', '0.410']);
    expect(textOf(page)).toContain('Below a confidence of 0.5: 1,234 products.');
  });

  it('rejected are counted by code, which is explained, and some are named with the reason', () => {
    const rejectSamples = [
      { productId: 'P1', code: 'WRONG_WIDTH', message: '15 numbers' },
      { productId: null, code: 'INVALID_PRODUCT_ID', message: 'there is none' },
    ];
    const page = render({}, { rejectedByCode: { WRONG_WIDTH: 1_200, constructor: 2 }, rejectSamples });
    expect(tableOf(page, 'Rejected').slice(1)).toEqual([
      ['WRONG_WIDTH', 'The feature vector has not as many numbers as the model expects.', '1,200'],
      ['constructor', '', '2'],
    ]);
    expect(textOf(section(page, 'Rejected'))).toContain(
      'P1 WRONG_WIDTH 15 numbers (none) INVALID_PRODUCT_ID there is none',
    );
  });
});

describe('what was written', () => {
  const counts = { ...NO_COUNTS, products: 100, changed: 10, added: 2 };
  const settings = runSettings({ apply: true });
  const written = (applied: Partial<AppliedCounts>) =>
    render({ counts, settings, applied: { ...WRITTEN, ...applied } });

  it('is told in one sentence where all of it was', () => {
    const page = written({ written: 12 });
    expect(textOf(section(page, 'What was written'))).toContain('12 products have their new category in the ERP.');
    expect(textOf(page)).toContain('10 of 100 products (10.00 %) got another category, and 2 their first.');
  });

  it('is not claimed of what was not, and says why, with some of the products', () => {
    const samples = [
      { productId: 'P1', reason: 'changed', seen: 'A', wanted: 'B', found: 'ANA' },
      { productId: 'P2', reason: 'gone', seen: 'A', wanted: 'B', found: null },
    ] as const;
    const page = written({ written: 8, changed: 1, gone: 1, locked: 1, samples });
    expect(textOf(page)).toContain('were to get another category, and 2 their first. 8 were written, and 3 were not');
    expect(tableOf(page, 'What was written').slice(1)).toEqual([
      ['changed', expect.stringContaining('its change stays'), '1'],
      ['gone', expect.stringContaining('deleted or renumbered'), '1'],
      ['locked', expect.stringContaining('the next run looks at the product again'), '1'],
    ]);
    const text = textOf(section(page, 'What was written'));
    expect(text).toContain('1: people decided meanwhile');
    expect(text).toMatch(/P1 A B ANA changed.* P2 A B \(gone\) gone/);
  });

  it('counts rows that nobody can explain', () => {
    const text = textOf(section(written({ written: 12, excessRows: 3 }), 'What was written'));
    expect(text).toContain('3 rows were touched by the statement beyond the changes');
  });

  it('is no part of a run that has not ended', () => {
    expect(section(render({ counts, settings, state: 'awaiting_approval' }), 'What was written')).toBe('');
  });
});

describe('the settings', () => {
  it.each([
    { title: 'a table', settings: {}, says: 'source erp.products' },
    { title: 'a part of the catalogue', settings: {}, says: 'looked at products whose input changed dry run no' },
    {
      title: 'all of it',
      settings: { full: true, dryRun: true },
      says: 'looked at every product ( --full ) dry run yes',
    },
    {
      title: 'the guards',
      settings: { maxChangeRatio: 0.07, maxRejectRatio: 0.005, minProducts: 90_000 },
      says: 'when more than 7 % change, more than 0.5 % are rejected, or the source has fewer than 90,000 products',
    },
    { title: 'the bound of reviews', settings: { reviewBelow: 0.65 }, says: 'below a confidence of 0.65' },
    {
      title: 'a column that the program writes',
      settings: { apply: true, source: { ...runSettings().source, categoryColumn: 'kind' } },
      says: 'written to the ERP column kind , where it has the category that the run saw ( --apply )',
    },
    { title: 'how long it waits', settings: { lockTimeoutMs: 1500 }, says: 'rows of others waited for 1.5 s' },
    { title: 'how long an older run waits', settings: {}, says: 'rows of others waited for 5 s' },
    { title: 'no statement', settings: {}, says: "the ERP's statement none" },
    {
      title: 'a statement',
      settings: { applySql: 'UPDATE p\n SET c = 1' },
      says: "the ERP's statement UPDATE p SET c = 1",
    },
  ])('name $title', ({ settings, says }) => {
    expect(textOf(section(render({ settings: runSettings(settings) }), 'Settings'))).toContain(says);
  });
});
