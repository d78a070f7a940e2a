import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/**
 * Which tests run: the fast ones; those that take minutes (`npm test -- --slow`); or those on a real Kubernetes (`npm run
 * test:cluster`), one file at a time, as they share its GPUs.
 */
const tier = process.env.CAIRN_TEST_CLUSTER === '1' ? 'cluster' : process.env.CAIRN_TEST_SLOW === '1' ? 'slow' : 'fast';
/** Tests that stop servers of the cluster need to know where these lie. */
const withClusterServers = (process.env.CAIRN_TEST_CLUSTER_HOME ?? '') !== '';

/** A whole run needs the image that attempts run in. */
const withWorkerImage = (process.env.CAIRN_TEST_WORKER_IMAGE ?? '') !== '';
/** The cluster tier runs on a Kubernetes, on a Docker engine, or on both. */
const withKubernetes = (process.env.KUBECONFIG ?? '') !== '';
const withDocker = (process.env.DOCKER_HOST ?? '') !== '';
/** An installed service needs the image of the control plane too, and a way to bring another build of it to the nodes. */
const withImages =
  withWorkerImage && withDocker && [process.env.CAIRN_TEST_CONTROL_PLANE_IMAGE, process.env.CAIRN_TEST_LOAD_IMAGE].every(Boolean);
const withKueue = (process.env.CAIRN_TEST_KUEUE_CHART ?? '') !== '';
const onDocker = '**/docker/**/*.cluster.test.ts';

export default defineConfig({
  test: {
    include: [`{apps,libs,k8s,docker}/**/*.${tier === 'fast' ? '' : `${tier}.`}test.ts`],
    exclude: [
      '**/node_modules/**',
      '**/generated/**',
      ...(tier === 'fast' ? ['**/*.{slow,cluster}.test.ts'] : []),
      ...(withClusterServers ? [] : ['**/outages.cluster.test.ts']),
      ...(withWorkerImage ? [] : ['**/run.cluster.test.ts', '**/docker-run.cluster.test.ts']),
      ...(withImages ? [] : ['k8s/service.cluster.test.ts']),
      ...(withKueue ? [] : ['**/kueue.cluster.test.ts']),
      ...(withDocker ? [] : [onDocker]),
      ...(withKubernetes ? [] : ['**/{kubernetes,cluster}/**/*.cluster.test.ts', 'k8s/**/*.cluster.test.ts']),
    ],
    fileParallelism: tier !== 'cluster',
    // One PostgreSQL and one Valkey for the whole run; each test file makes a database of its own in it.
    globalSetup: ['libs/testing/global-setup.ts'],
    // Processes, not threads: tests start programs, change their own signals and load native modules.
    pool: 'forks',
    // A worker loads each module once for all its files: loading them anew for each took as long as the tests themselves.
    isolate: false,
    // Node runs the sources itself, as in production, with its compile cache: nothing is transformed, and an imported name costs nothing,
    // where a module runner makes each use of it a call. Without the loader there is no `vi.mock`, which no test needs.
    experimental: { viteModuleRunner: false, nodeLoader: false },
    // Tests wait more than they compute, so two at once suit two cores; more than eight would crowd one PostgreSQL.
    maxWorkers: Math.min(8, Math.max(2, availableParallelism())),
    // Only for what hangs: on a busy machine a test that starts torch takes several times as long.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 20_000,
    slowTestThreshold: 2_000,
    // A test that leaves a mock, a global or an environment variable behind would change its neighbours.
    restoreMocks: true,
    unstubEnvs: true,
    unstubGlobals: true,
    passWithNoTests: false,
  },
});
