// What one writes first: a BullMQ worker that runs the model for one product at a time and adds one result job.
// node naive-worker.mjs <redis url> <prefix> <concurrency>
import { Queue, Worker } from 'bullmq';
import { CATEGORY_RESULT, PRODUCT_QUEUE, RESULT_QUEUE, resultIdOf } from '../dist/contract/index.js';
import { loadModel } from './model.mjs';

const [url, prefix, concurrency] = process.argv.slice(2);
const model = await loadModel();
const connection = { host: new URL(url).hostname, port: Number(new URL(url).port) };
const results = new Queue(RESULT_QUEUE, { connection, prefix });

const worker = new Worker(
  PRODUCT_QUEUE,
  async (job) => {
    const { productId, features, runId } = job.data;
    const logits = await model.run(Float32Array.from(features), 1);
    const exponentials = logits.map((logit) => Math.exp(logit));
    const sum = exponentials.reduce((total, value) => total + value, 0);
    const probabilities = Array.from(exponentials, (value) => value / sum);
    const best = probabilities.indexOf(Math.max(...probabilities));
    const category = model.categories[best];
    const data = { productId, category, confidence: probabilities[best], probabilities, runId, jobId: job.id };
    await results.add(CATEGORY_RESULT, data, { jobId: resultIdOf(String(job.id), job.timestamp) });
    return category;
  },
  { connection, prefix, concurrency: Number(concurrency) },
);
await worker.waitUntilReady();
console.log('ready');

process.on('SIGTERM', async () => {
  await worker.close();
  await results.close();
});
