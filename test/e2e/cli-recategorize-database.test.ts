import { describe, expect, inject, it } from 'vitest';
import { openNightly } from '../support/nightly-commands.ts';
import { createErp, DATABASE_PASSWORD, SOURCE } from '../support/nightly-erp.ts';
import { runCli } from '../support/processes.ts';

const LACKS = /^DATABASE_NOT_MIGRATED: [^\n]*0001_recategorization[^\n]*categorizer db migrate\n$/;
const APPLIED = ['0001_recategorization', '0002_not_written'];

async function openEmpty() {
  return openNightly(await createErp(inject('postgresUrl'), { migrated: false }));
}

describe('db migrate', () => {
  it('makes the tables once; as a dry run it says so and makes none', async () => {
    const { erp, run, json } = await openEmpty();
    const schemas = () => erp.rows(`SELECT nspname FROM pg_namespace WHERE nspname = 'categorizer'`);

    expect(await run(['db', 'migrate', '--dry-run'])).toEqual({
      code: 0,
      stdout: `to apply: ${APPLIED.join(', ')}\n`,
      stderr: '',
    });
    expect(await schemas()).toEqual([]);

    expect(await run(['db', 'migrate'])).toEqual({ code: 0, stdout: `applied: ${APPLIED.join(', ')}\n`, stderr: '' });
    expect(await schemas()).toHaveLength(1);

    expect(await run(['db', 'migrate'])).toEqual({ code: 0, stdout: 'up to date\n', stderr: '' });
    expect(await json(['db', 'migrate', '--dry-run'])).toEqual({ code: 0, said: { applied: [], dryRun: true } });
  });

  it('at the same time in two places makes them once', async () => {
    const { json } = await openEmpty();
    const answers = await Promise.all([json(['db', 'migrate']), json(['db', 'migrate'])]);
    expect(answers.map(({ code }) => code)).toEqual([0, 0]);
    expect(answers.flatMap(({ said }) => said.applied)).toEqual(APPLIED);
  });

  it('comes first: any other command says so, and does nothing', async () => {
    const { erp, run } = await openEmpty();
    const commands = [['scheduler'], ['recategorize', ...SOURCE]];
    for (const { code, stdout, stderr } of await Promise.all(commands.map((command) => run(command)))) {
      expect(stdout).toBe('');
      expect(stderr).toMatch(LACKS);
      expect(code).toBe(1);
    }
    expect(await erp.rows(`SELECT FROM pg_namespace WHERE nspname = 'categorizer'`)).toEqual([]);
  });
});

describe('without a database', () => {
  it('of which DATABASE_URL says nothing, a command ends with 78', async () => {
    const { code, stdout, stderr } = await runCli(['scheduler'], { env: { REDIS_URL: inject('redisUrl') } });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^CONFIG_INVALID: [^\n]*DATABASE_URL/s);
    expect(code).toBe(78);
  });

  it.concurrent.each([
    ['that is away', 'scheduler', () => 'postgres://erp@127.0.0.1:1/erp', /^DATABASE_UNAVAILABLE: [^\n]*DATABASE_URL/],
    ['that is away', 'db migrate', () => 'postgres://erp@127.0.0.1:1/erp', /^DATABASE_UNAVAILABLE: [^\n]*DATABASE_URL/],
    [
      'that does not exist',
      'runs list',
      () => `${inject('postgresUrl')}_none`,
      /^DATABASE_REFUSED: [^\n]*does not exist/,
    ],
  ])('%s, %s says so in one line, without the password', async (_case, command, urlOf, sentence) => {
    const url = new URL(urlOf());
    url.password = DATABASE_PASSWORD;
    const env = { REDIS_URL: inject('redisUrl'), DATABASE_URL: url.href, LOG_LEVEL: 'debug' };
    const { code, stdout, stderr } = await runCli(command.split(' '), { env });
    expect(stdout).toBe('');
    expect(stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'))).toEqual([
      expect.stringMatching(sentence),
    ]);
    expect(stderr).not.toContain(DATABASE_PASSWORD);
    expect(code).toBe(1);
  });
});
