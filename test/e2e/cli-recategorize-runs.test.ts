import { beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { createWorkspace } from '../support/cli-workspace.ts';
import { type Nightly, openNightly, runNight } from '../support/nightly-commands.ts';
import { createErpTemplate, type ErpTemplate } from '../support/nightly-erp.ts';
import type { CliResult } from '../support/processes.ts';
import { makeProducts, WIDTH } from '../support/products.ts';

const PRODUCTS = makeProducts(200);
const constant = (productId: string, value: number, width = WIDTH) => ({
  productId,
  features: Array<number>(width).fill(value),
});
/** Three that cannot be read as products, and one that only the model cannot do. */
const BAD = [constant('narrow', 1, 2), constant('nan', Number.NaN), constant('none', 0, 0), constant('beyond', 3e38)];
/** The model does not know this one well; and a name that would be a part of a page. */
const UNSURE = constant('unsure', 1.1);
const ODD = { ...PRODUCTS[1], productId: '<b>odd</b> & "quoted"' };

/** After a first night of good products, and a second one with these besides. */
let template: ErpTemplate;
let second: CliResult;
let night: Nightly;

beforeAll(async () => {
  template = await createErpTemplate(inject('postgresUrl'), async (erp) => {
    await erp.put(PRODUCTS);
    await runNight(erp, 'night-1');
    await erp.put([...BAD, UNSURE, ODD]);
    second = await runNight(erp, 'night-2', '--max-reject-ratio', '0.05');
  });
  return () => template.drop();
});
beforeEach(async () => {
  night = openNightly(await template.copy());
});

const COUNTS = { products: 206, skipped: 200, kept: 0, changed: 0, added: 1, review: 1, rejected: 4, decided: 0 };

describe('a night with products that cannot be categorized', () => {
  it('ends with 3, as finished_with_rejects, counts them, and does the rest', async () => {
    expect(second.stdout).toMatch(/^state +finished_with_rejects since /m);
    expect(second.stdout).toMatch(/^rejected +4 +0 /m);
    expect(second.stdout).toMatch(/^rejected by code: WRONG_WIDTH 2, (NON_FINITE_FEATURE|PREDICTION_FAILED) 1, /m);
    expect(second.code).toBe(3);
    const rejects = await night.erp.rows('SELECT product_id, code FROM categorizer.rejects ORDER BY product_id');
    expect(rejects.map(({ product_id, code }) => [product_id, code])).toEqual([
      ['beyond', 'PREDICTION_FAILED'],
      ['nan', 'NON_FINITE_FEATURE'],
      ['narrow', 'WRONG_WIDTH'],
      ['none', 'WRONG_WIDTH'],
    ]);
    const recorded = await night.erp.recorded();
    expect(recorded.get(ODD.productId)).toBe(recorded.get(PRODUCTS[1].productId));
    for (const { productId } of BAD) expect(recorded.has(productId)).toBe(false);
  });
});

describe('runs show', () => {
  it('prints the run as recategorize did, and ends as it did', async () => {
    const shown = await night.run(['runs', 'show', 'night-2']);
    expect(shown).toEqual({ code: 3, stdout: second.stdout, stderr: '' });
  });

  it('with --json prints one object: the run with its report', async () => {
    const { code, said } = await night.json(['runs', 'show', 'night-2']);
    const time = expect.stringMatching(/^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(said).toMatchObject({
      ...{ id: 'night-2', name: 'manual', state: 'finished_with_rejects', counts: COUNTS },
      ...{ createdAt: time, stateSince: time, finishedAt: time },
      model: { version: expect.any(String), sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
      report: {
        matrix: [{ from: null, to: expect.any(String), products: 1, meanConfidence: expect.any(Number) }],
        rejectedByCode: { WRONG_WIDTH: 2, NON_FINITE_FEATURE: 1, PREDICTION_FAILED: 1 },
        samples: [{ from: null, products: [{ productId: ODD.productId, confidence: expect.any(Number) }] }],
        reviewSamples: [{ productId: 'unsure', from: null, to: expect.any(String), confidence: expect.any(Number) }],
      },
    });
    const { confidence, rejectSamples } = said.report;
    expect(confidence).toHaveLength(10);
    expect(confidence.reduce((sum: number, products: number) => sum + products, 0)).toBe(2);
    expect(rejectSamples).toHaveLength(4);
    expect(rejectSamples[0]).toMatchObject({
      productId: 'nan',
      code: 'NON_FINITE_FEATURE',
      message: expect.any(String),
    });
    expect(JSON.stringify(said)).not.toContain('postgres:');
    expect(code).toBe(3);
  });

  it('of a run that is not there says so', async () => {
    const shown = await night.run(['runs', 'show', 'night-9']);
    expect(shown).toEqual({
      code: 1,
      stdout: '',
      stderr: 'RUN_NOT_FOUND: there is no run night-9: see categorizer runs list\n',
    });
  });
});

describe('runs list', () => {
  it('prints the newest first, one a line', async () => {
    const { code, stdout } = await night.run(['runs', 'list']);
    const [header, ...lines] = stdout.trimEnd().split('\n');
    expect(header).toMatch(/^run +state +begun +products +changed +added +review +rejected$/);
    expect(lines).toEqual([
      expect.stringMatching(/^night-2 +finished_with_rejects +[-0-9]+ [0-9:]+ UTC +206 +0 +1 +1 +4$/),
      expect.stringMatching(/^night-1 +finished +[-0-9]+ [0-9:]+ UTC +200 +0 +200 +0 +0$/),
    ]);
    expect(code).toBe(0);
  });

  it('with --json prints an object for each, as many and of which name as it is told', async () => {
    const { stdout } = await night.run(['runs', 'list', '--limit', '1', '--name', 'manual', '--json']);
    const runs = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(runs).toMatchObject([{ id: 'night-2', state: 'finished_with_rejects', counts: COUNTS }]);
  });
});

describe('runs report', () => {
  it('makes one page that needs nothing else, and in which no product writes', async () => {
    const workspace = await createWorkspace();
    const toFile = await night.run(['runs', 'report', 'night-2', '--html', workspace.path('report.html')]);
    expect(toFile).toMatchObject({ code: 0, stdout: '' });
    const page = await workspace.read('report.html');
    await workspace.remove();
    expect(page).toMatch(/^<!doctype html>/i);
    for (const text of ['night-2', 'unsure', 'WRONG_WIDTH', '206']) expect(page).toContain(text);
    expect(page).toContain('&lt;b&gt;odd&lt;/b&gt; &amp;');
    expect(page).not.toContain('<b>odd');
    expect(page).not.toMatch(
      /\b(src|href)\s*=\s*["']?(https?:|\/)|<link|<script[^>]+src|@import|url\(\s*["']?(https?:|\/)/i,
    );
    // With the same database it is the same page.
    expect(await night.run(['runs', 'report', 'night-2', '--html', '-'])).toEqual({
      code: 0,
      stdout: page,
      stderr: '',
    });
  });
});
