import type { ModelInfo } from '../../domain/category.ts';
import { CategorizerError } from '../../domain/errors.ts';
import { isWorking, type RunSettings, type RunState } from '../../domain/run.ts';
import type { ProductQueue } from '../ports.ts';
import { discardRun } from './categorize-slices.ts';
import { findRun } from './find-run.ts';
import type { Run, RunChunks, RunPlan, RunQueue, RunRegistry } from './ports.ts';

/** What people, and schedules, do with runs. */
export interface ManageRuns {
  /** @throws CategorizerError `RUN_LOCKED` or `RUN_CONFLICT` */
  start(run: { id: string; name: string; settings: RunSettings; model: ModelInfo }): Promise<Run>;
  /** A failed run goes on where it failed, a working one where its process was lost. @throws `RUN_STATE`, `RUN_LOCKED` */
  resume(id: string): Promise<Run>;
  /** @throws `RUN_STATE` where it does not wait for approval */
  approve(id: string, by: string): Promise<Run>;
  /** @throws `RUN_STATE` */
  reject(id: string, by: string): Promise<Run>;
  /** Gives a run up that has not applied anything yet. @throws `RUN_STATE` */
  cancel(id: string, by: string): Promise<Run>;
  /** @throws CategorizerError `RUN_NOT_FOUND` */
  find(id: string): Promise<Run>;
  /** Records that a working run failed with an error that nobody foresaw. */
  fail(id: string, error: Error): Promise<void>;
  /** Sees to it that the working run has its job, whatever became of the process that began it, or of Redis. */
  adopt(): Promise<void>;
}

export function createManageRuns(dependencies: {
  readonly registry: RunRegistry;
  readonly plan: RunPlan;
  readonly runQueue: RunQueue;
  readonly queue: ProductQueue;
  readonly chunks: RunChunks;
}): ManageRuns {
  const { registry, plan, runQueue } = dependencies;

  const find = (id: string): Promise<Run> => findRun(registry, id);

  async function move(id: string, from: readonly RunState[], to: RunState, by: string): Promise<Run> {
    const run = await find(id);
    if (!(await registry.change(id, from, to, { decidedBy: by }))) throw wrongState(await find(id), from);
    return run;
  }

  async function giveUp(id: string, from: readonly RunState[], by: string): Promise<Run> {
    await move(id, from, 'cancelled', by);
    await discardRun(dependencies, id);
    return find(id);
  }

  /** What it had not staged was for another model, perhaps, or was lost: it is sent anew. */
  async function goOnFrom({ id, failure }: Run): Promise<void> {
    const slices = await plan.slices(id);
    if (failure?.state !== 'planned' && slices.length === 0) {
      const message = `what run ${id} had planned is gone, as another run was begun since: start a new one`;
      throw new CategorizerError('RUN_STATE', message);
    }
    if (!(await registry.change(id, ['failed'], failure?.state ?? 'planned')))
      throw wrongState(await find(id), ['failed']);
    await discardRun(dependencies, id);
  }

  return {
    find,
    async start(run) {
      const created = await registry.create(run);
      await runQueue.ensure(created.id);
      return created;
    },
    async resume(id) {
      const run = await find(id);
      if (run.state === 'failed') await goOnFrom(run);
      else if (!isWorking(run.state)) throw wrongState(run, ['failed', 'planned', 'running', 'applying']);
      await runQueue.ensure(id);
      return find(id);
    },
    async approve(id, by) {
      await move(id, ['awaiting_approval'], 'applying', by);
      await runQueue.ensure(id);
      return find(id);
    },
    reject: (id, by) => giveUp(id, ['awaiting_approval'], by),
    cancel: (id, by) => giveUp(id, ['planned', 'running', 'awaiting_approval'], by),
    async fail(id, error) {
      const run = await find(id);
      if (!isWorking(run.state)) return;
      const failure = { state: run.state, code: 'UNFORESEEN', message: error.message };
      await registry.change(id, [run.state], 'failed', { failure });
    },
    async adopt() {
      const run = await registry.locked();
      if (run && isWorking(run.state)) await runQueue.ensure(run.id);
    },
  };
}

function wrongState({ id, state, revertStartedAt }: Run, wanted: readonly RunState[]): CategorizerError {
  if (revertStartedAt) {
    return new CategorizerError('RUN_STATE', `run ${id} was reverted, or is being reverted: start a new one`);
  }
  return new CategorizerError('RUN_STATE', `run ${id} is ${state}, and must be ${wanted.join(' or ')} for that`);
}
