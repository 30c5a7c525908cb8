import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, inject } from 'vitest';
import type { CommandAccount } from '../../src/cli/account.ts';
import { type CliResult, type Environment, runCli } from './processes.ts';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** The account in what a command prints with --json, after a look at whether it can be true. */
function accountIn(printed: { readonly totals?: CommandAccount } & Partial<CommandAccount>): CommandAccount {
  const account = printed.totals ?? (printed as CommandAccount);
  expectReconciled(account);
  return account;
}

/** Every row of the input, once all of it is sent, is in exactly one place. */
function expectReconciled(account: CommandAccount): void {
  const { read, skipped, rejected, categorized, answered, waiting, failed, missing } = account;
  const places = { skipped, rejected, categorized, answered, waiting, failed, missing };
  for (const count of Object.values(places)) expect(count, JSON.stringify(account)).toBeGreaterThanOrEqual(0);
  if (read !== undefined) {
    const sum = Object.values(places).reduce((total, count) => total + count, 0);
    expect(sum, JSON.stringify(account)).toBe(read);
  }
  if (account.sentNow !== undefined) expect(account.sentNow + account.sentBefore).toBe(account.sent);
}

/** Runs a command that prints one JSON object with an account in it. */
export async function runForAccount(
  args: readonly string[],
  env: Environment,
): Promise<{ readonly code: number | null; readonly stderr: string; readonly account: CommandAccount }> {
  const { code, stdout, stderr } = await runCli([...args, '--json'], { env });
  if (stdout === '') throw new Error(`${args.join(' ')} printed nothing and ended with ${code}: ${stderr}`);
  return { code, stderr, account: accountIn(JSON.parse(stdout)) };
}

/** The command that a sentence names, as it stands there. */
export function namedCommand(stderr: string): string {
  const command = /: (categorizer .*)$/m.exec(stderr)?.[1];
  if (command === undefined) throw new Error(`no command is named in: ${stderr}`);
  return command;
}

/** Runs a command in a shell, as a person would who copies it from the terminal. */
export async function runInShell(command: string, env: Environment): Promise<CliResult> {
  const script = `categorizer() { '${process.execPath}' '${MAIN}' "$@"; }; ${command}`;
  const STATE_DIR = inject('stateDirectory');
  const child = spawn('sh', ['-c', script], { env: { PATH: process.env.PATH, STATE_DIR, ...env } });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin.end();
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}
