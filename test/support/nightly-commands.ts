import { expect, inject, onTestFinished } from 'vitest';
import { openQueues, type Queues } from './cli-queues.ts';
import { DATABASE_PASSWORD, type Erp, SOURCE, WRITE_BACK } from './nightly-erp.ts';
import { type CliResult, type Environment, runCli } from './processes.ts';
import { uniquePrefix } from './products.ts';

/** An ERP and queues of one test's own, and the commands on both. */
export interface Nightly {
  readonly erp: Erp;
  readonly queues: Queues;
  readonly env: Environment;
  /** Runs a command to its end. */
  run(args: readonly string[], settings?: Environment): Promise<CliResult>;
  /** Runs a command that prints one JSON object. */
  json(args: readonly string[], settings?: Environment): Promise<Answer>;
}

/** What tests look into of the JSON of a command that prints it; the expectations say what all of it should be. */
interface Said {
  readonly applied: readonly string[];
  readonly state: string;
  readonly counts: Readonly<Record<string, number>>;
  readonly holds: readonly unknown[];
  readonly lockedSince: string;
  readonly failure: { readonly message: string };
  readonly report: {
    readonly matrix: readonly unknown[];
    readonly confidence: readonly number[];
    readonly rejectSamples: readonly unknown[];
  };
}

/** What a command printed with --json, and its exit code. */
interface Answer {
  readonly code: number | null;
  readonly said: Said;
}

/** @param options.redisUrl where the queues are: on the Redis of all tests by default */
export function openNightly(erp: Erp, options: { readonly redisUrl?: string } = {}): Nightly {
  const queues = openQueues(options.redisUrl ?? inject('redisUrl'));
  onTestFinished(async () => {
    await queues.close();
    await erp.drop();
  });
  const env = { ...queues.env, ...erp.env, JOB_LOCK_MS: '2000' };

  async function run(args: readonly string[], settings: Environment = {}): Promise<CliResult> {
    const result = await runCli(args, { env: { ...env, ...settings } });
    expect(result.stdout + result.stderr).not.toContain(DATABASE_PASSWORD);
    return result;
  }

  return {
    ...{ erp, queues, env, run },
    async json(args, settings) {
      const { code, stdout, stderr } = await run([...args, '--json'], settings);
      if (stdout === '') throw new Error(`${args.join(' ')} printed nothing and ended with ${code}: ${stderr}`);
      return { code, said: JSON.parse(stdout) };
    },
  };
}

/** A night that a template is made of. @param more options besides */
export async function runNight(erp: Erp, runId: string, ...more: readonly string[]): Promise<CliResult> {
  const env = { REDIS_URL: inject('redisUrl'), QUEUE_PREFIX: uniquePrefix(), ...erp.env };
  const how = more.includes('--apply') ? SOURCE : WRITE_BACK;
  const result = await runCli(['recategorize', '--run', runId, ...how, '--local', ...more], { env });
  if (result.stdout === '') throw new Error(`${runId} ended with ${result.code}: ${result.stderr}`);
  return result;
}
