import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runCli } from '../support/processes.ts';

const COMMANDS = [
  'worker',
  'run',
  'enqueue',
  'results',
  'predict',
  'queue status',
  'queue retry-failed',
  'model check',
];
const BAD_ENVIRONMENT = { HTTP_PORT: 'none', REDIS_URL: 'none' };

describe('help', () => {
  it.concurrent.each(COMMANDS)('of %s goes to stdout, has examples and needs no configuration', async (command) => {
    const { code, stdout, stderr } = await runCli([...command.split(' '), '--help'], { env: BAD_ENVIRONMENT });
    expect(stderr).toBe('');
    expect(stdout).toMatch(new RegExp(`^Usage: categorizer ${command} `));
    expect(stdout).toContain('\nExamples:\n  $ ');
    expect(stdout.match(/^ {2}\$ .*$/gm)?.filter((example) => example.includes(`categorizer ${command}`))).not.toEqual(
      [],
    );
    expect(code).toBe(0);
  });

  it.concurrent.each([[['--help']], [['-h']], [['help']]])('of the program (%s) names every command', async (args) => {
    const { code, stdout, stderr } = await runCli(args, { env: BAD_ENVIRONMENT });
    expect(stderr).toBe('');
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command.split(' ')[0]}\\b`, 'm'));
    expect(stdout).toContain('\nExamples:\n  $ categorizer worker');
    expect(stdout).toContain('78 bad configuration');
    expect(code).toBe(0);
  });

  it('--version prints the version of the package and nothing else', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(await runCli(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });
});

describe('wrong usage ends with 2, a sentence on stderr and nothing on stdout:', () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['no command', '', /^Usage: categorizer/],
    ['no subcommand', 'queue', /^Usage: categorizer queue/],
    ['an unknown command', 'categorise', /unknown command 'categorise'/],
    ['an unknown subcommand', 'queue drain', /unknown command 'drain'/],
    ['no file', 'enqueue', /missing required argument 'file'/],
    ['a chunk size of 0', 'enqueue a.csv --chunk-size 0', /--chunk-size.*whole number from 1 to 10000/],
    ['a chunk size of 10,001', 'enqueue a.csv --chunk-size 10001', /--chunk-size.*whole number from 1 to 10000/],
    ['a fraction', 'enqueue a.csv --max-pending 1.5', /--max-pending.*whole number/],
    ['nothing that may be pending', 'enqueue a.csv --max-pending 0', /--max-pending.*whole number from 1 to/],
    ['a delimiter of two characters', 'enqueue a.csv --delimiter ;;', /--delimiter.*one character, or tab/],
    ['a quote as delimiter', 'predict a.csv --delimiter "', /--delimiter.*one character, or tab/],
    ['an unknown decimal sign', 'enqueue a.csv --decimal ;', /--decimal.*Allowed choices are \., ,/],
    [
      'an unknown encoding',
      'run a.csv --out b.csv --encoding utf-16',
      /--encoding.*Allowed choices are utf-8, latin-1/,
    ],
    [
      'an unknown policy',
      'enqueue a.csv --on-duplicate keep',
      /--on-duplicate.*Allowed choices are first, last, reject/,
    ],
    ['a negative number of rejects', 'enqueue a.csv --max-rejects=-1', /--max-rejects.*whole number from 0/],
    ['a run with no output', 'run a.csv', /required option '--out <file>' not specified/],
    ['a run to standard output', 'run a.csv --out -', /--out needs a file; results --out - writes to standard output/],
    ['a confidence above 1', 'results --all --review-below 1.1', /--review-below.*number from 0 to 1/],
    ['a confidence that is none', 'predict a.csv --review-below high', /--review-below.*number from 0 to 1/],
    ['Parquet on standard output', 'results --all --format parquet', /Parquet needs --out FILE/],
    ['a negative number', 'enqueue a.csv --width=-16', /--width.*whole number/],
    ['an option without its value', 'enqueue a.csv --run', /--run.*argument missing/],
    ['a run id with a slash', 'enqueue a.csv --run a/b', /--run.*1 to 100 of A-Z a-z 0-9/],
    ['a run id of 101 characters', `results --run ${'r'.repeat(101)}`, /--run.*1 to 100 of A-Z a-z 0-9/],
    [
      'an unknown format of the input',
      'predict a.csv --format xml',
      /--format.*Allowed choices are csv, jsonl, parquet/,
    ],
    [
      'an unknown format of the output',
      'results --all --format CSV',
      /--format.*Allowed choices are csv, jsonl, parquet/,
    ],
    ['results of nothing', 'results', /--run <id> or --all/],
    ['results of one run and of all', 'results --run a --all', /cannot be used with option '--all'/],
    ['a summary and data on one stdout (results)', 'results --all --json', /--json needs --out FILE/],
    ['a summary and data on one stdout (predict)', 'predict a.csv --json', /--json needs --out FILE/],
    ['a bad run id to retry', 'queue retry-failed --run a:b', /--run.*1 to 100 of A-Z a-z 0-9/],
  ];

  it.concurrent.each(cases)('%s', async (_case, line, message) => {
    const { code, stdout, stderr } = await runCli(line.split(' ').filter((word) => word !== ''));
    expect(stdout).toBe('');
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(code).toBe(2);
  });

  it.concurrent.each(COMMANDS)('an unknown option of %s', async (command) => {
    // What is missing would be told first.
    const needed = command === 'run' ? ['--out', 'o.csv'] : [];
    const { code, stdout, stderr } = await runCli([...command.split(' '), ...needed, '--xyzzy']);
    expect(stdout).toBe('');
    expect(stderr).toBe("error: unknown option '--xyzzy'\n(see --help)\n");
    expect(code).toBe(2);
  });
});
