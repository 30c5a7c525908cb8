import {
  BLOB,
  DuckDBBlobValue,
  type DuckDBDataChunk,
  DuckDBTableFunction,
  FLOAT,
  INTEGER,
  LIST,
  VARCHAR,
} from '@duckdb/node-api';
import duckdb from '@duckdb/node-bindings';
import { NO_CATEGORY } from '../../../domain/category.ts';
import type { Reject } from '../../../domain/product.ts';
import { readIds, type WrittenResult } from './result-encoder.ts';

/** Lists of so many products are handed over at once; more of them only take more memory. */
const CHUNK_ROWS = 8192;

/** Some results, and the category codes of all of them. */
export interface GatheredResults {
  readonly results: readonly WrittenResult[];
  /** Place of each code, from 1. */
  readonly places: ReadonlyMap<string, number>;
}

export function gather(results: readonly WrittenResult[]): GatheredResults {
  const places = new Map<string, number>();
  let last: readonly string[] | undefined;
  for (const { products } of results) {
    if (products.categories === last) continue;
    last = products.categories;
    for (const code of last) if (!places.has(code)) places.set(code, places.size + 1);
  }
  return { results, places };
}

/**
 * A table function of DuckDB that gives one row for each result, with its products as lists. It runs on this thread,
 * so it copies arrays and leaves to SQL what is to be done for each product.
 *
 * @param gathered asked when a query begins
 */
export function createResultsFunction(name: string, gathered: () => GatheredResults): DuckDBTableFunction {
  return DuckDBTableFunction.create({
    name,
    bindFunction(info) {
      info.addResultColumn('packed_ids', BLOB);
      info.addResultColumn('listed_ids', VARCHAR);
      info.addResultColumn('places', LIST(INTEGER));
      info.addResultColumn('confidences', LIST(FLOAT));
      info.addResultColumn('reject_codes', VARCHAR);
      info.addResultColumn('reject_messages', VARCHAR);
      info.addResultColumn('model_version', VARCHAR);
      info.addResultColumn('result_id', VARCHAR);
      info.setBindData(gathered());
    },
    initFunction: (info) => info.setInitData({ next: 0 }),
    mainFunction(info, chunk) {
      const { results, places } = info.bindData as GatheredResults;
      const state = info.initData as { next: number };
      const some = take(results, state.next);
      state.next += some.length;
      chunk.rowCount = some.length;
      if (some.length > 0) fill(chunk, some, places);
    },
  });
}

function take(results: readonly WrittenResult[], start: number): readonly WrittenResult[] {
  const limit = Math.min(results.length, start + duckdb.vector_size());
  let rows = 0;
  let end = start;
  while (end < limit && (end === start || rows + results[end].products.rows <= CHUNK_ROWS)) {
    rows += results[end++].products.rows;
  }
  return results.slice(start, end);
}

function fill(chunk: DuckDBDataChunk, results: readonly WrittenResult[], places: ReadonlyMap<string, number>): void {
  const column = (index: number, values: (string | DuckDBBlobValue | null)[]) => chunk.setColumnValues(index, values);
  const ids = results.map(({ products }) => readIds(products));
  column(
    0,
    ids.map((some) => (some instanceof Uint8Array ? new DuckDBBlobValue(some) : null)),
  );
  column(
    1,
    ids.map((some) => (some instanceof Uint8Array ? null : jsonList(some))),
  );
  fillLists(chunk, results, places);
  column(
    4,
    results.map(({ products }) => listRejects(products.rejects, ({ code }) => code)),
  );
  column(
    5,
    results.map(({ products }) => listRejects(products.rejects, ({ message }) => message)),
  );
  column(
    6,
    results.map(({ modelVersion }) => modelVersion),
  );
  column(
    7,
    results.map(({ resultId }) => resultId),
  );
}

/** Straight from array to array: the classes of lists take them apart number by number, in three times the time. */
function fillLists(chunk: DuckDBDataChunk, results: readonly WrittenResult[], places: ReadonlyMap<string, number>) {
  const rows = results.reduce((sum, { products }) => sum + products.rows, 0);
  const entries = new BigUint64Array(results.length * 2);
  const allPlaces = new Int32Array(rows);
  const confidences = new Float32Array(rows);
  let row = 0;
  for (let i = 0; i < results.length; i++) {
    const { products } = results[i];
    entries[2 * i] = BigInt(row);
    entries[2 * i + 1] = BigInt(products.rows);
    confidences.set(products.confidences, row);
    const placeOf = products.categories.map((code) => places.get(code) ?? 0);
    for (const index of products.categoryIndexes) allPlaces[row++] = index === NO_CATEGORY ? 0 : placeOf[index];
  }
  copyList(duckdb.data_chunk_get_vector(chunk.chunk, 2), entries, allPlaces);
  copyList(duckdb.data_chunk_get_vector(chunk.chunk, 3), entries, confidences);
}

function copyList(
  vector: duckdb.Vector,
  entries: BigUint64Array<ArrayBuffer>,
  items: Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>,
) {
  duckdb.list_vector_reserve(vector, items.length);
  duckdb.list_vector_set_size(vector, items.length);
  duckdb.copy_data_to_vector(duckdb.list_vector_get_child(vector), 0, items.buffer, 0, items.byteLength);
  duckdb.copy_data_to_vector(vector, 0, entries.buffer, 0, entries.byteLength);
}

/** One text for each product up to the last that was rejected; null where none was, which costs nothing. */
function listRejects(rejects: readonly Reject[], text: (reject: Reject) => string): string | null {
  if (rejects.length === 0) return null;
  const list: (string | null)[] = new Array((rejects.at(-1)?.row ?? 0) + 1).fill(null);
  for (const reject of rejects) list[reject.row] = text(reject);
  return jsonList(list);
}

/** Half of a surrogate pair is no UTF-8: it becomes U+FFFD, as in the files of text. */
export function jsonList(texts: readonly (string | null)[]): string {
  return JSON.stringify(texts.map((text) => text?.replace(/\p{Surrogate}/gu, '\uFFFD') ?? null));
}
