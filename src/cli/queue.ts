import { Command } from 'commander';
import { createCounts, increment } from '../application/counts.ts';
import type { QueueDepth } from '../application/ports.ts';
import { composeQueues, type QueueApp } from '../composition.ts';
import { describeKind } from '../domain/feature-space.ts';
import { type CommandContext, formatCounts, formatTable, runOption } from './context.ts';

const RETRY_PAGE = 500;
const UNKNOWN = 'unknown: the Redis user may not list clients';

export function queueCommand(context: CommandContext): Command {
  return new Command('queue')
    .description('look at the queues, and put failed jobs back')
    .addCommand(statusCommand(context))
    .addCommand(retryFailedCommand(context));
}

function statusCommand(context: CommandContext): Command {
  return new Command('status')
    .description('how many jobs are in which state, and why jobs failed')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  $ categorizer queue status\n  $ categorizer queue status --json | jq .workers',
    )
    .action((options: { json?: boolean }) =>
      withQueues(context, async ({ monitor }) => {
        const [queues, health] = await Promise.all([monitor.depths(), monitor.health()]);
        const [{ workers }] = queues;
        const failedByCode = createCounts();
        for await (const { code } of monitor.failed()) increment(failedByCode, code);
        context.print(
          options.json
            ? JSON.stringify({
                queues,
                workers: workers ?? null,
                failedByCode,
                ...(!isEmpty(health) && { redis: health }),
              })
            : [
                `${formatDepths(queues)}\n`,
                `workers connected: ${workers ?? UNKNOWN}`,
                `failed by code: ${formatCounts(failedByCode)}`,
                ...describeMismatched(queues),
              ].join('\n'),
        );
        for (const sentence of [health.problem, health.unchecked]) if (sentence !== undefined) context.note(sentence);
      }),
    );
}

function retryFailedCommand(context: CommandContext): Command {
  return new Command('retry-failed')
    .description('put failed jobs back on the queue, with all of their attempts')
    .addOption(runOption('only those of this run'))
    .option('--code <code>', 'only those that failed with this code')
    .option('--dry-run', 'say how many, and put none back')
    .option('--json', 'print the summary as JSON')
    .addHelpText(
      'after',
      `
Bad products fail again: mend and send those instead.

Examples:
  $ categorizer queue retry-failed --code PREDICTOR_UNAVAILABLE
  $ categorizer queue retry-failed --run night-2026-11-22 --dry-run`,
    )
    .action((options: { run?: string; code?: string; dryRun?: boolean; json?: boolean }) =>
      withQueues(context, async ({ monitor }) => {
        // All ids first: putting jobs back moves the places of those that follow.
        const jobIds: string[] = [];
        for await (const { jobId, runId, code } of monitor.failed()) {
          const matches = (options.run ?? runId) === runId && (options.code ?? code) === code;
          if (matches) jobIds.push(jobId);
        }
        let retried = 0;
        for (let start = 0; !options.dryRun && start < jobIds.length; start += RETRY_PAGE) {
          retried += await monitor.retryFailed(jobIds.slice(start, start + RETRY_PAGE));
        }
        const sentence = options.dryRun ? `${jobIds.length} would be put back` : `${retried} put back`;
        context.print(options.json ? JSON.stringify({ matched: jobIds.length, retried }) : sentence);
      }),
    );
}

/** Neither a problem nor anything that could not be checked. */
function isEmpty(health: object): boolean {
  return Object.keys(health).length === 0;
}

async function withQueues(context: CommandContext, use: (app: QueueApp) => Promise<void>): Promise<void> {
  const app = await composeQueues(context.config(), context.stop);
  try {
    await use(app);
  } finally {
    await app.close();
  }
}

/** Jobs that no connected worker's model was made for, where there are any. */
function describeMismatched([{ mismatched = [] }]: readonly QueueDepth[]): string[] {
  if (mismatched.length === 0) return [];
  const counts = createCounts();
  for (const kind of mismatched) increment(counts, describeKind(kind), kind.waiting + kind.delayed);
  return [`wait for another model: ${formatCounts(counts)}`];
}

function formatDepths(queues: readonly QueueDepth[]): string {
  const header = ['queue', ...Object.keys(queues[0].jobs), 'oldest waits', ''];
  const rows = queues.map(({ queue, jobs, oldestWaitingAgeSeconds, paused }) => [
    queue,
    ...Object.values(jobs).map(String),
    `${oldestWaitingAgeSeconds.toFixed(1)} s`,
    paused ? 'paused' : '',
  ]);
  return formatTable([header, ...rows], 1);
}
