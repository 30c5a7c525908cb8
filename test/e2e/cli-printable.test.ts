import { cp, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { startLive } from '../support/cli-live.ts';
import { openQueues, type Queues } from '../support/cli-queues.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';

/** Nothing of this may reach a terminal as it is. */
/** What a terminal would obey, or hide; a line feed is the program's own. */
const OBEYED = /(?!\n)[\p{Cc}\u200b-\u200f\u2028-\u202e\u2066-\u2069]/u;
const HOSTILE = '\u001b]0;owned\u0007\u009b31m\u202e';
const SHOWN = '\\u001b]0;owned\\u0007\\u009b31m\\u202e';

let workspace: Workspace;
let queues: Queues;
beforeAll(async () => {
  workspace = await createWorkspace();
  queues = openQueues(inject('redisUrl'));
});
afterAll(async () => {
  await queues.close();
  await workspace.remove();
});

describe('what a command prints', () => {
  it('shows control characters of a manifest as text, as fields and as JSON', async () => {
    await cp('model', workspace.path('model'), { recursive: true });
    const path = workspace.path('model/manifest.json');
    const manifest = JSON.parse(await readFile(path, 'utf8'));
    manifest.version = `v1${HOSTILE}\nname        forged`;
    manifest.categories[0].code = `A${HOSTILE}`;
    await writeFile(path, JSON.stringify(manifest));
    // The sample says which category each of its rows has, by its code.
    const goldenPath = workspace.path('model/golden.json');
    const golden = JSON.parse(await readFile(goldenPath, 'utf8'));
    golden.categories = golden.categories.map((code: string) => (code === 'AUTOPECAS' ? `A${HOSTILE}` : code));
    await writeFile(goldenPath, JSON.stringify(golden));
    const env = { MODEL_PATH: workspace.path('model/model.onnx') };
    const text = await runCli(['model', 'check'], { env });
    expect(text.stdout).not.toMatch(OBEYED);
    expect(text.stdout).toContain(`v1${SHOWN}\\u000aname        forged`);
    expect(text.stdout).toContain(`A${SHOWN}, INFORMATICA`);
    const json = await runCli(['model', 'check', '--json'], { env });
    expect(json.stdout).not.toMatch(OBEYED);
    expect(JSON.parse(json.stdout)).toMatchObject({ version: manifest.version });
  });

  it('shows those of a file header, a file name and an argument as text, and keeps the bytes of data', async () => {
    const file = await workspace.write('odd.csv', `"prod${HOSTILE}";f0\r\nP1;0,5\r\n`);
    const header = await runCli(['enqueue', file, '--run', 'odd'], { env: queues.env });
    expect(header.code).toBe(1);
    expect(header.stderr).toContain(`prod${SHOWN}`);
    const name = await runCli(['predict', workspace.path(`no${HOSTILE}.csv`), '--out', '-']);
    expect(name.stderr).toContain(`no${SHOWN}.csv`);
    const argument = await runCli(['predict', `--no${HOSTILE}`]);
    expect(argument.stderr).toContain(`--no${SHOWN}`);
    for (const { stderr } of [header, name, argument]) expect(stderr).not.toMatch(OBEYED);
    const features = Array.from({ length: 16 }, (_, i) => 0.5 + i / 8);
    const product = await workspace.write('one.jsonl', JSON.stringify({ productId: 'P\u202e1', features }));
    const data = await runCli(['predict', product, '--out', '-']);
    expect(data.stdout).toContain('P\u202e1');
  });

  it('shows those of a failed job as text, in the log of a worker and in the status', async () => {
    const jobId = `job${HOSTILE}`;
    await queues.products.add(`name${HOSTILE}`, {}, { jobId });
    const worker = startLive(['worker'], { ...queues.env, HTTP_PORT: '0' });
    await vi.waitFor(async () => expect(await queues.products.getFailedCount()).toBe(1), { timeout: 20_000 });
    worker.kill('SIGTERM');
    await worker.ended;
    expect(worker.stderr()).toContain(`job${SHOWN}`);
    expect(worker.stderr()).not.toMatch(OBEYED);
    await queues.redis.hset(queues.products.toKey(jobId), 'failedReason', `${HOSTILE}\nforged`);
    for (const args of [
      ['queue', 'status'],
      ['queue', 'status', '--json'],
      ['queue', 'retry-failed'],
    ]) {
      const { code, stdout, stderr } = await runCli(args, { env: queues.env });
      expect({ code, stdout, stderr }).toEqual({
        code: 0,
        stdout: expect.not.stringMatching(OBEYED),
        stderr: expect.not.stringMatching(OBEYED),
      });
    }
  });
});
