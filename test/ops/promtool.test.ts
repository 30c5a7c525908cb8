import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const DEPLOY = fileURLToPath(new URL('../../deploy', import.meta.url));
const TESTS = readdirSync(join(DEPLOY, 'prometheus/tests')).filter((name) => name.endsWith('.test.yml'));
const CONFIG = 'alertmanager/alertmanager.yml';

const installed = (command: string) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;

/** What a command says; the test fails where it does not end with 0. */
function run(command: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: DEPLOY, encoding: 'utf8' });
  expect(status, `${stdout}${stderr}`).toBe(0);
  return stdout;
}

describe.skipIf(!installed('promtool'))('promtool (skipped without Debian package prometheus)', () => {
  it('finds nothing wrong with the rules', () => {
    expect(run('promtool', 'check', 'rules', '--lint=all', '--lint-fatal', 'prometheus/categorizer.rules.yml')).toMatch(
      /SUCCESS: \d+ rules found/,
    );
  });

  it('takes the configuration of Prometheus, and finds the rules from there', () => {
    expect(run('promtool', 'check', 'config', 'prometheus/prometheus.yml')).toContain('SUCCESS: 1 rule files found');
  });

  it.each(TESTS)('sees the alerts of %s fire when they should', (name) => {
    expect(run('promtool', 'test', 'rules', `prometheus/tests/${name}`)).toContain('SUCCESS');
  });
});

describe.skipIf(!installed('amtool'))('amtool (skipped without Debian package prometheus-alertmanager)', () => {
  it('takes the configuration of Alertmanager', () => {
    expect(run('amtool', 'check-config', CONFIG)).toContain('SUCCESS');
  });

  it.each([
    { receiver: 'on-call', labels: ['alertname=CategorizerNoWorker', 'severity=critical'] },
    { receiver: 'team', labels: ['alertname=CategorizerQueueLagHigh', 'severity=warning'] },
    { receiver: 'team', labels: ['alertname=SomebodyElses', 'severity=page'] },
    { receiver: 'dead-mans-switch', labels: ['alertname=CategorizerWatchdog', 'severity=none'] },
  ])('sends $labels to $receiver', ({ receiver, labels }) => {
    const receivers = run('amtool', 'config', 'routes', 'test', `--config.file=${CONFIG}`, ...labels);
    expect(receivers.trim()).toBe(receiver);
  });
});
