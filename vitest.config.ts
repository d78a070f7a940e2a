import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** `npm test -- --slow` sets it: the tests that take minutes run too. */
const withSlowTests = process.env.CAIRN_TEST_SLOW === '1';

/** `npm run test:cluster` sets it: the tests on a real Kubernetes run too, one file at a time, as they share its GPUs. */
const withCluster = process.env.CAIRN_TEST_CLUSTER === '1';
/** Tests that stop servers of the cluster need to know where these lie. */
const withClusterServers = withCluster && (process.env.CAIRN_TEST_CLUSTER_HOME ?? '') !== '';

export default defineConfig({
  test: {
    include: ['apps/**/*.test.ts', 'libs/**/*.test.ts'],
    exclude: [
      '**/node_modules/**',
      '**/generated/**',
      ...(withSlowTests ? [] : ['**/*.slow.test.ts']),
      ...(withCluster ? [] : ['**/*.cluster.test.ts']),
      ...(withClusterServers ? [] : ['**/outages.cluster.test.ts']),
    ],
    fileParallelism: !withCluster,
    // One PostgreSQL and one Valkey for the whole run; each test file makes a database of its own in it.
    globalSetup: ['libs/testing/global-setup.ts'],
    // Processes, not threads: tests start programs, change their own signals and load native modules.
    pool: 'forks',
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
