import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { Command } from 'commander';
import { composeDashboard, hashPassword } from '../composition.ts';
import { type CommandContext, EXIT } from './context.ts';
import { serveUntilStopped } from './serve.ts';

const LEAST_CHARACTERS = 8;

export function dashboardCommand(context: CommandContext): Command {
  return new Command('dashboard')
    .description('show the queues in a browser until told to stop (SIGTERM, SIGINT)')
    .addCommand(hashPasswordCommand(context))
    .addHelpText(
      'after',
      `
Takes all of its settings from the environment (DASHBOARD_…). On 127.0.0.1 it needs no login; on any other address
it does not start without a user.

Examples:
  $ categorizer dashboard
  $ export DASHBOARD_OPERATOR_USER=ada
  $ export DASHBOARD_OPERATOR_PASSWORD_HASH=$(categorizer dashboard hash-password)
  $ DASHBOARD_HOST=0.0.0.0 categorizer dashboard`,
    )
    .action(async () => {
      const config = context.config();
      await serveUntilStopped(() => composeDashboard(config), config.SHUTDOWN_TIMEOUT_MS, context, {
        stopping: 'stopping: answering what was asked',
        late: 'not everything was answered in time',
      });
    });
}

function hashPasswordCommand(context: CommandContext): Command {
  return new Command('hash-password')
    .description('print the hash of a password, for DASHBOARD_…_PASSWORD_HASH')
    .addHelpText(
      'after',
      `
Asks for the password on a terminal; otherwise reads one line from standard input.

Examples:
  $ categorizer dashboard hash-password
  $ pass show dashboard | categorizer dashboard hash-password`,
    )
    .action(async (_options: unknown, command: Command) => {
      const [password, again] = process.stdin.isTTY ? await askTwice(context) : await readLine();
      if (password !== again) command.error('error: the two passwords differ', { exitCode: EXIT.USAGE });
      if ([...password].length < LEAST_CHARACTERS) {
        command.error(`error: a password needs ${LEAST_CHARACTERS} characters or more`, { exitCode: EXIT.USAGE });
      }
      context.print(await hashPassword(password));
    });
}

async function readLine(): Promise<[string, string]> {
  const lines = createInterface({ input: process.stdin });
  try {
    for await (const line of lines) return [line, line];
    return ['', ''];
  } finally {
    lines.close();
  }
}

/** On a terminal, with nothing of it shown. */
async function askTwice({ note, stop }: CommandContext): Promise<[string, string]> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  // In this mode the terminal sends no signal by itself.
  terminal.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    note('Password (not shown):');
    const password = await terminal.question('', { signal: stop });
    note('Again:');
    return [password, await terminal.question('', { signal: stop })];
  } catch (error) {
    stop.throwIfAborted();
    throw error;
  } finally {
    terminal.close();
  }
}
