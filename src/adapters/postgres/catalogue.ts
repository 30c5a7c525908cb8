import { to as copyTo } from 'pg-copy-streams';
import type {
  Catalogue,
  CataloguePage,
  CatalogueReject,
  FoundDecision,
} from '../../application/recategorization/ports.ts';
import { INPUT_HASH_BYTES } from '../../application/recategorization/ports.ts';
import { CategorizerError, type RejectReason } from '../../domain/errors.ts';
import { describe } from '../../domain/features.ts';
import { checkProductId } from '../../domain/product.ts';
import type { SourceSettings } from '../../domain/run.ts';
import type { Client } from './connection.ts';
import { type CopyRow, readCopy, readFloats, textOf } from './copy-reader.ts';
import { quoteIdentifier } from './identifiers.ts';
import { columnOf, describeQuery, explainSource, readSource, relationOf } from './source.ts';

const LINE_FEED = 0x0a;
/** More say that the id column is hardly the right one; and they are held in memory. */
const MAX_DUPLICATES = 100_000;
const FLOAT4_ARRAY_OID = 1021;
const FLOAT4_OID = 700;

/** The columns of the query that `read` copies. */
const [ID, FEATURES, CURRENT, HASH, DECIDED, DECIDED_BY, LACKS_FEATURES, OVERRULED] = [0, 1, 2, 3, 4, 5, 6, 7];
const COLUMNS = 8;

/** @param client within a transaction that sees one moment and can write nothing (REPEATABLE READ READ ONLY) */
export function createCatalogue(client: Client): Catalogue {
  return {
    async *read(source, { width, pageRows, recordCounts }) {
      const query = catalogueQuery(source, await findColumns(client, source), recordCounts);
      // A feature that is no number, say: without its rows it is seen in no time, and before any is read.
      await describeQuery(client, source, query);
      const duplicates = await findDuplicates(client, source);
      const stream = client.query(copyTo(`COPY (${query}) TO STDOUT (FORMAT binary)`));
      let page = createPage(width, pageRows, duplicates);
      try {
        for await (const next of readCopy(stream, COLUMNS)) {
          for (let row = next(); row; row = next()) {
            page.add(row);
            if (page.rows < pageRows) continue;
            yield page.done();
            page = createPage(width, pageRows, duplicates);
          }
        }
      } catch (error) {
        throw explainSource(source, error);
      }
      yield page.done();
    },
  };
}

interface SourceColumns {
  /** An SQL expression for the vector: float4[] where the source has float4, else float8[]. */
  readonly features: string;
  readonly category: string | undefined;
}

/** @throws CategorizerError `SOURCE_INVALID` */
async function findColumns(client: Client, source: SourceSettings): Promise<SourceColumns> {
  const { idColumn, featureColumns, categoryColumn } = source;
  const fields = await describeQuery(client, source, `SELECT s.* FROM ${relationOf(source)} s`);
  const typeOf = (name: string): number => columnOf(fields, name);
  typeOf(idColumn);
  if (categoryColumn !== undefined) typeOf(categoryColumn);
  const types = featureColumns.map(typeOf);
  const quoted = featureColumns.map((name) => `s.${quoteIdentifier(name)}`);
  // As float8 a number beyond float32 is one bad product; as float4 it would fail the query.
  const features =
    featureColumns.length === 1
      ? `${quoted[0]}${types[0] === FLOAT4_ARRAY_OID ? '' : '::float8[]'}`
      : `ARRAY[${quoted.join(', ')}]${types.every((type) => type === FLOAT4_OID) ? '' : '::float8[]'}`;
  return { features, category: categoryColumn };
}

async function findDuplicates(client: Client, source: SourceSettings): Promise<ReadonlySet<string>> {
  const id = `s.${quoteIdentifier(source.idColumn)}::text`;
  const query = `SELECT ${id} AS id FROM ${relationOf(source)} s WHERE ${id} IS NOT NULL
    GROUP BY ${id} HAVING count(*) > 1 LIMIT ${MAX_DUPLICATES + 1}`;
  const { rows } = await readSource(source, () => client.query<{ id: string }>(query));
  if (rows.length <= MAX_DUPLICATES) return new Set(rows.map((row) => row.id));
  const message = `more than ${MAX_DUPLICATES} product ids stand more than once in the source: is ${source.idColumn} the id (--id-column)?`;
  throw new CategorizerError('TOO_MANY_DUPLICATES', message);
}

