import { defineConfig } from 'vitest/config';

const slow = { testTimeout: 60_000, hookTimeout: 60_000 };
/** A test of ten processes takes minutes where others have the machine: the limit ends what hangs. */
const processes = { testTimeout: 300_000, hookTimeout: 120_000 };

/** Loading the modules takes longer than most tests: files share them, and who changes something global puts it back. */
const shared = { isolate: false };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/contract/**/*.test.ts'],
          // Some hash passwords, which takes a while by design.
          testTimeout: 20_000,
          ...shared,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          globalSetup: ['test/support/global-redis.ts', 'test/support/global-postgres.ts'],
          ...slow,
          ...shared,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: [
            'test/support/global-build.ts',
            'test/support/global-state.ts',
            'test/support/global-redis.ts',
            'test/support/global-postgres.ts',
          ],
          ...processes,
          ...shared,
        },
      },
      {
        test: {
          name: 'ops',
          include: ['test/ops/**/*.test.ts'],
          globalSetup: ['test/support/global-build.ts', 'test/support/global-state.ts', 'test/support/global-redis.ts'],
          testTimeout: 180_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'soak',
          include: ['test/soak/**/*.test.ts'],
          globalSetup: ['test/support/global-build.ts', 'test/support/global-state.ts'],
          // An end for what hangs: a starved machine takes longer, and does not fail.
          testTimeout: 3_600_000,
          hookTimeout: 600_000,
        },
      },
    ],
    // Two cores: tests that start processes of their own must not starve each other.
    maxWorkers: 2,
  },
});
