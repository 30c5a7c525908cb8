import type { ModelInfo } from '../domain/category.ts';
import { messageOf } from '../domain/errors.ts';
import { describeKind, fitsModel } from '../domain/feature-space.ts';
import type { QueueDepth } from './ports.ts';

/** Jobs wait, and this worker has taken none for so long: it does not work, whatever its connection says. */
const STUCK_AFTER_SECONDS = 30;

interface Readiness {
  readonly ready: boolean;
  /** A sentence for each thing that is wrong. */
  readonly problems: readonly string[];
}

export type CheckReadiness = () => Promise<Readiness>;

/** Whether this worker can do its work: Redis can be trusted, the queue makes progress, and there are jobs for its model. */
export function createCheckReadiness(dependencies: {
  readonly redisProblem: () => Promise<string | undefined>;
  /** The input queue first. */
  readonly queueDepths: () => Promise<readonly QueueDepth[]>;
  /** Milliseconds since 1970, as `now`. */
  readonly lastProgressAt: () => number;
  readonly now: () => number;
  readonly model: Pick<ModelInfo, 'space' | 'width'>;
}): CheckReadiness {
  const { redisProblem, queueDepths, lastProgressAt, now, model } = dependencies;

  async function queueProblem(): Promise<string | undefined> {
    const [input] = await queueDepths();
    return mismatchProblem(input, model) ?? progressProblem(input);
  }

  function progressProblem(input: QueueDepth): string | undefined {
    const idleSeconds = (now() - lastProgressAt()) / 1000;
    const stuck =
      !input.paused && input.oldestWaitingAgeSeconds > STUCK_AFTER_SECONDS && idleSeconds > STUCK_AFTER_SECONDS;
    if (!stuck) return undefined;
    const waits = Math.round(input.oldestWaitingAgeSeconds);
    return `a job has waited for ${waits} s, and this worker has taken or finished none for ${Math.round(idleSeconds)} s`;
  }

  return async () => {
    const redis = await redisProblem();
    const problem = redis ?? (await queueProblem().catch(messageOf));
    return { ready: problem === undefined, problems: problem === undefined ? [] : [problem] };
  };
}

/** All jobs that are not finished were given back, and wait for another model than this worker's. */
function mismatchProblem(
  { jobs, mismatched = [] }: QueueDepth,
  model: Pick<ModelInfo, 'space' | 'width'>,
): string | undefined {
  const { waiting, prioritized, active, delayed } = jobs;
  const unfinished = waiting + prioritized + active + delayed;
  const foreign = mismatched.filter((kind) => !fitsModel(kind, model));
  const left = foreign.reduce((sum, kind) => sum + kind.waiting + kind.delayed, 0);
  // Of a long queue both are estimates.
  if (left === 0 || left < 0.999 * unfinished) return undefined;
  const wanted = foreign.map(describeKind).join(', ');
  const all = unfinished === 1 ? 'the only job' : `all ${unfinished} jobs`;
  return `${all} on the queue cannot be answered by this worker: they have vectors of ${wanted}, and its model answers ${model.space} (width ${model.width}); start a worker with the right MODEL_PATH`;
}
