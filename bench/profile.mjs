// npm run bench:profile: where a worker's time goes while it takes packed chunks (rung e), from node --cpu-prof.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FILL, openQueueRung } from './queue-rungs.mjs';

const PRODUCTS = 2_048_000;
const ROUNDS = 5;

/** The first that fits a frame (`function url`) takes its time. @type {readonly [string, RegExp][]} */
const PARTS = [
  ['idle', /^\(idle\)/],
  [
    'start: loading modules',
    /internal\/modules|cjs-module-lexer|^(dlopen|wrapSafe|readFileUtf8|compileSource)|node:internal\/(url|bootstrap)/,
  ],
  ['garbage collection', /^\(garbage collector\)/],
  ['run: the model', /onnxruntime/],
  ['results: the likeliest category of each row', /domain\/prediction/],
  ['check: finite numbers, ids, checksum', /domain\/packed-products|^crc32|^isUtf8|contract\/packed|categorize-/],
  ['metrics and traces', /observability|prom-client|opentelemetry/],
  [
    'socket: writing and reading',
    /^(writeBuffer|writev|writeUtf8String|writeLatin1String|readStart|onStreamRead|pushToPipe)|node:(net|internal\/stream)/,
  ],
  ['copy: joining buffers', /^(_copyActual|copy|concat|createUnsafeBuffer|fill|set|slice)|node:(internal\/)?buffer/],
  ['JSON and jobs: BullMQ', /bullmq|msgpackr/],
  ['Redis protocol: ioredis', /ioredis|redis-parser|denque|standard-as-callback/],
];

const directory = mkdtempSync(join(tmpdir(), 'categorizer-profile-'));
const rung = await openQueueRung({
  products: PRODUCTS,
  fill: FILL.packed(),
  nodeOptions: ['--cpu-prof', `--cpu-prof-dir=${directory}`],
});
const rates = [];
for (let i = 0; i < ROUNDS; i++) rates.push(await rung.measure());
await rung.close();
const [file] = readdirSync(directory);
const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(join(directory, file), 'utf8'));
rmSync(directory, { recursive: true });

/** @type {Map<number, string>} */
const partOf = new Map();
for (const { id, callFrame } of nodes) {
  const frame = `${callFrame.functionName} ${callFrame.url}`;
  partOf.set(id, PARTS.find(([, pattern]) => pattern.test(frame))?.[0] ?? 'everything else');
}
/** @type {Map<string, number>} */
const times = new Map();
samples.forEach((/** @type {number} */ id, /** @type {number} */ i) => {
  const part = partOf.get(id) ?? '';
  times.set(part, (times.get(part) ?? 0) + timeDeltas[i] / 1000);
});
const idle = new Set(['idle', 'start: loading modules']);
const busy = [...times].filter(([part]) => !idle.has(part)).sort(([, a], [, b]) => b - a);
const total = busy.reduce((sum, [, ms]) => sum + ms, 0);
const products = PRODUCTS * ROUNDS;
console.log(`${Math.round(Math.max(...rates)).toLocaleString('en')} products a second, profiled\n`);
console.log('| part | share of the busy time | ns a product |\n| --- | ---: | ---: |');
for (const [part, ms] of busy) {
  console.log(`| ${part} | ${((100 * ms) / total).toFixed(1)} % | ${((ms * 1e6) / products).toFixed(0)} |`);
}
