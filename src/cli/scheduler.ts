import { Command } from 'commander';
import { composeScheduler } from '../composition/runs.ts';
import type { CommandContext } from './context.ts';
import { serveUntilStopped } from './serve.ts';

export function schedulerCommand(context: CommandContext): Command {
  return new Command('scheduler')
    .description('begin the recategorizations of the schedules, and make all runs go on, until told to stop')
    .addHelpText(
      'after',
      `
Takes all of its settings from the environment. One is enough; of several each run is with one, and another goes on when
that one dies. Workers must be running: it sends products and collects categories, and categorizes nothing itself.

Examples:
  $ categorizer scheduler
  $ DATABASE_URL=postgres://erp@db.internal/erp SCHEDULER_HOST=0.0.0.0 categorizer scheduler`,
    )
    .action(async () => {
      const config = context.config();
      await serveUntilStopped(() => composeScheduler(config), config.SHUTDOWN_TIMEOUT_MS, context, {
        stopping: 'stopping: a run that is under way goes on in the next scheduler',
        late: 'not stopped in time: a run that is under way goes on elsewhere when its lock expires',
      });
    });
}
