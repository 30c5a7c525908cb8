import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createResultFile, type OutputFormat } from '../../src/adapters/files/results/result-file.ts';
import type { ResultFile } from '../../src/application/ports.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import { createFakeProductQueue } from '../support/fake-product-queue.ts';
import { describeProductQueue } from '../support/fake-product-queue-suite.ts';
import {
  createFakeResultFile,
  createFakeResultQueue,
  productIdsIn,
  type StoredFile,
  storedResults,
} from '../support/fake-result-queue.ts';
import { describeResultQueue } from '../support/fake-result-queue-suite.ts';
import { readRows, result } from '../support/files-results.ts';

describeResultQueue('the fake results queue', async () => {
  const store = storedResults();
  return {
    queue: createFakeResultQueue(store),
    add: async (results) => void store.waiting.push(...results),
    async addBroken(broken) {
      store.waiting.push(broken);
      store.broken.add(broken.resultId);
    },
  };
});

describeProductQueue('the fake input queue', async () => {
  const queue = createFakeProductQueue();
  const { store } = queue;
  return {
    queue,
    sent: async () =>
      store.chunks.map(
        ({ runId, products: { ids, features } }) => `${runId}: ${unpackIds(ids, features.rows).join(' ')}`,
      ),
    async failNext(code) {
      const next = store.chunks.find((chunk) => !store.failed.has(chunk));
      if (next) store.failed.set(next, code);
    },
  };
});

interface OpenedFile {
  /** Opens the same file, as each call of the command does. */
  open(): ResultFile;
  /** Product ids in what was committed. */
  held(): Promise<unknown[]>;
}

function fakeFile(): OpenedFile {
  const store: StoredFile = { results: [] };
  return { open: () => createFakeResultFile(store), held: async () => productIdsIn(store.results) };
}

function realFile(format: OutputFormat): OpenedFile {
  const directory = mkdtempSync(join(tmpdir(), 'categorizer-file-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, `out.${format}`);
  return {
    open: () => createResultFile({ path, format, keep: true }),
    held: async () => (await readRows(path, format)).map(([productId]) => productId),
  };
}

describe.each([
  { name: 'the fake result file', make: fakeFile },
  { name: 'a CSV file', make: () => realFile('csv') },
  { name: 'a file of JSON lines', make: () => realFile('jsonl') },
  { name: 'a Parquet file', make: () => realFile('parquet') },
])('$name, as every result file,', ({ make }) => {
  const resultOf = (resultId: string, ids: readonly string[], packed = false) =>
    result(
      resultId,
      ids.map((id) => ({ id, category: 'A', confidence: 0.5 })),
      packed,
    );

  it('holds what was written when it is committed, and knows its results the next time', async () => {
    const { open, held } = make();
    const first = open();
    expect(await first.begin()).toEqual(new Set());
    await first.write(resultOf('r-1', ['P1', 'P2'], true));
    await first.write(resultOf('r-2', ['P3']));
    await first.commit();
    expect(await held()).toEqual(['P1', 'P2', 'P3']);

    const second = open();
    expect(await second.begin()).toEqual(new Set(['r-1', 'r-2']));
    await second.write(resultOf('r-3', ['P4']));
    await second.commit();
    expect(await held()).toEqual(['P1', 'P2', 'P3', 'P4']);
  });

  it('is as it was when it is aborted', async () => {
    const { open, held } = make();
    const first = open();
    await first.begin();
    await first.write(resultOf('r-1', ['P1']));
    await first.commit();
    const aborted = open();
    await aborted.begin();
    await aborted.write(resultOf('r-2', ['P2']));
    await aborted.abort();
    expect(await held()).toEqual(['P1']);
    expect(await open().begin()).toEqual(new Set(['r-1']));
  });
});
