import {
  type Catalogue,
  type CataloguePage,
  type CatalogueReject,
  type DecidedProduct,
  INPUT_HASH_BYTES,
  type InputHash,
  type PlanSink,
} from '../../src/application/recategorization/ports.ts';
import { packIds } from '../../src/contract/index.ts';
import { unpackIds } from '../../src/domain/packed-products.ts';

/** A product of a catalogue in memory. */
export interface PlannedProduct {
  readonly id: string;
  readonly features: readonly [number, number];
  readonly current?: string;
  /** Its input is the same as at its last categorization. */
  readonly unchanged?: boolean;
  readonly decision?: { readonly categoryCode: string; readonly decidedBy: string; readonly lacksFeatures?: boolean };
}

/** The vector itself: what is not the same has another hash. */
export const vectorAsHash: InputHash = ({ rows, width, values }) => {
  const hashes = new Float32Array((rows * INPUT_HASH_BYTES) / 4);
  for (let row = 0; row < rows; row++) hashes.set(values.subarray(row * width, (row + 1) * width), (row * 16) / 4);
  return new Uint8Array(hashes.buffer);
};

/** A page of two features each. */
export function cataloguePage(
  products: readonly PlannedProduct[],
  rejects: readonly CatalogueReject[] = [],
): CataloguePage {
  const ids = products.map(({ id }) => id);
  let end = -1;
  const idEnds = Uint32Array.from(ids, (id) => {
    end += 1 + Buffer.byteLength(id);
    return end;
  });
  const features = {
    rows: products.length,
    width: 2,
    values: Float32Array.from(products.flatMap(({ features: own }) => own)),
  };
  const inputHashes = vectorAsHash(features);
  products.forEach(({ unchanged }, row) => {
    if (!unchanged) inputHashes.fill(0, row * INPUT_HASH_BYTES, (row + 1) * INPUT_HASH_BYTES);
  });
  return {
    products: { ids: packIds(ids), features },
    idEnds,
    currentCategories: products.map(({ current }) => current ?? null),
    inputHashes,
    decisions: new Map(
      products.flatMap(({ decision }, row) => (decision ? [[row, { lacksFeatures: false, ...decision }]] : [])),
    ),
    rejects,
  };
}

export function catalogueOf(...pages: readonly CataloguePage[]): Catalogue {
  return {
    async *read() {
      yield* pages;
    },
  };
}

interface RecordedSlice {
  readonly number: number;
  readonly ids: readonly string[];
  readonly values: readonly number[];
  readonly currentCategories: readonly (string | null)[];
  readonly inputHashes: readonly number[];
}

/** Keeps a plan in memory. */
export function createFakePlanSink() {
  const slices: RecordedSlice[] = [];
  const decided: { readonly number: number; readonly products: readonly DecidedProduct[] }[] = [];
  const rejects: CatalogueReject[] = [];
  const decidedFeatures: Record<string, readonly number[]> = {};
  const sink: PlanSink = {
    async slice({ number, products, currentCategories, inputHashes }) {
      const { rows, values } = products.features;
      const ids = unpackIds(products.ids, rows);
      slices.push({ number, ids, values: [...values], currentCategories, inputHashes: [...inputHashes] });
    },
    async decided(number, products) {
      decided.push({ number, products });
    },
    async rejects(more) {
      rejects.push(...more);
    },
    async decidedFeatures(productId, features) {
      decidedFeatures[productId] = [...features];
    },
  };
  return { sink, slices, decided, rejects, decidedFeatures };
}
