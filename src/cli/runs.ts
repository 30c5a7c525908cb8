import { userInfo } from 'node:os';
import { Command } from 'commander';
import { findRun } from '../application/recategorization/find-run.ts';
import type { Run } from '../application/recategorization/ports.ts';
import { revertRun } from '../application/recategorization/revert-run.ts';
import type { RunRecords, RunsApp } from '../composition/runs.ts';
import { composeLocalWorker, openTextFile } from '../composition.ts';
import { CategorizerError } from '../domain/errors.ts';
import { type CommandContext, EXIT, formatFields, integerOption } from './context.ts';
import { addFollowOptions, exitCodeOf, type FollowOptions, followRun } from './follow-run.ts';
import { findPrevious } from './previous-run.ts';
import { renderRunReport } from './run-report-html.ts';
import { applySqlOption, warnOfStatement } from './run-settings.ts';
import { formatRevert, formatRun, formatRuns } from './run-text.ts';
import { withRecords, withRuns } from './runs-context.ts';

export function runsCommand(context: CommandContext): Command {
  const runs = new Command('runs').description('look at recategorizations, approve, resume and revert them');
  const commands = [
    listCommand,
    showCommand,
    reportCommand,
    approveCommand,
    rejectCommand,
    cancelCommand,
    resumeCommand,
    revertCommand,
  ];
  for (const create of commands) runs.addCommand(create(context));
  return runs;
}

function listCommand(context: CommandContext): Command {
  return new Command('list')
    .description('the newest runs')
    .option('--limit <runs>', 'how many', integerOption(1, 10_000), 20)
    .option('--name <name>', 'only those of this schedule, or manual')
    .option('--json', 'print them as JSON, one a line')
    .addHelpText('after', '\nExamples:\n  $ categorizer runs list\n  $ categorizer runs list --name nightly --json')
    .action((options: { limit: number; name?: string; json?: boolean }) =>
      withRecords(context, async ({ registry }) => {
        const runs = await registry.list(options);
        if (options.json) for (const run of runs) context.print(JSON.stringify(run));
        else context.print(runs.length === 0 ? 'no runs yet' : formatRuns(runs));
      }),
    );
}

