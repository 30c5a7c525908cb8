import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWorkspace, type Workspace } from '../support/cli-workspace.ts';
import { runCli } from '../support/processes.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let redis: RedisServer;
let workspace: Workspace;

beforeAll(async () => {
  redis = await startRedis();
  workspace = await createWorkspace();
});
afterAll(async () => {
  await workspace.remove();
  await redis.remove();
});

describe('the memory of an import', () => {
  const LINES = 400_000;
  // It bounds what JavaScript holds; the bench looks at the whole process.
  const env = { NODE_OPTIONS: '--max-old-space-size=48' };

  it.each([
    ['CSV', 'product_id,f0', (i: number) => `P${i},1`],
    ['JSON lines', '{"productId":"P","features":[1]}', (i: number) => `{"productId":"P${i}","features":[1]}`],
    ['CSV that is all rejects', 'product_id,f0', (i: number) => `P${i},x`],
  ] as const)('of %s does not grow with the file', async (_format, first, line) => {
    const lines = [first, ...Array.from({ length: LINES }, (_, i) => line(i)), ''];
    const file = await workspace.write('large', lines.join('\n'));
    const args = ['enqueue', file, '--width', '1', '--json'];
    const { code, stdout, stderr } = await runCli(args, { env: { REDIS_URL: redis.url, ...env } });
    expect(stderr).toBe('');
    const { products, rejected } = JSON.parse(stdout);
    expect(products + rejected).toBe(first.startsWith('{') ? LINES + 1 : LINES);
    expect(code).toBe(rejected > 0 ? 3 : 0);
  });
});
