import type { ChunkAnswer, CollectedResult, ResultFile, ResultQueue } from '../../src/application/ports.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';
import { type CrashPlan, crashAt } from './fake-crash.ts';

/** What stays when a collector is killed. */
export interface StoredResults {
  /** Oldest first. */
  waiting: CollectedResult[];
  readonly collected: Set<string>;
  /** Ids of results on the queue that cannot be read. */
  readonly broken: Set<string>;
  /** What was remembered of the chunks that results answered, by result id. */
  readonly answers: Map<string, ChunkAnswer>;
}

export function storedResults(waiting: readonly CollectedResult[] = []): StoredResults {
  return { waiting: [...waiting], collected: new Set(), broken: new Set(), answers: new Map() };
}

/** The results queue in memory. @param options.pageSize results in a page */
export function createFakeResultQueue(
  store: StoredResults,
  options: { readonly pageSize?: number; readonly crash?: CrashPlan } = {},
): ResultQueue {
  const { pageSize = 2, crash = crashAt() } = options;
  const unreadable = new Set<string>();
  let lookedForForeign = 0;

  async function* inPages(results: () => readonly CollectedResult[]): AsyncGenerator<readonly CollectedResult[]> {
    for (let start = 0; ; start += pageSize) {
      await crash.point('read');
      const page = results().slice(start, start + pageSize);
      if (page.length === 0) return;
      yield page.filter(({ resultId }) => !store.broken.has(resultId));
    }
  }

  return {
    async *scan(runId, met) {
      const fresh = store.waiting.filter(({ resultId }) => !met.has(resultId));
      for (const { resultId } of fresh) met.add(resultId);
      const wanted = fresh.filter((result) => runId === undefined || result.runId === runId);
      for (const { resultId } of wanted) if (store.broken.has(resultId)) unreadable.add(resultId);
      yield* inPages(() => wanted);
    },
    answers: (runId, numbers) =>
      inPages(() =>
        store.waiting.filter(
          ({ runId: its, chunk }) => its === runId && chunk !== undefined && numbers.includes(chunk),
        ),
      ),
    unreadable: () => unreadable.size,
    foreign: () => lookedForForeign,
    async findForeign() {
      lookedForForeign++;
    },
    async collectedBefore(results) {
      await crash.point('ask what was collected');
      return new Set(results.map(({ resultId }) => resultId).filter((id) => store.collected.has(id)));
    },
    hasCollected: async () => store.collected.size > 0,
    async remove(results) {
      await crash.point('remember');
      for (const { resultId } of results) store.collected.add(resultId);
      for (const { resultId, answer } of results) {
        if (answer) store.answers.set(resultId, answer);
        await crash.point('remove');
        store.waiting = store.waiting.filter((result) => result.resultId !== resultId);
      }
      await crash.point('removed');
    },
  };
}

type WrittenResult = Parameters<ResultFile['write']>[0];

/** What stands in a file that was committed. */
export interface StoredFile {
  results: readonly WrittenResult[];
}

/** The ids of all products of these, in their order. */
export function productIdsIn(results: readonly Pick<CollectedResult, 'products'>[]): (string | null)[] {
  return results.flatMap(({ products: { ids, rows } }) => (ids instanceof Uint8Array ? unpackIds(ids, rows) : ids));
}

/** A file in memory. @param store what is on the disk */
export function createFakeResultFile(store: StoredFile, crash: CrashPlan = crashAt()): ResultFile {
  let results: WrittenResult[] = [];
  return {
    async begin() {
      await crash.point('begin');
      results = [...store.results];
      return new Set(results.map(({ resultId }) => resultId));
    },
    async write(result) {
      await crash.point('write');
      results.push(result);
    },
    async commit() {
      await crash.point('commit');
      store.results = results;
      await crash.point('committed');
    },
    async abort() {
      await crash.point('abort');
      results = [];
    },
  };
}