function showCommand(context: CommandContext): Command {
  return new Command('show')
    .description('one run with its report')
    .argument('<id>')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Exit code as that of recategorize: 0 finished, 3 with rejects or products that could not be written, 4 waits for approval, 1 failed or cancelled; 0 while it works.

Examples:
  $ categorizer runs show nightly-20261125T050000Z
  $ categorizer runs show nightly-20261125T050000Z --json | jq .counts`,
    )
    .action((id: string, options: { json?: boolean }) =>
      withRecords(context, async ({ registry, reports }) => {
        const run = await findRun(registry, id);
        const report = await reports.get(id);
        context.print(
          options.json ? JSON.stringify({ ...run, report }) : formatRun(run, report, await findPrevious(registry, run)),
        );
        context.exitWith(run.finishedAt || run.state === 'awaiting_approval' ? exitCodeOf(run.state) : EXIT.DONE);
      }),
    );
}

function reportCommand(context: CommandContext): Command {
  return new Command('report')
    .description('the report of a run as one page that needs nothing else')
    .argument('<id>')
    .requiredOption('--html <file>', 'where to; - for standard output')
    .addHelpText('after', '\nExamples:\n  $ categorizer runs report nightly-20261125T050000Z --html report.html')
    .action((id: string, options: { html: string }) =>
      withRecords(context, async ({ registry, reports }) => {
        const run = await findRun(registry, id);
        const report = await reports.get(id);
        if (!report) throw new CategorizerError('RUN_STATE', `run ${id} is ${run.state}, and has no report yet`);
        const html = renderRunReport({ run, report, previous: await findPrevious(registry, run) });
        const file = await openTextFile(options.html);
        await file.write(html);
        await file.commit();
        if (options.html !== '-') context.note(`the report of run ${id} is in ${options.html}`);
      }),
    );
}

function approveCommand(context: CommandContext): Command {
  return addFollowOptions(changing('approve', 'apply a run that waits for approval'))
    .addHelpText('after', '\nExamples:\n  $ categorizer runs approve nightly-20261125T050000Z --by ana')
    .action((id: string, options: FollowOptions & { by: string }) =>
      changeAndFollow(context, id, options, ({ runs }) => runs.approve(id, options.by)),
    );
}

function resumeCommand(context: CommandContext): Command {
  return addFollowOptions(
    new Command('resume').description('go on with a run that failed, or whose process was lost').argument('<id>'),
  )
    .addOption(applySqlOption('a statement in place of what failed'))
    .addHelpText('after', '\nExamples:\n  $ categorizer runs resume nightly-20261125T050000Z')
    .action((id: string, options: FollowOptions & { applySql?: string }) =>
      changeAndFollow(context, id, options, async (app) => {
        await replaceStatement(app, id, options, context);
        return app.runs.resume(id);
      }),
    );
}

function rejectCommand(context: CommandContext): Command {
  return changing('reject', 'cancel a run that waits for approval')
    .addHelpText('after', '\nExamples:\n  $ categorizer runs reject nightly-20261125T050000Z --by ana')
    .action((id: string, { by }: { by: string }) => changeRun(context, ({ runs }) => runs.reject(id, by)));
}

function cancelCommand(context: CommandContext): Command {
  return changing('cancel', 'give a run up that has not applied anything yet')
    .addHelpText('after', '\nExamples:\n  $ categorizer runs cancel nightly-20261125T050000Z')
    .action((id: string, { by }: { by: string }) => changeRun(context, ({ runs }) => runs.cancel(id, by)));
}

function revertCommand(context: CommandContext): Command {
  return new Command('revert')
    .description('restore what a run changed, except what changed since')
    .argument('<id>')
    .addOption(applySqlOption('a statement in place of what failed'))
    .option('--json', 'print the summary as JSON')
    .addHelpText(
      'after',
      `
Decisions of people stay. What is restored stays so until the product or the model changes (or a run with --full), as its
input was categorized. What the run wrote is written back in the same way, --apply by comparing with what the run wrote,
--apply-sql with the action 'revert'. Killed, the same command goes on. Exit code 3: some could not be written.

Examples:
  $ categorizer runs revert nightly-20261125T050000Z`,
    )
    .action((id: string, options: { applySql?: string; json?: boolean }) =>
      withRecords(context, async (records) => {
        const { categories } = records;
        await replaceStatement(records, id, options, context);
        const counts = await revertRun(categories, id, context.stop);
        context.print(options.json ? JSON.stringify({ runId: id, ...counts }) : formatRevert(id, counts));
        if (counts.locked || counts.untouched) context.exitWith(EXIT.REJECTS);
      }),
    );
}

function changing(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .argument('<id>')
    .option('--by <name>', 'who says so', userInfo().username);
}

async function replaceStatement(
  { registry, categories }: Pick<RunRecords, 'registry' | 'categories'>,
  id: string,
  { applySql }: { readonly applySql?: string },
  context: CommandContext,
): Promise<void> {
  if (applySql === undefined) return;
  await findRun(registry, id);
  await categories.checkStatement(applySql);
  warnOfStatement({ applySql }, context);
  await registry.setApplySql(id, applySql);
}

/** Changes the state of a run and says what it is now. */
function changeRun(context: CommandContext, change: (app: RunsApp) => Promise<Run>): Promise<void> {
  return withRuns(context, async (app) => {
    const { id, state } = await change(app);
    context.print(formatFields({ run: id, state }));
  });
}

function changeAndFollow(
  context: CommandContext,
  id: string,
  options: FollowOptions,
  change: (app: RunsApp) => Promise<Run>,
): Promise<void> {
  return withRuns(
    context,
    async (app) => {
      await change(app);
      await followRun(app, id, options, context, () => composeLocalWorker(context.config()));
    },
    !options.detach,
  );
}
