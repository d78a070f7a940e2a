import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** `npm test -- --slow` sets it: the tests that take minutes run, and no others. */
const slowTests = process.env.CAIRN_TEST_SLOW === '1';

export default defineConfig({
  test: {
    include: slowTests ? ['{apps,libs}/**/*.slow.test.ts'] : ['{apps,libs}/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/generated/**', ...(slowTests ? [] : ['**/*.slow.test.ts'])],
    // One PostgreSQL and one Valkey for the whole run; each test file makes a database of its own in it.
    globalSetup: ['libs/testing/global-setup.ts'],
    // Processes, not threads: tests start programs, change their own signals and load native modules.
    pool: 'forks',
    // A worker loads each module once for all its files: loading them anew for each took as long as the tests themselves.
    isolate: false,
    // Tests wait more than they compute, so two at once suit two cores; more than eight would crowd one PostgreSQL.
    maxWorkers: Math.min(8, Math.max(2, availableParallelism())),
    testTimeout: 20_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
    slowTestThreshold: 2_000,
    // A test that leaves a mock, a global or an environment variable behind would change its neighbours.
    restoreMocks: true,
    unstubEnvs: true,
    unstubGlobals: true,
    passWithNoTests: false,
  },
});
