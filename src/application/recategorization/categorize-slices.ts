import { CategorizerError } from '../../domain/errors.ts';
import { allChunks } from '../../domain/import.ts';
import { unpackIds } from '../../domain/packed-products.ts';
import type { ProductTable } from '../../domain/product.ts';
import { enqueueProducts } from '../enqueue-products.ts';
import type { CategorizedProducts, Clock, ProductQueue, ProductSource, RejectSink } from '../ports.ts';
import { throwIfStopped } from '../stopping.ts';
import type { Run, RunChunks, RunPlan, SliceState, UsedModel } from './ports.ts';
import { describeModel, isSameModel } from './used-model.ts';

/** So often a chunk may vanish (its result was collected by somebody else, say) before it is given up. */
const MAX_SENDS = 3;

interface SliceOptions {
  /** What produced the vectors of the catalogue, where that is known. */
  readonly space?: string;
  readonly stop: AbortSignal;
}

/**
 * Sends the slices of a run to the queue as chunks, and stages the results that are there.
 *
 * @returns whether chunks are still under way: to be called again when they are finished
 * @throws CategorizerError `MODEL_MISMATCH`, `INTERRUPTED`, and what the ports throw
 */
export async function categorizeSlices(
  ports: {
    readonly plan: RunPlan;
    readonly queue: ProductQueue;
    readonly chunks: RunChunks;
    readonly clock: Clock;
  },
  run: Run,
  options: SliceOptions,
): Promise<'waiting' | 'staged'> {
  const { plan, chunks } = ports;
  const { stop } = options;
  await send(ports, run, options);
  const open = (await plan.slices(run.id)).filter(({ staged }) => !staged);
  const lost: number[] = [];
  let underWay = 0;
  for (const { number, sends } of open) {
    throwIfStopped(stop);
    const outcome = await chunks.outcome(run.id, number);
    switch (outcome.state) {
      case 'pending':
        underWay++;
        break;
      case 'lost':
        await takeForLost(number, sends);
        break;
      case 'failed':
        if (outcome.code === 'MODEL_MISMATCH') {
          const message = `for too long no worker had a model that fits the vectors of the run: give the workers the model of the run, then categorizer runs resume ${run.id}`;
          throw new CategorizerError('MODEL_MISMATCH', message);
        }
        await giveUp(number, outcome);
        break;
      case 'categorized': {
        const slice = await plan.read(run.id, number);
        const { products: result } = outcome.result;
        // Whoever may write to the results queue can put another answer under the id of this one.
        if (!areSameProducts(slice.products, result)) {
          await takeForLost(number, sends);
          break;
        }
        checkModel(run.model, { ...outcome.model, categories: result.categories });
        await plan.stage(run.id, { slice, result, reviewBelow: run.settings.reviewBelow });
        // After it is staged: killed in between, it is left, and removed at the end.
        await chunks.removeResults(run.id, [number]);
      }
    }
  }
  if (lost.length > 0) {
    await plan.sendAgain(run.id, lost);
    await ports.queue.forget(run.id, lost);
    await chunks.removeResults(run.id, lost);
    await send(ports, run, options);
  }
  if (underWay + lost.length > 0) return 'waiting';
  await chunks.removeResults(run.id, await chunkNumbers(plan, run.id));
  return 'staged';

  async function takeForLost(number: number, sends: number): Promise<void> {
    if (sends < MAX_SENDS) lost.push(number);
    else await giveUp(number, { code: 'RESULT_LOST', message: `its result was lost ${MAX_SENDS} times` });
  }

  async function giveUp(number: number, reason: { code: string; message: string }): Promise<void> {
    await plan.stageFailed(run.id, await plan.read(run.id, number), reason);
  }
}

/** A slice that the model is asked about is a chunk, and has its number. */
async function chunkNumbers(plan: RunPlan, runId: string): Promise<number[]> {
  return (await plan.slices(runId)).filter(({ forModel }) => forModel).map(numberOf);
}

const numberOf = ({ number }: SliceState): number => number;

/** Removes what is left of a run on the queues; what is not staged can be sent anew. Chunks in work are left. */
export async function discardRun(
  ports: { readonly plan: RunPlan; readonly queue: ProductQueue; readonly chunks: RunChunks },
  runId: string,
): Promise<void> {
  const sent = (await ports.plan.slices(runId)).filter(({ forModel }) => forModel);
  const unstaged = sent.filter(({ staged }) => !staged);
  await ports.queue.forget(runId, unstaged.map(numberOf));
  await ports.chunks.removeResults(runId, sent.map(numberOf));
}

/** Sends what is neither staged nor known to have arrived. */
async function send(
  { plan, queue, clock }: { readonly plan: RunPlan; readonly queue: ProductQueue; readonly clock: Clock },
  run: Run,
  { space, stop }: SliceOptions,
): Promise<void> {
  const { sliceSize, maxPendingMiB } = run.settings;
  const source: ProductSource = {
    fingerprint: `run of ${run.createdAt.toISOString()}`,
    async *products() {
      for (const number of await chunkNumbers(plan, run.id)) yield (await plan.read(run.id, number)).products;
    },
    counts: () => ({ rejected: 0, skipped: 0 }),
    async *rejects() {},
    progress: () => ({ read: 0, total: 0 }),
    close: async () => undefined,
  };
  const staged = new Set((await plan.slices(run.id)).filter((slice) => slice.staged).map(numberOf));
  // What is lost is found by its outcome, which counts how often. A Redis that lost everything knows of no chunk that arrived.
  const begin: ProductQueue['begin'] = async (...args) => {
    const { stateOf, totals } = await queue.begin(...args);
    const isThere = (number: number) => staged.has(number) || stateOf(number) !== undefined;
    return {
      lost: [],
      stateOf: (number) => (isThere(number) ? 'waiting' : undefined),
      totals: totals && allChunks(totals).every(isThere) ? totals : undefined,
    };
  };
  await enqueueProducts(
    { source, queue: { ...queue, begin }, clock, rejects: noRejects },
    { runId: run.id, chunkSize: sliceSize, maxPendingBytes: maxPendingMiB * 1024 * 1024, space, stop },
  );
}

/** What is bad in the catalogue was put aside when the run was planned. */
const noRejects: RejectSink = {
  write: async () => undefined,
  commit: async () => [],
  abort: async () => undefined,
};

/** Whether an answer is about these products, in the same order. */
function areSameProducts({ ids, features }: ProductTable, answer: CategorizedProducts): boolean {
  if (answer.rows !== features.rows) return false;
  const answered = answer.ids instanceof Uint8Array ? unpackIds(answer.ids, answer.rows) : answer.ids;
  return unpackIds(ids, features.rows).every((id, row) => id === answered[row]);
}

function checkModel(planned: UsedModel, used: UsedModel): void {
  if (isSameModel(planned, used)) return;
  const message = `the run was planned for ${describeModel(planned)}, and a worker used ${describeModel(used)}: give the workers the model of the run, then categorizer runs resume`;
  throw new CategorizerError('MODEL_MISMATCH', message);
}
