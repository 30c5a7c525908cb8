import type { ResultFile } from '../../../application/ports.ts';
import { type AtomicTarget, createAtomicTarget, explainWrite } from '../atomic-file.ts';
import type { ParquetParts } from './parquet-result-parts.ts';
import type { WrittenResult } from './result-encoder.ts';
import { conflict, holdsRows } from './result-read-back.ts';

/** What is gathered until it becomes a part. */
const PART_ROWS = 131_072;
const PART_BYTES = 1 << 24;

/** The columns of the CSV file in a Parquet file, with NULL where a cell would be empty. */
export function createParquetResultFile({ path, keep }: { readonly path: string; readonly keep: boolean }): ResultFile {
  let target: AtomicTarget | undefined;
  let parts: ParquetParts | undefined;
  let gathered: WrittenResult[] = [];
  let rows = 0;
  let bytes = 0;

  async function flush(): Promise<void> {
    const results = gathered;
    [gathered, rows, bytes] = [[], 0, 0];
    await explainWrite(path, async () => parts?.addResults(results));
  }

  async function abort(): Promise<void> {
    const open = parts;
    parts = undefined;
    gathered = [];
    await open?.close();
    await target?.abort();
  }

  async function readBack(): Promise<ReadonlySet<string>> {
    if (!keep || !(await holdsRows(path))) return new Set();
    const resultIds = await explainWrite(path, async () => parts?.addFile(path));
    if (resultIds === undefined) throw conflict(path);
    return resultIds;
  }

  return {
    async begin() {
      target = await createAtomicTarget(path);
      try {
        // It loads DuckDB, which takes longer than many a command does.
        const { createParquetParts } = await import('./parquet-result-parts.ts');
        parts = await explainWrite(path, createParquetParts);
        return await readBack();
      } catch (error) {
        await abort();
        throw error;
      }
    },
    async write(result) {
      if (result.products.rows === 0) return;
      gathered.push(result);
      rows += result.products.rows;
      bytes += result.products.ids instanceof Uint8Array ? result.products.ids.length : 0;
      if (rows >= PART_ROWS || bytes >= PART_BYTES) await flush();
    },
    async commit() {
      await flush();
      const [from, to] = [parts, target];
      if (!from || !to) return;
      await explainWrite(path, () => from.writeTo(to.temporary));
      parts = undefined;
      await from.close();
      await to.commit();
    },
    abort,
  };
}
