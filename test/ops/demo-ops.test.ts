import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';

const DEMO = fileURLToPath(new URL('../../scripts/demo-ops.mjs', import.meta.url));
const PATIENCE = { timeout: 60_000, interval: 100 };

let workspace: Workspace;
let demo: ChildProcess;
let stdout: string;
let stderr: string;

beforeEach(async () => {
  workspace = await createWorkspace();
});

afterEach(async () => {
  if (demo.exitCode === null && demo.signalCode === null) {
    const ended = once(demo, 'exit');
    demo.kill('SIGTERM');
    await ended;
  }
  await workspace.remove();
});

function startDemo(...options: string[]): void {
  const env = { PATH: process.env.PATH, TMPDIR: workspace.directory };
  // What is in dist/ was built for these tests, and others run it now.
  demo = spawn(process.execPath, [DEMO, '--no-build', ...options], { env });
  stdout = '';
  stderr = '';
  demo.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  demo.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
}

/** When all of it runs. @returns the processes that it started */
async function untilRunning(): Promise<number[]> {
  await vi.waitFor(() => expect(stdout, stderr).toMatch(/^Redis .*\n\n/m), PATIENCE);
  const processes = execFileSync('ps', ['-A', '-o', 'pid=', '-o', 'ppid='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  const pids = processes.filter(([, parent]) => parent === demo.pid).map(([pid]) => pid);
  // Redis, two workers and the dashboard at least.
  expect(pids.length).toBeGreaterThanOrEqual(4);
  return pids;
}

async function untilGone(pids: readonly number[]): Promise<void> {
  const lives = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  await vi.waitFor(() => expect(pids.filter(lives)).toEqual([]), { timeout: 5000, interval: 20 });
}

function row(name: string): string | undefined {
  return new RegExp(`^${name} {2,}(.*)$`, 'm').exec(stdout)?.[1];
}

/** With what the demo printed. @returns the status */
async function logIn(): Promise<number> {
  const [, dashboard, user, password] = /(http:\S+)\/ {2}\(user (\S+), password (\S+)\)/.exec(stdout) ?? [];
  const body = new URLSearchParams({ user, password });
  const request = { method: 'POST', body, headers: { origin: dashboard }, redirect: 'manual' } as const;
  return (await fetch(`${dashboard}/login`, request)).status;
}

it('the demo of operations loses no job, and leaves nothing behind', async () => {
  startDemo('--seconds', '8');
  const pids = await untilRunning();
  const addresses = [...stdout.matchAll(/http:\S+/g)].map(([address]) => address);
  expect(addresses.length).toBeGreaterThanOrEqual(3);
  const asBrowser = { headers: { accept: 'text/html' } };
  const statuses = await Promise.all(addresses.map(async (address) => (await fetch(address, asBrowser)).status));
  expect(statuses).toEqual(addresses.map(() => 200));
  expect(await logIn()).toBe(303);

  const [code] = await once(demo, 'close');
  expect(code, stderr).toBe(0);
  expect(row('jobs lost')).toBe('0');
  for (const failure of ['WRONG_WIDTH', 'NON_FINITE_FEATURE', 'INVALID_JOB', 'PAYLOAD_MISSING']) {
    expect(row('jobs failed')).toContain(failure);
  }
  expect(Number(row('products categorized'))).toBeGreaterThan(1000);
  await untilGone(pids);
  expect(await workspace.names()).toEqual([]);
});

it('Ctrl-C ends the demo of operations and all that it started', async () => {
  startDemo('--seconds', '60');
  const pids = await untilRunning();
  demo.kill('SIGINT');
  const [code] = await once(demo, 'close');
  expect(code).toBe(130);
  await untilGone(pids);
  expect(await workspace.names()).toEqual([]);
});

it('with --keep the demo of operations stays until Ctrl-C', async () => {
  startDemo('--seconds', '2', '--keep');
  const pids = await untilRunning();
  await vi.waitFor(() => expect(stderr).toContain('Everything stays as it is'), PATIENCE);
  demo.kill('SIGINT');
  const [code] = await once(demo, 'close');
  expect(code, stderr).toBe(0);
  await untilGone(pids);
});
