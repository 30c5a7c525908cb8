import type { ModelInfo } from '../../domain/category.ts';
import { unpackIds } from '../../domain/packed-products.ts';
import { type RunSettings, writesToErp } from '../../domain/run.ts';
import { throwIfStopped } from '../stopping.ts';
import {
  type Catalogue,
  type CataloguePage,
  type CatalogueReject,
  type DecidedProduct,
  INPUT_HASH_BYTES,
  type InputHash,
  type PlanSink,
} from './ports.ts';
import { createSliceBuilder } from './slice-builder.ts';

const PAGE_ROWS = 8192;

/**
 * Reads the whole catalogue and plans what of it is to be categorized: only the products whose input is another than at
 * their last categorization. What a person decided is not for the model.
 *
 * @returns how many products there are, and how many of them stay as they are unseen
 * @throws CategorizerError `INTERRUPTED`, and what the ports throw
 */
export async function planRun(
  ports: { readonly catalogue: Catalogue; readonly sink: PlanSink; readonly inputHash: InputHash },
  { settings, model, stop }: { settings: RunSettings; model: ModelInfo; stop: AbortSignal },
): Promise<{ products: number; skipped: number }> {
  const { catalogue, sink, inputHash } = ports;
  const { width } = model;
  const { source, sliceSize, full } = settings;
  // Where nothing is written to the ERP, its column says nothing of what was decided here.
  const recordCounts = !writesToErp(settings);
  const known = new Set(model.categories.map(({ code }) => code));
  const slice = createSliceBuilder(sliceSize, width);
  const decided: DecidedProduct[] = [];
  let nextSlice = 0;
  let products = 0;
  let skipped = 0;

  async function takeDecisions(page: CataloguePage, inputHashes: Uint8Array): Promise<CatalogueReject[]> {
    if (page.decisions.size === 0) return [];
    const rejects: CatalogueReject[] = [];
    const ids = unpackIds(page.products.ids, page.products.features.rows);
    for (const [row, { categoryCode, decidedBy, lacksFeatures, overruled }] of page.decisions) {
      const productId = ids[row];
      if (lacksFeatures) {
        await sink.decidedFeatures(productId, page.products.features.values.subarray(row * width, (row + 1) * width));
      }
      const currentCategory = page.currentCategories[row];
      if (categoryCode === currentCategory || overruled) {
        skipped++;
      } else if (known.has(categoryCode)) {
        const inputHash = inputHashes.slice(row * INPUT_HASH_BYTES, (row + 1) * INPUT_HASH_BYTES);
        decided.push({ productId, categoryCode, decidedBy, currentCategory, inputHash });
      } else {
        const message = `${decidedBy} decided on ${JSON.stringify(categoryCode)}, which is none of the model's categories: ${[...known].join(', ')}`;
        rejects.push({ productId, code: 'UNKNOWN_CATEGORY', message });
      }
    }
    return rejects;
  }

  for await (const page of catalogue.read(source, { width, pageRows: PAGE_ROWS, recordCounts })) {
    throwIfStopped(stop);
    const { rows } = page.products.features;
    products += rows + page.rejects.length;
    const inputHashes = inputHash(page.products.features);
    const rejects = [...page.rejects, ...(await takeDecisions(page, inputHashes))];
    if (rejects.length > 0) await sink.rejects(rejects);
    for (let row = 0; row < rows; row++) {
      if (page.decisions.has(row)) continue;
      if (!full && isSame(inputHashes, page.inputHashes, row)) {
        skipped++;
        continue;
      }
      slice.add(page, row, inputHashes);
      if (slice.rows === sliceSize) await sink.slice(slice.take(nextSlice++));
    }
  }
  if (slice.rows > 0) await sink.slice(slice.take(nextSlice++));
  for (let start = 0; start < decided.length; start += sliceSize) {
    await sink.decided(nextSlice++, decided.slice(start, start + sliceSize));
  }
  return { products, skipped };
}

function isSame(a: Uint8Array, b: Uint8Array, row: number): boolean {
  for (let i = row * INPUT_HASH_BYTES; i < (row + 1) * INPUT_HASH_BYTES; i++) if (a[i] !== b[i]) return false;
  return true;
}
