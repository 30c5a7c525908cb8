import { readFile, writeFile } from 'node:fs/promises';
import { expect } from 'vitest';
import type { Queues } from './cli-queues.ts';
import { type ResultRow, readRows } from './files-results.ts';
import { runForAccount } from './import-account.ts';
import { type Environment, runCli } from './processes.ts';
import { makeProducts, toCsv } from './products.ts';

/** One import of a storm: its file, its commands, and what has to become of it. */
export interface StormImport {
  readonly runId: string;
  readonly chunks: number;
  /** Each sends or collects some of it, or both; killed at any moment it can be run again. */
  readonly commands: readonly (readonly string[])[];
  /** Chunks that are known to be sent, and to be collected: what grows while a command works. */
  progress(queues: Queues): Promise<number>;
  /** Runs the commands to their ends, again and again. @returns after how many rounds the import was complete */
  complete(env: Environment, mostRounds: number): Promise<number>;
  /** @throws where the file, the rejects or the account are not those of the input */
  expectReconciled(env: Environment): Promise<void>;
}

interface Shape {
  readonly runId: string;
  readonly seed: number;
  readonly products: number;
  readonly chunkSize: number;
  readonly format: 'csv' | 'jsonl';
  /** Sends and collects in one command. */
  readonly asRun?: boolean;
}

/** Rows that are rejected while the file is read, and rows that are there twice. */
const BAD_ROWS = 30;
const TWICE = 50;

/** Writes the file of an import, and asks `predict` what is right. */
export async function makeStormImport(directory: string, shape: Shape): Promise<StormImport> {
  const { runId, seed, products: count, chunkSize, format, asRun } = shape;
  const products = makeProducts(count, seed);
  const [header, ...rows] = toCsv(products).trimEnd().split('\n');
  const bad = Array.from({ length: BAD_ROWS }, (_, i) => `bad-${seed}-${i}${i % 2 === 0 ? ',1' : ',x'.repeat(16)}`);
  const file = `${directory}/${runId}.csv`;
  await writeFile(file, `${[header, ...bad, ...rows, ...rows.slice(0, TWICE)].join('\n')}\n`);

  const reading = ['--on-duplicate', 'first'];
  const predicted = `${directory}/${runId}.predicted.csv`;
  const { code, stderr } = await runCli(['predict', file, '--out', predicted, ...reading]);
  expect(code, stderr).toBe(3);
  // A row that cannot be read has no id in the output.
  const isProduct = ([, category]: ResultRow) => category !== '' && category !== null;
  const expected = new Map(
    (await readRows(predicted, 'csv')).filter(isProduct).map(([id, category]) => [id, category]),
  );
  expect(expected.size).toBe(count);

  const out = `${directory}/${runId}.out.${format}`;
  const sending = [file, '--run', runId, '--chunk-size', `${chunkSize}`, ...reading];
  const send = ['enqueue', ...sending];
  const collect = ['results', '--run', runId, '--out', out];
  const both = ['run', ...sending, '--out', out];
  const rejects = `${file}.rejects.csv`;
  const account = {
    ...{ read: count + BAD_ROWS + TWICE, rejected: BAD_ROWS, skipped: TWICE, sent: count, categorized: count },
    ...{ answered: 0, waiting: 0, failed: 0, missing: 0 },
  };

  return {
    runId,
    chunks: Math.ceil(count / chunkSize),
    commands: asRun ? [both] : [send, collect],
    async progress({ redis, prefix }) {
      const counts = ['chunks', 'answers'].map((kind) => redis.hlen(`${prefix}:${kind}:${runId}`));
      return (await Promise.all(counts)).reduce((sum, each) => sum + each, 0);
    },
    async complete(env, mostRounds) {
      const said: string[] = [];
      for (let round = 1; round <= mostRounds; round++) {
        if (!asRun) said.push((await runCli(send, { env })).stderr);
        const last = await runCli(asRun ? both : [...collect, '--wait'], { env });
        if (last.code === 3) return round;
        said.push(last.stderr);
      }
      throw new Error(`${runId} is not complete after ${mostRounds} rounds:\n${said.join('')}`);
    },
    async expectReconciled(env) {
      const found = await readRows(out, format);
      const ids = found.map(([id]) => id);
      expect(ids.length - new Set(ids).size, `products of ${runId} that are in its file twice`).toBe(0);
      expect(new Map(found.map(([id, category]) => [id, category]))).toEqual(expected);
      expect(await readFile(rejects, 'utf8')).toBe(`${[header, ...bad].join('\n')}\n`);
      const shown = await runForAccount(['imports', 'show', runId], env);
      expect(shown.account).toMatchObject({ ...account, state: 'complete' });
      const again = await runForAccount(asRun ? both : collect, env);
      expect(again.account).toMatchObject(account);
      expect(again.code, again.stderr).toBe(3);
    },
  };
}
