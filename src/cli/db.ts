import { Command } from 'commander';
import { migrateDatabase } from '../composition/runs.ts';
import type { CommandContext } from './context.ts';

export function dbCommand(context: CommandContext): Command {
  return new Command('db')
    .description('the tables of this program in the database')
    .addCommand(migrateCommand(context));
}

function migrateCommand(context: CommandContext): Command {
  return new Command('migrate')
    .description('make the tables, or bring them to this version; all of it is in the schema categorizer')
    .option('--dry-run', 'say what would be done, and do nothing')
    .option('--json', 'print the summary as JSON')
    .addHelpText('after', '\nExamples:\n  $ categorizer db migrate')
    .action(async ({ dryRun = false, json }: { dryRun?: boolean; json?: boolean }) => {
      const applied = await migrateDatabase(context.config(), { dryRun });
      const did = dryRun ? 'to apply' : 'applied';
      const sentence = applied.length === 0 ? 'up to date' : `${did}: ${applied.join(', ')}`;
      context.print(json ? JSON.stringify({ applied, dryRun }) : sentence);
    });
}
