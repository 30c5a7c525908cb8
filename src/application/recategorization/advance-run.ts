import type { ModelInfo } from '../../domain/category.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { findHolds, isWorking, unaccountedProducts, type WorkingState } from '../../domain/run.ts';
import { categoryCodes } from '../categorize-products.ts';
import type { Clock, Logger, ProductQueue } from '../ports.ts';
import { throwIfStopped } from '../stopping.ts';
import { applyRun } from './apply-run.ts';
import { categorizeSlices, discardRun } from './categorize-slices.ts';
import { planRun } from './plan-run.ts';
import type {
  CategoryStore,
  InputHash,
  Run,
  RunChunks,
  RunObserver,
  RunPlan,
  RunRegistry,
  RunReports,
} from './ports.ts';
import { describeModel, isSameModel } from './used-model.ts';

/**
 * Takes a run as far as it goes: to its end, to where a person must approve it, or to where its chunks must be finished
 * first (`waiting`: call again then). Every step is recorded when it is done, so that a process that is killed anywhere
 * is replaced by the next call, by whoever makes it.
 *
 * @throws what is worth another try; any other error of ours makes the run `failed`
 */
export type AdvanceRun = (runId: string, stop: AbortSignal) => Promise<'over' | 'waiting'>;

export function createAdvanceRun(dependencies: {
  readonly registry: RunRegistry;
  readonly plan: RunPlan;
  readonly reports: RunReports;
  readonly categories: CategoryStore;
  readonly queue: ProductQueue;
  readonly chunks: RunChunks;
  /** The model of this process, as its files are now. */
  readonly readModel: () => Promise<ModelInfo>;
  readonly createInputHash: (model: ModelInfo) => InputHash;
  readonly clock: Clock;
  readonly observer: Pick<RunObserver, 'ended'>;
  readonly logger: Logger;
}): AdvanceRun {
  const { registry, plan, reports, categories, readModel, createInputHash, observer, logger } = dependencies;

  async function planIt(run: Run, stop: AbortSignal): Promise<'on'> {
    const model = await readModel();
    const own = { ...model, categories: categoryCodes(model) };
    if (!isSameModel(own, run.model)) {
      const message = `the run was begun with ${describeModel(run.model)}, and this process has ${describeModel(own)} (MODEL_PATH)`;
      throw new CategorizerError('MODEL_MISMATCH', message);
    }
    const inputHash = createInputHash(model);
    const { settings } = run;
    // A slip in it should be seen now, and not when the first slice is applied at four in the morning.
    await categories.checkWrites(settings, own.categories);
    await plan.create(run.id, (catalogue, sink) => planRun({ catalogue, sink, inputHash }, { settings, model, stop }));
    return 'on';
  }

  /**
   * The feature space of the run's vectors. Another model than that of the run says nothing of them, and one that cannot be
   * read must not end a run: workers compare the width then, and whose answers they are is looked at in any case.
   */
  async function spaceOf(run: Run): Promise<string | undefined> {
    const model = await readModel().catch((error: unknown) => {
      if (!(error instanceof CategorizerError)) throw error;
      logger.warn(
        { runId: run.id, reason: error.message },
        'the model cannot be read: chunks are sent without a space',
      );
      return undefined;
    });
    if (!model || !isSameModel({ ...model, categories: categoryCodes(model) }, run.model)) return undefined;
    return model.space;
  }

  async function categorize(run: Run, stop: AbortSignal): Promise<'waiting' | 'on'> {
    const space = await spaceOf(run);
    if ((await categorizeSlices(dependencies, run, { space, stop })) === 'waiting') return 'waiting';
    const counts = await reports.create(run.id);
    const unaccounted = unaccountedProducts(counts);
    if (unaccounted !== 0) {
      const message = `${counts.products} products were read, and ${counts.products - unaccounted} are accounted for: nothing was applied; start a new run`;
      throw new CategorizerError('RUN_INCOMPLETE', message);
    }
    const holds = findHolds(counts, run.settings);
    if (run.settings.dryRun) {
      await registry.change(run.id, ['running'], 'running', { holds });
      await categories.finish(run.id);
    } else if (holds.length > 0) {
      await registry.change(run.id, ['running'], 'awaiting_approval', { holds });
    } else {
      await registry.change(run.id, ['running'], 'applying');
    }
    return 'on';
  }

  async function apply(run: Run, stop: AbortSignal): Promise<'on'> {
    await applyRun(dependencies, run.id, stop);
    await categories.finish(run.id);
    return 'on';
  }

  const steps: Record<WorkingState, (run: Run, stop: AbortSignal) => Promise<'waiting' | 'on'>> = {
    planned: planIt,
    running: categorize,
    applying: apply,
  };

  return async (runId, stop) => {
    for (;;) {
      throwIfStopped(stop);
      const run = await registry.get(runId);
      if (!run || !isWorking(run.state)) {
        if (run) observer.ended(run);
        return 'over';
      }
      const { state } = run;
      logger.info({ runId, state }, 'run goes on');
      try {
        if ((await steps[state](run, stop)) === 'waiting') return 'waiting';
      } catch (error) {
        if (!(error instanceof CategorizerError) || error.retryable) throw error;
        const { code, message } = error;
        await registry.change(runId, [state], 'failed', { failure: { state, code, message } });
        // Resumed it sends them anew; of a run that nobody resumes they would wait for ever.
        if (state === 'running') await discardRun(dependencies, runId);
      }
    }
  };
}
