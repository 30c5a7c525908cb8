// Rung f: what one core can do with no queue: unpack a payload, check it, run the model, pack the outcome; the same
// functions as the worker's. node ceiling.mjs <chunks> <products in each> prints products a second.
import { createOnnxPredictor } from '../dist/adapters/onnx/onnx-predictor.js';
import { packOutcomes, packProducts, unpackProducts } from '../dist/contract/index.js';
import { checkPackedProducts } from '../dist/domain/packed-products.js';
import { productTable, WIDTH } from './products.mjs';

const [chunks, size] = process.argv.slice(2).map(Number);
const modelPath = new URL('../model/model.onnx', import.meta.url).pathname;
const predictor = await createOnnxPredictor({ modelPath, threads: 1 });
// Distinct payloads, so that they do not all come from the processor's cache.
const packed = Array.from({ length: 32 }, (_, i) => packProducts(productTable(i * size, size)));

/** @param {number} count */
async function categorize(count) {
  for (let i = 0; i < count; i++) {
    const { payload, ...announced } = packed[i % packed.length];
    const products = unpackProducts(payload, { ...announced, width: WIDTH });
    const { features } = checkPackedProducts(products, WIDTH);
    packOutcomes({ ids: products.ids, ...(await predictor.predict(features)) });
  }
}

await categorize(packed.length);
const begin = performance.now();
await categorize(chunks);
console.log((chunks * size * 1000) / (performance.now() - begin));
await predictor.close();
