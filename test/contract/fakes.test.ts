import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createResultFile } from '../../src/adapters/files/result-file.ts';
import type { CollectedRow, ResultFile } from '../../src/application/ports.ts';
import { createFakeProductQueue } from '../support/fake-product-queue.ts';
import { describeProductQueue } from '../support/fake-product-queue-suite.ts';
import {
  createFakeResultFile,
  createFakeResultQueue,
  type StoredFile,
  storedResults,
} from '../support/fake-result-queue.ts';
import { describeResultQueue } from '../support/fake-result-queue-suite.ts';

describeResultQueue('the fake results queue', async () => {
  const store = storedResults();
  return { queue: createFakeResultQueue(store), add: async (results) => void store.waiting.push(...results) };
});

describeProductQueue('the fake input queue', async () => {
  const queue = createFakeProductQueue();
  const sent = async () =>
    queue.chunks.map(({ runId, products }) => `${runId}: ${products.map(({ productId }) => productId).join(' ')}`);
  return { queue, sent };
});

interface OpenedFile {
  /** Opens the same file, as each call of the command does. */
  open(): ResultFile;
  /** Product ids in what was committed. */
  held(): string[];
}

function fakeFile(): OpenedFile {
  const store: StoredFile = { rows: [] };
  return { open: () => createFakeResultFile(store), held: () => store.rows.map(({ productId }) => productId ?? '') };
}

function realFile(format: 'csv' | 'jsonl'): OpenedFile {
  const directory = mkdtempSync(join(tmpdir(), 'categorizer-file-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, `out.${format}`);
  return {
    open: () => createResultFile({ path, format, keep: true }),
    held: () => readFileSync(path, 'utf8').match(/P\d+/g) ?? [],
  };
}

describe.each([
  { name: 'the fake result file', make: fakeFile },
  { name: 'a CSV file', make: () => realFile('csv') },
  { name: 'a file of JSON lines', make: () => realFile('jsonl') },
])('$name, as every result file,', ({ make }) => {
  const row = (productId: string, resultId: string): CollectedRow => ({
    productId,
    categoryCode: 'A',
    confidence: 0.5,
    modelVersion: '1',
    resultId,
  });

  it('holds what was written when it is committed, and knows its results the next time', async () => {
    const { open, held } = make();
    const first = open();
    expect(await first.begin()).toEqual(new Set());
    await first.write([row('P1', 'r-1'), row('P2', 'r-1')]);
    await first.write([row('P3', 'r-2')]);
    await first.commit();
    expect(held()).toEqual(['P1', 'P2', 'P3']);

    const second = open();
    expect(await second.begin()).toEqual(new Set(['r-1', 'r-2']));
    await second.write([row('P4', 'r-3')]);
    await second.commit();
    expect(held()).toEqual(['P1', 'P2', 'P3', 'P4']);
  });

  it('is as it was when it is aborted', async () => {
    const { open, held } = make();
    const first = open();
    await first.begin();
    await first.write([row('P1', 'r-1')]);
    await first.commit();
    const aborted = open();
    await aborted.begin();
    await aborted.write([row('P2', 'r-2')]);
    await aborted.abort();
    expect(held()).toEqual(['P1']);
    expect(await open().begin()).toEqual(new Set(['r-1']));
  });
});
