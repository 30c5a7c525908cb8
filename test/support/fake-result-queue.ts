import type { CollectedResult, CollectedRow, ResultFile, ResultQueue } from '../../src/application/ports.ts';
import { type CrashPlan, crashAt } from './fake-crash.ts';

/** What stays when a collector is killed. */
export interface StoredResults {
  /** Oldest first. */
  waiting: CollectedResult[];
  readonly collected: Set<string>;
}

export function storedResults(waiting: readonly CollectedResult[] = []): StoredResults {
  return { waiting: [...waiting], collected: new Set() };
}

/** The results queue in memory. @param options.pageSize results in a page */
export function createFakeResultQueue(
  store: StoredResults,
  options: { readonly pageSize?: number; readonly crash?: CrashPlan } = {},
): ResultQueue {
  const { pageSize = 2, crash = crashAt() } = options;
  return {
    async *read(runId) {
      for (let start = 0; ; start += pageSize) {
        await crash.point('read');
        const page = store.waiting.slice(start, start + pageSize);
        if (page.length === 0) return;
        yield page.filter((result) => runId === undefined || result.runId === runId);
      }
    },
    async collectedBefore(results) {
      await crash.point('ask what was collected');
      return new Set(results.map(({ resultId }) => resultId).filter((id) => store.collected.has(id)));
    },
    async remove(results) {
      await crash.point('remember');
      for (const { resultId } of results) store.collected.add(resultId);
      for (const { resultId } of results) {
        await crash.point('remove');
        store.waiting = store.waiting.filter((result) => result.resultId !== resultId);
      }
      await crash.point('removed');
    },
  };
}

/** What stands in a file that was committed. */
export interface StoredFile {
  rows: readonly CollectedRow[];
}

/** A file in memory. @param store what is on the disk */
export function createFakeResultFile(store: StoredFile, crash: CrashPlan = crashAt()): ResultFile {
  let rows: CollectedRow[] = [];
  return {
    async begin() {
      await crash.point('begin');
      rows = [...store.rows];
      return new Set(rows.map(({ resultId }) => resultId));
    },
    async write(added) {
      await crash.point('write');
      rows.push(...added);
    },
    async commit() {
      await crash.point('commit');
      store.rows = rows;
      await crash.point('committed');
    },
    async abort() {
      await crash.point('abort');
      rows = [];
    },
  };
}
