import { mkdir, readdir, readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createResultFile } from '../../src/adapters/files/results/result-file.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { queryParquet, readRows, result, rowsOf, type WrittenResult } from '../support/files-results.ts';

let workspace: Workspace;
let temporary: Workspace;

beforeEach(async () => {
  workspace = await createWorkspace();
  temporary = await createWorkspace();
  vi.stubEnv('TMPDIR', temporary.directory);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await workspace.remove();
  await temporary.remove();
});

const one = result('r-1', [{ id: 'P1', category: 'A', confidence: 0.5 }], true);
const other = result('r-2', [{ id: 'P2', reject: { code: 'WRONG_WIDTH', message: 'expected 16' } }]);

async function write(path: string, results: readonly WrittenResult[], keep = false): Promise<ReadonlySet<string>> {
  const file = createResultFile({ path, format: 'parquet', keep });
  const held = await file.begin();
  for (const each of results) await file.write(each);
  await file.commit();
  return held;
}

describe('a Parquet file of results', () => {
  it('has the columns of the CSV file with types, even where it has no rows', async () => {
    const path = workspace.path('out');
    await write(path, []);
    const columns = await queryParquet(path, 'DESCRIBE SELECT * FROM FILE');
    expect(columns.map(([name, type]) => `${name} ${type}`)).toEqual([
      'product_id VARCHAR',
      'category_code VARCHAR',
      'confidence FLOAT',
      'reject_code VARCHAR',
      'reject_message VARCHAR',
      'model_version VARCHAR',
      'result_id VARCHAR',
    ]);
  });

  it('holds hundreds of thousands of products in the order of writing', async () => {
    const rows = 5000;
    const results = Array.from({ length: 60 }, (_, k) =>
      result(
        `r-${k}`,
        Array.from({ length: rows }, (_, i) => ({
          id: `P${k * rows + i}`,
          category: `C${(k + i) % 7}`,
          confidence: i / rows,
        })),
        k % 10 > 0,
      ),
    );
    const path = workspace.path('out');
    await write(path, results);
    const select = `SELECT count(*)::INTEGER, count(DISTINCT result_id)::INTEGER,
      count_if(product_id <> 'P' || (file_row_number))::INTEGER,
      count_if(result_id <> 'r-' || (file_row_number // ${rows}))::INTEGER,
      count_if(category_code <> 'C' || ((file_row_number // ${rows} + file_row_number % ${rows}) % 7))::INTEGER,
      count_if(confidence <> ((file_row_number % ${rows}) / ${rows})::FLOAT)::INTEGER FROM FILE`;
    const [counts] = await queryParquet(path, select);
    expect(counts).toEqual([300_000, 60, 0, 0, 0, 0]);
  });

  it('holds many results of one product each', async () => {
    const results = Array.from({ length: 5000 }, (_, k) =>
      result(`r-${k}`, [{ id: `P${k}`, category: 'A', confidence: 1 }], k % 2 > 0),
    );
    await write(workspace.path('out'), results);
    expect(await readRows(workspace.path('out'), 'parquet')).toEqual(rowsOf(results, 'parquet'));
  });

  it.each(["it's", 'a*b', '[ab]', 'what?', 'x=1', 'ação {1}'])('may stand in a directory called %j', async (name) => {
    await mkdir(workspace.path(name));
    await mkdir(workspace.path('aXb'));
    const path = workspace.path(`${name}/${name}.parquet`);
    await write(path, [one]);
    expect(await write(path, [other], true)).toEqual(new Set(['r-1']));
    expect(await readdir(workspace.path(name))).toEqual([`${name}.parquet`]);
    expect(await write(path, [], true)).toEqual(new Set(['r-1', 'r-2']));
  });

  it('refuses to go on with a Parquet file of something else', async () => {
    const path = workspace.path('out');
    await write(path, [one]);
    await queryParquet(path, `COPY (SELECT result_id FROM FILE) TO '${path}' (FORMAT parquet)`);
    const before = await readFile(path);
    const file = createResultFile({ path, format: 'parquet', keep: true });
    await expect(file.begin()).rejects.toMatchObject({ code: 'OUTPUT_CONFLICT' });
    expect(await readFile(path)).toEqual(before);
  });

  it('leaves nothing among the temporary files, committed or aborted', async () => {
    await write(workspace.path('out'), [one]);
    const file = createResultFile({ path: workspace.path('other'), format: 'parquet', keep: false });
    await file.begin();
    expect(await temporary.names()).not.toEqual([]);
    await file.write(one);
    await file.abort();
    expect(await temporary.names()).toEqual([]);
  });

  it('cannot be written without room for temporary files, and what was there stays', async () => {
    const path = workspace.path('out');
    await write(path, [one]);
    const file = createResultFile({ path, format: 'parquet', keep: true });
    await file.begin();
    await temporary.remove();
    await file.write(other);
    await expect(file.commit()).rejects.toMatchObject({ code: 'OUTPUT_NOT_WRITABLE' });
    await file.abort();
    expect(await readRows(path, 'parquet')).toEqual(rowsOf([one], 'parquet'));
    expect(await workspace.names()).toEqual(['out']);
  });
});
