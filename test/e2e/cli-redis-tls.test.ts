import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { PATIENCE } from '../support/cli-live.ts';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli, startWorker } from '../support/processes.ts';
import { makeProducts, SYNTHETIC_NOTE, toCsv } from '../support/products.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';
import { createTlsFiles, type TlsFiles } from '../support/tls-files.ts';

let files: TlsFiles;
let redis: RedisServer;
let tlsUrl: string;
let workspace: Workspace;

beforeAll(async () => {
  [files, workspace] = await Promise.all([createTlsFiles(), createWorkspace()]);
  const port = await freePort();
  const { ca, certificate, key } = files;
  const tls = ['--tls-port', String(port), '--tls-cert-file', certificate, '--tls-key-file', key];
  redis = await startRedis({ args: [...tls, '--tls-ca-cert-file', ca, '--tls-auth-clients', 'no'] });
  tlsUrl = `rediss://localhost:${port}`;
});
afterAll(async () => {
  await redis.remove();
  await files.remove();
  await workspace.remove();
});

describe('a Redis whose certificate is from an authority of our own', () => {
  it('is used by all commands where NODE_EXTRA_CA_CERTS names that authority', async () => {
    const env = { REDIS_URL: tlsUrl, NODE_EXTRA_CA_CERTS: files.ca };
    const worker = await startWorker(env);
    onTestFinished(() => worker.kill('SIGKILL'));
    const [input, out] = [await workspace.write('c.csv', toCsv(makeProducts(5))), workspace.path('out.csv')];
    const { code, stderr } = await runCli(['run', input, '--out', out], { env });
    expect(stderr).toMatch(SYNTHETIC_NOTE);
    expect(code).toBe(0);
    await expect.poll(async () => (await fetch(`${worker.url}/readyz`)).status, PATIENCE).toBe(200);
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
  });

  it('is refused without it, and the sentence names that variable; the worker waits, and says so once', async () => {
    const worker = await startWorker({ REDIS_URL: tlsUrl });
    onTestFinished(() => worker.kill('SIGKILL'));
    const { code, stderr } = await runCli(['queue', 'status'], { env: { REDIS_URL: tlsUrl } });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^REDIS_UNAVAILABLE: .*certificate is not signed by an authority.*NODE_EXTRA_CA_CERTS.*\n$/);
    const said = () => worker.log().filter(({ msg }) => msg === 'redis is away; waiting for it');
    await expect.poll(said, PATIENCE).toHaveLength(1);
    expect(said()[0].reason).toContain('NODE_EXTRA_CA_CERTS');
    const readiness = await fetch(`${worker.url}/readyz`);
    expect(readiness.status).toBe(503);
    expect(await readiness.text()).toContain('NODE_EXTRA_CA_CERTS');
    worker.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
  });

  it.each([
    { title: 'redis:// on a port for TLS', url: () => tlsUrl.replace('rediss:', 'redis:'), advice: 'rediss://' },
    { title: 'rediss:// on a port without TLS', url: () => `rediss://localhost:${redis.port}`, advice: 'redis://' },
    {
      title: 'a name that the certificate does not hold',
      url: () => tlsUrl.replace('localhost', '127.0.0.1'),
      advice: 'another name',
    },
  ])('$title is told as that', async ({ url, advice }) => {
    const env = { REDIS_URL: url(), NODE_EXTRA_CA_CERTS: files.ca };
    const { code, stderr } = await runCli(['queue', 'status'], { env });
    expect(code).toBe(1);
    expect(stderr).toContain(advice);
    expect(stderr).toMatch(/^REDIS_UNAVAILABLE: [^\n]*\n$/);
  });
});
