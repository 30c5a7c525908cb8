import { CategorizerError } from '../domain/errors.ts';
import type { ImportAccount } from '../domain/import.ts';
import { createImportTracker, type ImportLook } from './import-tracker.ts';
import type {
  Clock,
  CollectedResult,
  CollectorClaims,
  CollectorHolder,
  ImportNotes,
  ImportRecords,
  QueueActivity,
  ResultQueue,
  RunMonitor,
} from './ports.ts';
import { throwIfStopped } from './stopping.ts';

/** While results are still to come they are looked for after so many milliseconds. */
const POLL_MS = 50;
/** Looking takes long where very many chunks are open, or results have to be read: it gets this part of the time. */
const POLL_SHARE = 0.1;
/** Redis's time for a chunk, about. What passes here meanwhile says little: this process may be busy with the results. */
const CHUNK_MS = 0.004;
/** Imports that are named to somebody who asked for one that is not there. */
const NAMED_IMPORTS = 5;

export interface ResultPorts {
  readonly queue: ResultQueue;
  readonly records: ImportRecords;
  readonly claims: CollectorClaims;
  readonly monitor: RunMonitor;
  readonly notes: ImportNotes;
  readonly clock: Clock;
}

/** What somebody who waits should know; each may come again and again. */
export type WaitHint = 'not begun' | 'no worker' | 'no fitting worker' | 'not all sent' | 'timed out';

export interface WaitOptions {
  readonly runId: string;
  /** Waits until the run is complete, or nothing more can come. */
  readonly wait: boolean;
  /** Ends the waiting; milliseconds. */
  readonly timeoutMs?: number;
  /** This process is still sending the run. */
  readonly stillSending?: () => boolean;
  readonly stop: AbortSignal;
  readonly onHint?: (hint: WaitHint) => void;
}

export interface RunPages {
  pages(): AsyncIterable<readonly CollectedResult[]>;
  /** As of the last look; undefined of a run whose producer keeps no record. */
  account(): ImportAccount | undefined;
}

/**
 * The results of one run, as they come.
 *
 * Of an import that has a record, the answers of its chunks and no others. It is over when no chunk is on the queue or in work
 * any more. A producer that keeps no record is believed as far as can be: its run is over when no job of any run is left.
 *
 * @throws from `pages`: CategorizerError `RUN_HELD`, `RUN_NOT_FOUND`, `RUN_LOST`, `INTERRUPTED`
 */
export function createRunPages(ports: ResultPorts, options: WaitOptions): RunPages {
  const { queue, records, claims, monitor, notes, clock } = ports;
  const { runId, wait, timeoutMs = Number.POSITIVE_INFINITY, stop, onHint, stillSending = () => false } = options;
  const tracker = createImportTracker(records, runId);
  const startedAt = clock.now();
  let last: ImportLook | undefined;

  /** @param tookMs how long the look took Redis. @returns whether there is time to look again */
  async function pause(tookMs: number): Promise<boolean> {
    if (clock.now() - startedAt >= timeoutMs) {
      onHint?.('timed out');
      return false;
    }
    await new Promise<void>((resolve) => clock.after(Math.max(POLL_MS, tookMs / POLL_SHARE), resolve));
    throwIfStopped(stop, 'stopped by a signal; nothing was taken off the queue');
    return true;
  }

  async function* answersOf(look: ImportLook, taken: Set<number>): AsyncGenerator<readonly CollectedResult[]> {
    const fresh = look.answered.filter((number) => !taken.has(number));
    for await (const page of queue.answers(runId, fresh)) {
      for (const { chunk } of page) if (chunk !== undefined) taken.add(chunk);
      yield page;
    }
  }

  async function hintAbout({ read, waiting }: ImportAccount): Promise<void> {
    if (stillSending()) return;
    if (read === undefined && waiting === 0) onHint?.('not all sent');
    if (waiting > 0) await hintAboutWorkers();
  }

  async function hintAboutWorkers(): Promise<boolean> {
    const activity = await monitor.activity();
    const hint = hintOf(activity);
    if (hint) onHint?.(hint);
    return activity.unfinishedJobs > 0;
  }

  async function notFound(): Promise<CategorizerError> {
    const latest = await records.latest(NAMED_IMPORTS);
    const others = latest.length === 0 ? 'no import has a record' : `the latest imports: ${latest.join(', ')}`;
    return new CategorizerError('RUN_NOT_FOUND', `there is no run ${runId}, and no result of one; ${others}`);
  }

  async function lost(): Promise<CategorizerError> {
    const sentAt = (await notes.find(runId))?.startedAt.toISOString() ?? 'before';
    const message = `Redis lost run ${runId}, which was sent ${sentAt}: it was emptied, or is another one (REDIS_URL, QUEUE_PREFIX); run the same import again`;
    return new CategorizerError('RUN_LOST', message);
  }

  async function* pages(): AsyncGenerator<readonly CollectedResult[]> {
    const holder = await claims.take(runId);
    if (holder) throw new CategorizerError('RUN_HELD', describeHolder(runId, holder));
    const taken = new Set<number>();
    const met = new Set<string>();
    let scanned = 0;
    let found = false;
    let quietSince: number | undefined;
    for (;;) {
      const start = clock.now();
      const look = await tracker.look();
      if (look) {
        last = look;
        yield* answersOf(look, taken);
        const { read, waiting } = look.account;
        // Looked at once more after what was there is read: an answer that is none makes its chunk a missing one.
        const settled = waiting === 0 && look.answered.every((number) => taken.has(number));
        const over = settled && read !== undefined && !stillSending();
        if (over || (!wait && !stillSending())) break;
        await hintAbout(look.account);
      } else if (last) {
        throw await lost();
      } else if (!stillSending()) {
        for await (const page of queue.scan(runId, met)) {
          scanned += page.length;
          yield page;
        }
        found ||= scanned > 0 || (await queue.hasCollected(runId));
        found ||= Object.keys(await monitor.failures(runId)).length > 0;
        if (!found && (await notes.find(runId))) throw await lost();
        if (!wait && !found) throw await notFound();
        if (!wait) break;
        const busy = await hintAboutWorkers();
        if (!busy && !found) onHint?.('not begun');
        // A job completes after its result is there: only what was looked for once more is not coming.
        if (!busy && found && quietSince === scanned) break;
        quietSince = busy ? undefined : scanned;
      }
      if (!(await pause(look ? look.chunks * CHUNK_MS : clock.now() - start))) {
        if (!last && !found) throw await notFound();
        break;
      }
    }
    if (last) await queue.findForeign(runId);
  }

  return { pages, account: () => last?.account };
}

