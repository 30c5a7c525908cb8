import { crc32 } from 'node:zlib';
import type {
  DecidedProduct,
  PlanSink,
  RunPlan,
  SliceState,
  StagedSlice,
} from '../../application/recategorization/ports.ts';
import { INPUT_HASH_BYTES } from '../../application/recategorization/ports.ts';
import { packProducts, unpackProducts } from '../../contract/index.ts';
import { NO_CATEGORY } from '../../domain/category.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { unpackIds } from '../../domain/packed-products.ts';
import { createCatalogue } from './catalogue.ts';
import type { Client, Database } from './connection.ts';
import { copyInto } from './copy-writer.ts';

const STAGED =
  'categorizer.staged (slice, product_id, current_category, category_code, confidence, decided_by, review_features, input_hash)';
const STAGED_COLUMNS = 8;
const REJECTS = 'categorizer.rejects (run_id, product_id, code, message, slice)';
const REJECTS_COLUMNS = 5;

/** Makes what two processes would do to one run at the same time fail, when one of them was taken for dead. */
const PLAN_LOCK = 7_301_001;

export function createRunPlan(database: Database): RunPlan {
  return {
    async create(runId, write) {
      await database.transaction(async (client) => {
        const { rows } = await client.query<{ alone: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS alone', [
          PLAN_LOCK,
        ]);
        if (!rows[0].alone) {
          throw new CategorizerError('RUN_LOCKED', 'another process plans a run at this moment', { retryable: true });
        }
        await client.query('TRUNCATE categorizer.slices, categorizer.staged, categorizer.rejects');
        const counts = await database.transaction(
          (reader) => write(createCatalogue(reader), createSink(client, runId)),
          // Whatever functions the source calls: reading it changes nothing.
          'ISOLATION LEVEL REPEATABLE READ READ ONLY',
        );
        const planned = await client.query(
          `UPDATE categorizer.runs SET state = 'running', state_since = now(), counts = $2
           WHERE id = $1 AND state = 'planned'`,
          [runId, counts],
        );
        if (planned.rowCount === 0) {
          throw new CategorizerError('RUN_STATE', `run ${runId} was given up while it was planned`, {
            retryable: true,
          });
        }
      });
    },

    async slices(runId) {
      return database.query<SliceState & Record<string, unknown>>(
        `SELECT number, products, sends, staged_at IS NOT NULL AS staged, applied_at IS NOT NULL AS applied,
           payload IS NOT NULL AS "forModel"
         FROM categorizer.slices WHERE run_id = $1 ORDER BY number`,
        [runId],
      );
    },

    async read(runId, number) {
      const rows = await database.query<{
        products: number;
        payload: Buffer;
        current_categories: (string | null)[];
        input_hashes: Buffer;
        width: number;
      }>(
        `SELECT products, width, payload, current_categories, input_hashes
         FROM categorizer.slices WHERE run_id = $1 AND number = $2 AND payload IS NOT NULL`,
        [runId, number],
      );
      if (rows.length === 0) throw new CategorizerError('RUN_STATE', `run ${runId} has no slice ${number} any more`);
      const [{ products: count, width, payload, current_categories, input_hashes: inputHashes }] = rows;
      const announced = { count, width, bytes: payload.length, crc32: crc32(payload) };
      const products = unpackProducts(payload, announced);
      return { number, products, currentCategories: current_categories, inputHashes };
    },

    async stage(runId, { slice, result, reviewBelow }) {
      await inSlice(database, runId, slice.number, async (client) => {
        await copyInto(client, STAGED, (writer) => writeStaged(writer, { slice, result, reviewBelow }));
        if (result.rejects.length === 0) return;
        const ids = unpackIds(slice.products.ids, slice.products.features.rows);
        await copyInto(client, REJECTS, (writer) => {
          for (const { row, code, message } of result.rejects) {
            writer.row(REJECTS_COLUMNS);
            for (const text of [runId, ids[row], code, message]) writer.text(text);
            writer.int(slice.number);
          }
        });
      });
    },

    async stageFailed(runId, slice, { code, message }) {
      await inSlice(database, runId, slice.number, (client) =>
        copyInto(client, REJECTS, (writer) => {
          for (const id of unpackIds(slice.products.ids, slice.products.features.rows)) {
            writer.row(REJECTS_COLUMNS);
            for (const text of [runId, id, code, message]) writer.text(text);
            writer.int(slice.number);
          }
        }),
      );
    },

    async sendAgain(runId, numbers) {
      await database.query('UPDATE categorizer.slices SET sends = sends + 1 WHERE run_id = $1 AND number = ANY($2)', [
        runId,
        numbers,
      ]);
    },
  };
}

