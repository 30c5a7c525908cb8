import { messageOf } from '../domain/errors.ts';
import type { QueueDepth } from './ports.ts';

/** Jobs wait, and this worker has taken none for so long: it does not work, whatever its connection says. */
const STUCK_AFTER_SECONDS = 30;

interface Readiness {
  readonly ready: boolean;
  /** A sentence for each thing that is wrong. */
  readonly problems: readonly string[];
}

export type CheckReadiness = () => Promise<Readiness>;

/** Whether this worker can do its work: Redis can be trusted, and the queue makes progress. */
export function createCheckReadiness(dependencies: {
  readonly redisProblem: () => Promise<string | undefined>;
  /** The input queue first. */
  readonly queueDepths: () => Promise<readonly QueueDepth[]>;
  /** Milliseconds since 1970, as `now`. */
  readonly lastProgressAt: () => number;
  readonly now: () => number;
}): CheckReadiness {
  const { redisProblem, queueDepths, lastProgressAt, now } = dependencies;

  async function progressProblem(): Promise<string | undefined> {
    const [input] = await queueDepths();
    const idleSeconds = (now() - lastProgressAt()) / 1000;
    const stuck =
      !input.paused && input.oldestWaitingAgeSeconds > STUCK_AFTER_SECONDS && idleSeconds > STUCK_AFTER_SECONDS;
    if (!stuck) return undefined;
    const waits = Math.round(input.oldestWaitingAgeSeconds);
    return `a job has waited for ${waits} s, and this worker has taken or finished none for ${Math.round(idleSeconds)} s`;
  }

  return async () => {
    const redis = await redisProblem();
    const problem = redis ?? (await progressProblem().catch(messageOf));
    return { ready: problem === undefined, problems: problem === undefined ? [] : [problem] };
  };
}