/** The results of all runs, and those without one. What another collector holds is left to it. */
export async function* allPages(
  ports: Pick<ResultPorts, 'queue' | 'claims' | 'monitor' | 'clock'>,
  options: Pick<WaitOptions, 'wait' | 'timeoutMs' | 'stop' | 'onHint'> & {
    readonly onHeld: (runId: string | undefined, holder: CollectorHolder) => void;
  },
): AsyncGenerator<readonly CollectedResult[]> {
  const { queue, claims, monitor, clock } = ports;
  const { wait, timeoutMs = Number.POSITIVE_INFINITY, stop, onHint, onHeld } = options;
  const startedAt = clock.now();
  const holders = new Map<string | undefined, CollectorHolder | undefined>();
  const met = new Set<string>();
  let quietSince: number | undefined;

  async function isOurs({ runId }: CollectedResult): Promise<boolean> {
    if (!holders.has(runId)) {
      const holder = await claims.take(runId);
      holders.set(runId, holder);
      if (holder) onHeld(runId, holder);
    }
    return holders.get(runId) === undefined;
  }

  for (;;) {
    for await (const page of queue.scan(undefined, met)) {
      const ours: CollectedResult[] = [];
      for (const result of page) if (await isOurs(result)) ours.push(result);
      yield ours;
    }
    if (!wait) return;
    const activity = await monitor.activity();
    const { unfinishedJobs } = activity;
    if (unfinishedJobs === 0 && quietSince === met.size) return;
    quietSince = unfinishedJobs === 0 ? met.size : undefined;
    const hint = hintOf(activity);
    if (hint) onHint?.(hint);
    if (clock.now() - startedAt >= timeoutMs) {
      onHint?.('timed out');
      return;
    }
    await new Promise<void>((resolve) => clock.after(POLL_MS, resolve));
    throwIfStopped(stop, 'stopped by a signal; nothing was taken off the queue');
  }
}

/** Why what is left may not be done soon. */
function hintOf({ unfinishedJobs, workers, mismatchedJobs }: QueueActivity): WaitHint | undefined {
  if (unfinishedJobs === 0) return undefined;
  if (workers === 0) return 'no worker';
  return mismatchedJobs >= unfinishedJobs ? 'no fitting worker' : undefined;
}

export function describeHolder(runId: string | undefined, { host, pid, since, out }: CollectorHolder): string {
  const what = runId === undefined ? 'results without a run are' : `run ${runId} is`;
  return `${what} being collected since ${since} by process ${pid} on ${host}, into ${out}; the claim of a collector that died ends within 30 s`;
}
