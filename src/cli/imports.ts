import { Command } from 'commander';
import { accountForImport } from '../application/import-tracker.ts';
import type { ImportRecord, ImportRecords } from '../application/ports.ts';
import { composeQueues, type QueueApp } from '../composition.ts';
import { CategorizerError } from '../domain/errors.ts';
import { type ImportAccount, type ImportState, importStateOf } from '../domain/import.ts';
import { commandAccount, describeAccount, incompleteSentence } from './account.ts';
import { type CommandContext, formatFields, formatNumber, formatTable, integerOption } from './context.ts';

export function importsCommand(context: CommandContext): Command {
  return new Command('imports')
    .description('look at imports: their state, progress and age')
    .addCommand(listCommand(context))
    .addCommand(showCommand(context));
}

interface Import {
  readonly record: ImportRecord;
  readonly account: ImportAccount;
  readonly state: ImportState;
  /** Share of the sent products that are answered, 0 to 1. */
  readonly progress: number;
}

function listCommand(context: CommandContext): Command {
  return new Command('list')
    .description('the latest imports')
    .option('--limit <imports>', 'how many', integerOption(1, 1000), 20)
    .option('--json', 'print them as JSON, one a line')
    .addHelpText('after', '\nExamples:\n  $ categorizer imports list\n  $ categorizer imports list --json')
    .action(({ limit, json }: { limit: number; json?: boolean }) =>
      withRecords(context, async ({ records }) => {
        const imports: Import[] = [];
        for (const runId of await records.latest(limit)) {
          const found = await findImport(records, runId);
          if (found) imports.push(found);
        }
        if (json) for (const each of imports) context.print(JSON.stringify(toJson(each)));
        else context.print(formatImports(imports));
      }),
    );
}

function showCommand(context: CommandContext): Command {
  return new Command('show')
    .description('where every product of an import is')
    .argument('<run>', 'id of the import')
    .option('--json', 'print it as JSON')
    .addHelpText('after', '\nExamples:\n  $ categorizer imports show night-2026-11-22')
    .action((runId: string, { json }: { json?: boolean }) =>
      withRecords(context, async ({ records }) => {
        const found = await findImport(records, runId);
        if (!found) {
          const latest = await records.latest(5);
          const others = latest.length === 0 ? 'no import has a record' : `the latest: ${latest.join(', ')}`;
          throw new CategorizerError('RUN_NOT_FOUND', `there is no import ${runId}; ${others}`);
        }
        const { record, account, state, progress } = found;
        context.print(
          json
            ? JSON.stringify(toJson(found))
            : formatFields({
                ...describeAccount(commandAccount(account, 0)),
                state: `${state}, ${formatShare(progress)} answered`,
                began: `${record.startedAt.toISOString()} (${formatAge(record.startedAt)} ago)`,
                ...(record.command !== undefined && { command: record.command }),
              }),
        );
        const incomplete = incompleteSentence(account, record.command, true);
        if (incomplete) context.note(incomplete);
      }),
    );
}

async function withRecords(context: CommandContext, use: (app: QueueApp) => Promise<void>): Promise<void> {
  const app = await composeQueues(context.config(), context.stop);
  try {
    await use(app);
  } finally {
    await app.close();
  }
}

async function findImport(records: ImportRecords, runId: string): Promise<Import | undefined> {
  const record = await records.find(runId);
  const account = record && (await accountForImport(records, runId));
  if (!record || !account) return undefined;
  const { sent, waiting, failed, missing } = account;
  const progress = sent === 0 ? 1 : (sent - waiting - failed - missing) / sent;
  return { record, account, state: importStateOf(account), progress };
}

function toJson({ record, account, state, progress }: Import): object {
  const { startedAt, command } = record;
  return { ...account, state, progress, startedAt: startedAt.toISOString(), command };
}

function formatImports(imports: readonly Import[]): string {
  const header = ['run', 'state', 'began', 'read', 'rejected', 'answered', 'on the queue', 'failed', 'missing'];
  const rows = imports.map(({ record, account, state, progress }) => [
    account.runId,
    state,
    `${formatAge(record.startedAt)} ago`,
    account.read === undefined ? '-' : formatNumber(account.read),
    formatNumber(account.rejected),
    formatShare(progress),
    formatNumber(account.waiting),
    formatNumber(account.failed),
    formatNumber(account.missing),
  ]);
  return formatTable([header, ...rows], 3);
}

/** Rounded down: 100 % is all. */
function formatShare(share: number): string {
  return `${Math.floor(100 * share)} %`;
}

function formatAge(since: Date): string {
  const minutes = Math.floor((Date.now() - since.getTime()) / 60_000);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`;
}