function catalogueQuery(source: SourceSettings, columns: SourceColumns, recordCounts: boolean): string {
  const { features, category } = columns;
  const id = `s.${quoteIdentifier(source.idColumn)}::text`;
  const own = category === undefined ? 'NULL' : `s.${quoteIdentifier(category)}::text`;
  const current = category === undefined || recordCounts ? `coalesce(c.category_code, ${own})` : own;
  return `
    SELECT ${id}, ${features}, ${current}, c.input_hash, r.decided_category, r.decided_by,
      nullif(r.features IS NULL, false),
      nullif(r.overruled_at IS NOT NULL AND r.overruled_category IS NOT DISTINCT FROM ${current}, false)
    FROM ${relationOf(source)} s
    LEFT JOIN categorizer.product_categories c ON c.product_id = ${id}
    LEFT JOIN categorizer.reviews r ON r.product_id = ${id} AND r.decided_category IS NOT NULL`;
}

interface Page {
  readonly rows: number;
  add(row: CopyRow): void;
  done(): CataloguePage;
}

function createPage(width: number, capacity: number, duplicates: ReadonlySet<string>): Page {
  const values = new Float32Array(capacity * width);
  const idEnds = new Uint32Array(capacity);
  const inputHashes = new Uint8Array(capacity * INPUT_HASH_BYTES);
  const currentCategories: (string | null)[] = [];
  const decisions = new Map<number, FoundDecision>();
  const rejects: CatalogueReject[] = [];
  let ids = Buffer.allocUnsafe(capacity * 16);
  let end = 0;
  let accepted = 0;

  function check(row: CopyRow): RejectReason | undefined {
    const badId = checkId(row);
    if (badId) return badId;
    if (duplicates.size > 0 && duplicates.has(textOf(row, ID) ?? '')) {
      return { code: 'DUPLICATE_PRODUCT_ID', message: 'the product id stands more than once in the source' };
    }
    const offset = accepted * width;
    const found = readFloats(row, FEATURES, values, offset, width);
    if (found !== undefined) {
      const got = row.lengths[FEATURES] < 0 ? 'null' : found < 0 ? 'an array of several dimensions' : found;
      return { code: 'WRONG_WIDTH', message: `expected ${width} features, got ${got}` };
    }
    for (let i = 0; i < width; i++) {
      if (Number.isFinite(values[offset + i])) continue;
      const message = `feature ${i} is not a finite float32 number: ${describe(values[offset + i])}`;
      return { code: 'NON_FINITE_FEATURE', message };
    }
    return undefined;
  }

  function addId({ bytes, starts, lengths }: CopyRow): void {
    if (end + lengths[ID] + 1 > ids.length) {
      ids = Buffer.concat([ids.subarray(0, end), Buffer.allocUnsafe(ids.length + lengths[ID] + 1)]);
    }
    if (accepted > 0) ids[end++] = LINE_FEED;
    end += bytes.copy(ids, end, starts[ID], starts[ID] + lengths[ID]);
    idEnds[accepted] = end;
  }

  return {
    get rows() {
      return accepted + rejects.length;
    },
    add(row) {
      const reason = check(row);
      if (reason) {
        rejects.push({ productId: textOf(row, ID), ...reason });
        return;
      }
      addId(row);
      const { bytes, starts, lengths } = row;
      if (lengths[HASH] === INPUT_HASH_BYTES) {
        bytes.copy(inputHashes, accepted * INPUT_HASH_BYTES, starts[HASH], starts[HASH] + INPUT_HASH_BYTES);
      }
      currentCategories.push(textOf(row, CURRENT));
      const categoryCode = textOf(row, DECIDED);
      if (categoryCode !== null) {
        const decidedBy = textOf(row, DECIDED_BY) ?? '';
        const lacksFeatures = lengths[LACKS_FEATURES] > 0;
        const overruled = lengths[OVERRULED] > 0;
        decisions.set(accepted, { categoryCode, decidedBy, lacksFeatures, ...(overruled && { overruled }) });
      }
      accepted++;
    },
    done: () => ({
      products: {
        ids: ids.subarray(0, end),
        features: { rows: accepted, width, values: values.subarray(0, accepted * width) },
      },
      idEnds: idEnds.subarray(0, accepted),
      currentCategories,
      inputHashes: inputHashes.subarray(0, accepted * INPUT_HASH_BYTES),
      decisions,
      rejects,
    }),
  };
}

/** An id of ASCII without control characters needs no closer look. */
function checkId(row: CopyRow): RejectReason | undefined {
  const { bytes, starts, lengths } = row;
  const length = lengths[ID];
  if (length > 0 && length <= 200) {
    let plain = true;
    for (let i = starts[ID]; plain && i < starts[ID] + length; i++) plain = bytes[i] >= 0x20 && bytes[i] < 0x7f;
    if (plain) return undefined;
  }
  return checkProductId(textOf(row, ID) ?? undefined);
}
