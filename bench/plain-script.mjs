// Rung h: the same work with no queue, as one would write it in an afternoon: DuckDB reads the Parquet file and writes
// the categories to another, onnxruntime runs the model on 8,192 rows at a time.
// node plain-script.mjs <in.parquet> <out.parquet>
import { DuckDBDataChunk, DuckDBInstance, FLOAT, VARCHAR } from '@duckdb/node-api';
import { loadModel } from './model.mjs';

const ROWS = 8192;
const [input, output] = process.argv.slice(2);
const model = await loadModel();
const { width, categories } = model;

const instance = await DuckDBInstance.create(':memory:');
const connection = await instance.connect();
await connection.run('CREATE TABLE categories (product_id VARCHAR, category_code VARCHAR, confidence FLOAT)');
const appender = await connection.createAppender('categories');

const columns = Array.from({ length: width }, (_, i) => `f${i}`).join(', ');
const reading = await instance.connect();
const result = await reading.stream(`SELECT product_id, [${columns}]::FLOAT[${width}] FROM read_parquet('${input}')`);

let ids = [];
const values = new Float32Array(ROWS * width);
let rows = 0;

async function flush() {
  if (rows === 0) return;
  const logits = await model.run(values.slice(0, rows * width), rows);
  const codes = [];
  const confidences = [];
  for (let row = 0; row < rows; row++) {
    const own = logits.subarray(row * categories.length, (row + 1) * categories.length);
    if (!own.every(Number.isFinite)) throw new Error(`no finite output for ${ids[row]}`);
    const largest = Math.max(...own);
    const sum = own.reduce((total, logit) => total + Math.exp(logit - largest), 0);
    codes.push(categories[own.indexOf(largest)].code);
    confidences.push(1 / sum);
  }
  for (let start = 0; start < rows; start += 2048) {
    const end = Math.min(rows, start + 2048);
    const chunk = DuckDBDataChunk.create([VARCHAR, VARCHAR, FLOAT], end - start);
    chunk.setColumns([ids.slice(start, end), codes.slice(start, end), confidences.slice(start, end)]);
    appender.appendDataChunk(chunk);
  }
  ids = [];
  rows = 0;
}

for (;;) {
  const chunk = await result.fetchChunk();
  if (!chunk || chunk.rowCount === 0) break;
  values.set(chunk.getColumnVector(1).childData.items, rows * width);
  ids.push(...chunk.getColumnValues(0));
  rows += chunk.rowCount;
  if (rows + 2048 > ROWS) await flush();
}
await flush();
appender.closeSync();
await connection.run(`COPY categories TO '${output}' (FORMAT parquet)`);
