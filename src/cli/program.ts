import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { printable } from '../domain/printable.ts';
import type { CommandContext } from './context.ts';
import { dashboardCommand } from './dashboard.ts';
import { dbCommand } from './db.ts';
import { enqueueCommand } from './enqueue.ts';
import { importsCommand } from './imports.ts';
import { modelCommand } from './model.ts';
import { predictCommand } from './predict.ts';
import { queueCommand } from './queue.ts';
import { recategorizeCommand } from './recategorize.ts';
import { resultsCommand } from './results.ts';
import { reviewCommand } from './review.ts';
import { runCommand } from './run.ts';
import { runsCommand } from './runs.ts';
import { scheduleCommand } from './schedule.ts';
import { schedulerCommand } from './scheduler.ts';
import { workerCommand } from './worker.ts';

/** The `categorizer` command with all of its commands. */
export function createProgram(context: CommandContext): Command {
  const { version }: { version: string } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  );
  const program = new Command('categorizer')
    .description('Categorizes products from their feature vectors, over a queue.')
    .version(version)
    .addHelpText(
      'after',
      `
Settings come from the environment (REDIS_URL, MODEL_PATH …): see .env.example.
Exit codes: 0 done, and every product is accounted for; 1 failed or incomplete; 2 wrong usage; 3 done, but some
products were rejected or several models answered; 4 a run waits for approval; 78 bad configuration; 130 and
143 ended by a signal.

Examples:
  $ categorizer worker
  $ categorizer enqueue catalogue.csv --run night-2026-11-22
  $ categorizer results --run night-2026-11-22 --wait --out categories.csv`,
    );
  const commands = [
    workerCommand,
    runCommand,
    enqueueCommand,
    resultsCommand,
    importsCommand,
    predictCommand,
    queueCommand,
    modelCommand,
    dashboardCommand,
    recategorizeCommand,
    runsCommand,
    reviewCommand,
    scheduleCommand,
    schedulerCommand,
    dbCommand,
  ];
  for (const create of commands) program.addCommand(create(context));
  // Commander repeats what it was given in its errors.
  const writeErr = (text: string) => void process.stderr.write(printable(text));
  return forAll(program, (command) =>
    command.exitOverride().showHelpAfterError('(see --help)').configureOutput({ writeErr }),
  );
}

function forAll(command: Command, change: (command: Command) => void): Command {
  change(command);
  for (const child of command.commands) forAll(child, change);
  return command;
}
