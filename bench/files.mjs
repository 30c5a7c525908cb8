// Rungs g and h, and the peak memory of every process for imports of different sizes.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DuckDBInstance } from '@duckdb/node-api';
import { categorizer, peakMegabytes, run, startRedis, startWorker } from './processes.mjs';
import { WIDTH } from './products.mjs';

const DATA = fileURLToPath(new URL('data/', import.meta.url));
const PLAIN_SCRIPT = fileURLToPath(new URL('plain-script.mjs', import.meta.url));

/** A Parquet file of so many products; made once, always the same. @param {number} products */
export async function parquetFile(products) {
  mkdirSync(DATA, { recursive: true });
  const path = `${DATA}products-${products}.parquet`;
  if (existsSync(path)) return path;
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  const features = Array.from(
    { length: WIDTH },
    (_, f) => `(hash(i * ${WIDTH} + ${f}) % 100000 / 10000.0 - 5)::FLOAT AS f${f}`,
  );
  await connection.run(
    `COPY (SELECT 'SKU-' || lpad(i::VARCHAR, 9, '0') AS product_id, ${features.join(', ')} FROM range(${products}) t(i))
     TO '${path}' (FORMAT parquet)`,
  );
  connection.closeSync();
  instance.closeSync();
  return path;
}

/**
 * Seconds of the whole `categorizer run` (rung g) and of the plain script (rung h), one after the other.
 *
 * @param {{ products: number, repeat: number }} options
 */
export async function measureFiles({ products, repeat }) {
  const input = await parquetFile(products);
  const redis = await startRedis();
  const worker = await startWorker({ REDIS_URL: redis.url });
  const env = { REDIS_URL: redis.url };
  const directory = mkdtempSync(join(tmpdir(), 'categorizer-bench-'));
  /** @type {{ run: number[], runLocal: number[], script: number[] }} */
  const seconds = { run: [], runLocal: [], script: [] };
  for (let i = 0; i < repeat; i++) {
    const command = ['run', input, '--run', `run-${i}`, '--out', `${directory}/run-${i}.parquet`];
    seconds.run.push((await categorizer(command, env)).seconds);
    seconds.script.push((await run([PLAIN_SCRIPT, input, `${directory}/script-${i}.parquet`])).seconds);
  }
  const workerPeak = await worker.stop();
  for (let i = 0; i < repeat; i++) {
    const command = ['run', input, '--local', '--run', `local-${i}`, '--out', `${directory}/local-${i}.parquet`];
    seconds.runLocal.push((await categorizer(command, env)).seconds);
  }
  rmSync(directory, { recursive: true });
  await redis.stop();
  return { seconds, workerPeak };
}

/** Peak memory in MB of each process of an import. @param {number} products */
export async function measureMemory(products) {
  const input = await parquetFile(products);
  const redis = await startRedis();
  const env = { REDIS_URL: redis.url };
  const worker = await startWorker(env);
  const enqueue = await categorizer(['enqueue', input, '--run', 'memory'], env);
  const directory = mkdtempSync(join(tmpdir(), 'categorizer-bench-'));
  const out = `${directory}/categories.parquet`;
  const results = await categorizer(['results', '--run', 'memory', '--wait', '--out', out], env);
  rmSync(directory, { recursive: true });
  const peaks = {
    enqueue: enqueue.peak,
    worker: await worker.stop(),
    results: results.peak,
    redis: peakMegabytes(redis.pid),
  };
  await redis.stop();
  return peaks;
}
