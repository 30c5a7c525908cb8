import { expect, it } from 'vitest';
import { runCli } from '../support/processes.ts';

const ANYWHERE = 'recategorize --source-table t';

it.concurrent.each([
  ['no source', 'recategorize', /say where the products are: --source-sql or --source-table/],
  ['two sources', `${ANYWHERE} --source-sql x`, /say where the products are: --source-sql or --source-table/],
  [
    'settings beside a schedule',
    'recategorize --schedule s --slice-size 5 --full',
    /--slice-size is said by the schedule/,
  ],
  [
    'a range of columns that goes back',
    `${ANYWHERE} --feature-columns f9..f0`,
    /--feature-columns.*a range like f0\.\.f15/,
  ],
  [
    'a column to write and no table of it',
    `recategorize --source-sql x --apply`,
    /--apply needs .* --source-table and --category-column/,
  ],
  [
    'a column to write that is not named',
    `${ANYWHERE} --apply`,
    /--apply needs .* --source-table and --category-column/,
  ],
  [
    'a column to write and a statement',
    `schedule set n --cron * --tz UTC --source-table t --category-column c --apply --apply-sql x`,
    /--apply writes the column itself, --apply-sql with a statement: say one of them/,
  ],
  ['a lock timeout that is none', `${ANYWHERE} --lock-timeout 0`, /--lock-timeout.*expected seconds from 0\.1 to 600/],
  ['an empty statement', `${ANYWHERE} --apply-sql ;`, /--apply-sql.*expected a statement/],
  ['no run', 'runs show', /missing required argument 'id'/],
  [
    'a schedule without times',
    'schedule set nightly --tz UTC --source-table t',
    /required option '--cron <expression>'/,
  ],
  [
    'a schedule with the name of others',
    'schedule set manual --cron x --tz UTC',
    /expected 1 to 80 of .*, and not manual/,
  ],
])('wrong usage (%s) ends with 2, a sentence on stderr and nothing on stdout', async (_case, command, sentence) => {
  const { code, stdout, stderr } = await runCli(command.split(' '), {
    env: { DATABASE_URL: 'postgres://127.0.0.1:1/x' },
  });
  expect(stdout).toBe('');
  expect(stderr).toMatch(sentence);
  expect(stderr).toContain('(see --help)');
  expect(code).toBe(2);
});