/** Stages a slice of a running run once; whoever comes second does nothing. */
async function inSlice(
  database: Database,
  runId: string,
  number: number,
  write: (client: Client) => Promise<void>,
): Promise<void> {
  await database.transaction(async (client) => {
    const run = await client.query(`SELECT FROM categorizer.runs WHERE id = $1 AND state = 'running' FOR SHARE`, [
      runId,
    ]);
    if (run.rowCount === 0)
      throw new CategorizerError('RUN_STATE', `run ${runId} is not running any more`, { retryable: true });
    const slice = await client.query(
      `UPDATE categorizer.slices SET staged_at = now() WHERE run_id = $1 AND number = $2 AND staged_at IS NULL`,
      [runId, number],
    );
    if (slice.rowCount === 1) await write(client);
  });
}

function createSink(client: Client, runId: string): PlanSink {
  return {
    async slice({ number, products, currentCategories, inputHashes }) {
      const { rows, width } = products.features;
      const { payload } = packProducts(products);
      await client.query(
        `INSERT INTO categorizer.slices (run_id, number, products, width, payload, current_categories, input_hashes)
         VALUES ($1, $2, $3, $4, $5, $6, $7)`,
        [runId, number, rows, width, payload, currentCategories, inputHashes],
      );
    },

    async decided(number, products) {
      await client.query(
        'INSERT INTO categorizer.slices (run_id, number, products, staged_at) VALUES ($1, $2, $3, now())',
        [runId, number, products.length],
      );
      await copyInto(client, STAGED, (writer) => {
        for (const product of products) writeDecided(writer, number, product);
      });
    },

    async rejects(rejects) {
      await copyInto(client, REJECTS, (writer) => {
        for (const { productId, code, message } of rejects) {
          writer.row(REJECTS_COLUMNS);
          writer.text(runId);
          if (productId === null) writer.null();
          else writer.text(productId);
          writer.text(code);
          writer.text(message);
          writer.null();
        }
      });
    },

    async decidedFeatures(productId, features) {
      await client.query(
        `UPDATE categorizer.reviews SET features = $2
         WHERE product_id = $1 AND decided_category IS NOT NULL AND features IS NULL`,
        [productId, [...features]],
      );
    },
  };
}

type Writer = Parameters<Parameters<typeof copyInto>[2]>[0];

function writeStaged(writer: Writer, { slice, result, reviewBelow }: StagedSlice): void {
  const { number, products, currentCategories, inputHashes } = slice;
  const { categories, categoryIndexes, confidences } = result;
  const { rows, width, values } = products.features;
  const ids = unpackIds(products.ids, rows);
  for (let row = 0; row < rows; row++) {
    if (categoryIndexes[row] === NO_CATEGORY) continue;
    const current = currentCategories[row];
    writer.row(STAGED_COLUMNS);
    writer.int(number);
    writer.text(ids[row]);
    if (current === null) writer.null();
    else writer.text(current);
    writer.text(categories[categoryIndexes[row]]);
    writer.float(confidences[row]);
    writer.null();
    if (confidences[row] < reviewBelow) writer.floats(values.subarray(row * width, (row + 1) * width));
    else writer.null();
    writer.bytes(inputHashes.subarray(row * INPUT_HASH_BYTES, (row + 1) * INPUT_HASH_BYTES));
  }
}

function writeDecided(writer: Writer, number: number, product: DecidedProduct): void {
  const { productId, currentCategory, categoryCode, decidedBy, inputHash } = product;
  writer.row(STAGED_COLUMNS);
  writer.int(number);
  writer.text(productId);
  if (currentCategory === null) writer.null();
  else writer.text(currentCategory);
  writer.text(categoryCode);
  writer.null();
  writer.text(decidedBy);
  writer.null();
  writer.bytes(inputHash);
}
