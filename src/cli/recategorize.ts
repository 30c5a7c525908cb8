import { Command } from 'commander';
import type { Run } from '../application/recategorization/ports.ts';
import { runIdAt } from '../application/recategorization/start-due-run.ts';
import type { RunsApp } from '../composition/runs.ts';
import { composeLocalWorker } from '../composition.ts';
import { isSynthetic, type ModelInfo, syntheticWarning } from '../domain/category.ts';
import { CategorizerError } from '../domain/errors.ts';
import { type CommandContext, runOption } from './context.ts';
import { addFollowOptions, type FollowOptions, followRun } from './follow-run.ts';
import {
  addRunSettingsOptions,
  checkSource,
  RUN_SETTINGS_HELP,
  type RunSettingsOptions,
  toRunSettings,
  typedRunSettings,
  warnOfStatement,
} from './run-settings.ts';
import { withRuns } from './runs-context.ts';

interface Options extends RunSettingsOptions, FollowOptions {
  run?: string;
  schedule?: string;
  dryRun?: boolean;
}

export function recategorizeCommand(context: CommandContext): Command {
  const command = new Command('recategorize')
    .description('categorize the catalogue of a database again: what changed since the last time')
    .addOption(runOption('name of this run (default: from the time)'))
    .option('--schedule <name>', 'as a run of that schedule, with its settings (--full and --dry-run besides)')
    .option('--dry-run', 'end with the report, and change nothing');
  return addFollowOptions(addRunSettingsOptions(command))
    .addHelpText(
      'after',
      `${RUN_SETTINGS_HELP}

Killed at any moment, the run goes on in a scheduler, or with: categorizer runs resume <id>
Exit code 3: done, but some products were rejected, or could not be written. Exit code 4: waits for approval (runs approve, runs reject).

Examples:
  $ categorizer recategorize --source-table erp.products --category-column category --dry-run
  $ categorizer recategorize --source-table erp.products --category-column category --apply
  $ categorizer recategorize --source-sql 'SELECT id AS product_id, vector AS features FROM items WHERE active' \\
      --apply-sql 'UPDATE items i SET category = c.category_code FROM categorizer_changes c
        WHERE i.id = c.product_id AND i.category IS NOT DISTINCT FROM c.previous_category_code'
  $ categorizer recategorize --schedule nightly`,
    )
    .action((options: Options, self: Command) => {
      const typed = typedRunSettings(self).filter((name) => name !== '--full');
      if (options.schedule !== undefined && typed.length > 0) {
        self.error(`error: ${typed.join(', ')} is said by the schedule: change it with categorizer schedule set`);
      }
      if (options.schedule === undefined) checkSource(options, self);
      return recategorize(options, context);
    });
}

function recategorize(options: Options, context: CommandContext): Promise<void> {
  return withRuns(
    context,
    async (app) => {
      const model = await app.readModel();
      const run = await begin(app, model, options);
      context.note(`run ${run.id} begun`);
      warnOfStatement(run.settings, context);
      if (isSynthetic(model)) context.note(syntheticWarning(model));
      await followRun(app, run.id, options, context, () => composeLocalWorker(context.config()));
    },
    !options.detach,
  );
}

async function begin(app: RunsApp, model: ModelInfo, options: Options): Promise<Run> {
  const name = options.schedule ?? 'manual';
  const id = options.run ?? runIdAt(name, new Date());
  if (options.schedule === undefined) {
    const settings = toRunSettings(options, model.width, options.dryRun ?? false);
    return app.runs.start({ id, name, settings, model });
  }
  const schedule = await app.schedules.get(options.schedule);
  if (!schedule) {
    const message = `there is no schedule ${options.schedule}: see categorizer schedule list`;
    throw new CategorizerError('SCHEDULE_NOT_FOUND', message);
  }
  const settings = {
    ...schedule.settings,
    dryRun: options.dryRun ?? false,
    full: options.full ?? schedule.settings.full,
  };
  return app.runs.start({ id, name, settings, model });
}
