import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import type { Schedule } from '../application/recategorization/ports.ts';
import { runIdSchema } from '../contract/index.ts';
import { CategorizerError } from '../domain/errors.ts';
import { type CommandContext, formatFields, formatTable } from './context.ts';
import {
  addRunSettingsOptions,
  checkSource,
  RUN_SETTINGS_HELP,
  type RunSettingsOptions,
  toRunSettings,
  warnOfStatement,
} from './run-settings.ts';
import { timeOf } from './run-text.ts';
import { withRuns } from './runs-context.ts';

interface SetOptions extends RunSettingsOptions {
  cron: string;
  tz: string;
  missed: Schedule['missed'];
}

/** Times that are shown of a schedule that was just set. */
const SHOWN_TIMES = 3;
/** A run id is the name and a time. */
const LONGEST_NAME = 80;

export function scheduleCommand(context: CommandContext): Command {
  return new Command('schedule')
    .description('when recategorizations begin by themselves (in: categorizer scheduler)')
    .addCommand(setCommand(context))
    .addCommand(listCommand(context))
    .addCommand(removeCommand(context));
}

function setCommand(context: CommandContext): Command {
  const command = new Command('set')
    .description('make a schedule, or change it as a whole')
    .addArgument(new Argument('<name>', 'the name of its runs').argParser(parseName))
    .requiredOption('--cron <expression>', 'minute hour day-of-month month day-of-week')
    .requiredOption('--tz <zone>', 'the clocks that the expression is read on, as America/Sao_Paulo')
    .addOption(
      new Option('--missed <policy>', 'what becomes of a time at which no scheduler ran')
        .choices(['catch-up', 'skip'])
        .default('catch-up', '"catch-up": one run when one runs again'),
    );
  return addRunSettingsOptions(command)
    .addHelpText(
      'after',
      `${RUN_SETTINGS_HELP}

A time at which another run holds the lock is skipped. Times are stored and shown in UTC. A local time that a change of
the clocks leaves out comes at the change, and one that comes twice counts the first time.

Examples:
  $ categorizer schedule set nightly --cron "0 2 * * *" --tz America/Sao_Paulo \\
      --source-table erp.products --category-column category --apply`,
    )
    .action((name: string, options: SetOptions, self: Command) => {
      checkSource(options, self);
      return withRuns(context, async (app) => {
        const { cron, tz: timeZone, missed } = options;
        const problem = app.calendar.problem(cron, timeZone);
        if (problem !== undefined) self.error(`error: --cron ${JSON.stringify(cron)} --tz ${timeZone}: ${problem}`);
        const settings = toRunSettings(options, (await app.readModel()).width, false);
        await app.schedules.set({ name, cron, timeZone, missed, settings });
        warnOfStatement(settings, context);
        await app.syncSchedules();
        const times = app.calendar.next(cron, timeZone, new Date(), SHOWN_TIMES);
        context.print(
          formatFields({ schedule: name, cron, 'time zone': timeZone, next: times.map(timeOf).join(', ') }),
        );
      });
    });
}

function listCommand(context: CommandContext): Command {
  return new Command('list')
    .description('all schedules, and when they are due next')
    .option('--json', 'print them as JSON, one a line')
    .addHelpText('after', '\nExamples:\n  $ categorizer schedule list')
    .action(({ json }: { json?: boolean }) =>
      withRuns(context, async ({ schedules, calendar }) => {
        const found = (await schedules.list()).map((schedule) => ({
          ...schedule,
          next: calendar.next(schedule.cron, schedule.timeZone, new Date(), 1)[0],
        }));
        if (json) for (const schedule of found) context.print(JSON.stringify(schedule));
        else context.print(found.length === 0 ? 'no schedules' : formatSchedules(found));
      }),
    );
}

function removeCommand(context: CommandContext): Command {
  return new Command('remove')
    .description('end a schedule; a run that has begun goes on')
    .argument('<name>')
    .addHelpText('after', '\nExamples:\n  $ categorizer schedule remove nightly')
    .action((name: string) =>
      withRuns(context, async (app) => {
        if (!(await app.schedules.remove(name))) {
          throw new CategorizerError(
            'SCHEDULE_NOT_FOUND',
            `there is no schedule ${name}: see categorizer schedule list`,
          );
        }
        await app.syncSchedules();
        context.print(formatFields({ schedule: name, state: 'removed' }));
      }),
    );
}

function formatSchedules(schedules: readonly (Schedule & { next: Date })[]): string {
  const header = ['schedule', 'cron', 'time zone', 'missed', 'next', 'source'];
  const rows = schedules.map(({ name, cron, timeZone, missed, next, settings: { source } }) => [
    ...[name, cron, timeZone, missed, timeOf(next)],
    source.table ?? source.sql ?? '',
  ]);
  return formatTable([header, ...rows], header.length);
}

function parseName(text: string): string {
  if (runIdSchema.safeParse(text).success && text.length <= LONGEST_NAME && text !== 'manual') return text;
  throw new InvalidArgumentError(`expected 1 to ${LONGEST_NAME} of A-Z a-z 0-9 . _ -, and not manual.`);
}
