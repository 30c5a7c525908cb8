import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { firstLineOf, quoteText } from '../duckdb.ts';
import { createTemporaryDirectory } from '../temporary-directory.ts';
import { createResultsFunction, type GatheredResults, gather, jsonList } from './parquet-result-rows.ts';
import type { WrittenResult } from './result-encoder.ts';

/** So many parts are written at once: each takes one thread, since it keeps the order of its rows. */
const LANES = 2;

const CONFIG = {
  threads: String(LANES),
  // With less the threads wait for each other in the end.
  memory_limit: '128MB',
  // Nothing is to be fetched from the network.
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
};

// Texts that repeat are few: looking for them among ids and numbers is in vain. Parts and the whole have groups of the
// same size, so that these need not be cut anew.
const ENCODING = 'FORMAT parquet, ROW_GROUP_SIZE 65536, DICTIONARY_SIZE_LIMIT 1024, USE_TMP_FILE false';
const PART = `${ENCODING}, COMPRESSION snappy`;
const WHOLE = `${ENCODING}, COMPRESSION zstd, COMPRESSION_LEVEL 1`;

const COLUMNS =
  'product_id VARCHAR,category_code VARCHAR,confidence FLOAT,reject_code VARCHAR,reject_message VARCHAR,' +
  'model_version VARCHAR,result_id VARCHAR';

/**
 * Parquet cannot be appended to, so results become small Parquet files in a directory for temporary files, one after
 * another, and in the end one large file: memory stays flat, and what comes last is short.
 */
export interface ParquetParts {
  /** Puts the rows of an earlier file first. @returns their result ids; undefined where it is no file of results */
  addFile(path: string): Promise<ReadonlySet<string> | undefined>;
  /** Resolves when the next ones may be gathered. Throws what went wrong with any before. */
  addResults(results: readonly WrittenResult[]): Promise<void>;
  writeTo(path: string): Promise<void>;
  close(): Promise<void>;
}

export async function createParquetParts(): Promise<ParquetParts> {
  const directory = await createTemporaryDirectory('results');
  try {
    const spilled = join(directory, 'spilled');
    return await openParts(directory, await DuckDBInstance.create(':memory:', { ...CONFIG, temp_directory: spilled }));
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

async function openParts(directory: string, instance: DuckDBInstance): Promise<ParquetParts> {
  const lanes = await Promise.all(Array.from({ length: LANES }, (_, i) => openLane(instance, `results_${i}`)));
  const [{ connection }] = lanes;
  const files: string[] = [];
  let parts = 0;

  return {
    async addFile(path) {
      const file = from([path]);
      const columns = await connection.runAndReadAll(`DESCRIBE ${file}`).catch(() => undefined);
      const found = columns?.getRows().map(([name, type]) => `${name} ${type}`);
      if (found?.join() !== COLUMNS) return undefined;
      files.push(path);
      const ids = await connection.runAndReadAll(`SELECT DISTINCT result_id FROM (${file})`);
      return new Set(ids.getRows().map(([id]) => String(id)));
    },
    async addResults(results) {
      const lane = lanes[parts % LANES];
      const path = join(directory, `${parts++}.parquet`);
      await lane.settled();
      files.push(path);
      lane.write(gather(results), path);
    },
    async writeTo(path) {
      for (const lane of lanes) await lane.settled();
      await run(connection, `COPY (${from(files)}) TO ${quoteText(resolve(path))} (${WHOLE})`);
    },
    async close() {
      for (const lane of lanes) await lane.close();
      instance.closeSync();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

interface Lane {
  readonly connection: DuckDBConnection;
  /** Begins to write a part. */
  write(gathered: GatheredResults, path: string): void;
  /** Throws where a part could not be written. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

async function openLane(instance: DuckDBInstance, name: string): Promise<Lane> {
  const connection = await instance.connect();
  let current = gather([]);
  let writing = Promise.resolve();
  connection.registerTableFunction(createResultsFunction(name, () => current));
  return {
    connection,
    write(gathered, path) {
      current = gathered;
      writing = run(connection, `COPY (${select(name, gathered)}) TO ${quoteText(path)} (${PART})`);
      // It is thrown where it is awaited, which may be later than Node would like.
      writing.catch(() => undefined);
    },
    settled: () => writing,
    async close() {
      connection.interrupt();
      await writing.catch(() => undefined);
      connection.closeSync();
    },
  };
}

async function run(connection: DuckDBConnection, sql: string): Promise<void> {
  try {
    await connection.run(sql);
  } catch (cause) {
    throw new Error(firstLineOf(cause), { cause });
  }
}

/** One row for each product. Lists that are shorter, or not there, are filled up with NULL. */
function select(name: string, { places }: GatheredResults): string {
  return `SELECT product_id, (${textList(jsonList([...places.keys()]), true)})[place] AS category_code,
      CASE WHEN place > 0 THEN confidence END AS confidence, reject_code, reject_message, model_version, result_id
    FROM (SELECT unnest(coalesce(string_split(decode(packed_ids), chr(10)), ${textList('listed_ids')})) AS product_id,
      unnest(places) AS place, unnest(confidences) AS confidence, unnest(${textList('reject_codes')}) AS reject_code,
      unnest(${textList('reject_messages')}) AS reject_message, model_version, result_id FROM ${name}())`;
}

function textList(json: string, isLiteral = false): string {
  return `from_json(${isLiteral ? quoteText(json) : json}, '["VARCHAR"]')`;
}

/** Paths are no patterns, and a directory called `a=b` is no column. */
function from(paths: readonly string[]): string {
  const list = paths.map((path) => quoteText(resolve(path).replace(/[*?[]/g, '[$&]')));
  return `FROM read_parquet([${list.join()}], hive_partitioning = false)`;
}
