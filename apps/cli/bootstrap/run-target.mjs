import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { buildDashboard, dashboardIsCurrent } from './dashboard-build.mjs';
import { exclusively } from './exclusive.mjs';
import { BootstrapError, cacheFolder, describeFailure, node24, root } from './layout.mjs';
import { generatePrismaClient, installPackages, packagesAreCurrent, prismaClientIsCurrent } from './npm-packages.mjs';
import { preparePython, readyPython } from './python-environment.mjs';
import { runProgram } from './run-logged.mjs';

/** Benchmarks by name. */
const benchmarks = /** @type {Record<string, string>} */ ({
  cluster: 'apps/cli/testing/bench/cluster.ts',
  control: 'libs/testing/bench/control.ts',
  extract: 'apps/cli/testing/bench/extract.ts',
  hooks: 'libs/testing/bench/hooks.ts',
  ledger: 'libs/testing/bench/ledger.ts',
  lists: 'libs/dataset/testing/bench/lists.ts',
  preprocessing: 'libs/testing/bench/preprocessing.ts',
  search: 'libs/retrieval/testing/bench/search.ts',
  tars: 'libs/dataset/testing/bench/tars.ts',
  train: 'libs/testing/bench/train.ts',
});

/**
 * What each root script becomes once everything is installed: arguments of Node 24, additional environment variables, and
 * whether Python and the built dashboard are needed.
 * @type {Record<string, (args: string[]) => { node: string[], python: boolean, dashboard?: boolean, env?: Record<string, string> }>}
 */
const targets = {
  demo: (args) => ({ node: [join(root, 'apps/cli/demo.ts'), ...args], python: true, dashboard: true }),
  dev: (args) => ({
    node: [
      ...['apps', 'libs', 'prisma'].map((folder) => `--watch-path=${join(root, folder)}`),
      join(root, 'apps/cli/main.ts'),
      'up',
      ...args,
    ],
    python: true,
    dashboard: true,
  }),
  test: (args) => ({ node: [join(root, 'apps/cli/bootstrap/test.mjs'), ...args], python: true, dashboard: true }),
  check: (args) => ({ node: [join(root, 'apps/cli/bootstrap/check.mjs'), ...args], python: true }),
  bench: ([name = '', ...args]) => ({ node: [benchProgram(name), ...args], python: true }),
  screenshots: (args) => ({ node: [join(root, 'apps/dashboard/testing/screenshots.ts'), ...args], python: false, dashboard: true }),
  gpu: (args) => ({ node: [join(root, 'apps/cli/testing/gpu/main.ts'), ...args], python: true }),
  'test:cluster': (args) => ({
    node: [join(root, 'apps/cli/bootstrap/test.mjs'), ...(args.length > 0 ? args : ['.cluster.test.ts'])],
    python: true,
    env: clusterEnvironment(process.env),
  }),
  'test:faults': (args) => ({ node: [join(root, 'apps/cli/testing/faults/main.ts'), ...args], python: true }),
  cairn: (args) => ({
    node: [join(root, 'apps/cli/main.ts'), ...args],
    python: args.includes('up') || args.includes('import'),
    dashboard: args.includes('up'),
  }),
};

/**
 * Prepares what the target needs, runs it and returns the exit code.
 * @param {string} name a key of `targets`
 * @param {string[]} args for the program
 * @returns {Promise<number>}
 */
export async function runTarget(name, args) {
  try {
    if (process.platform === 'win32') {
      throw new BootstrapError('Cairn runs on Linux.', { remedy: 'on Windows, run it inside WSL 2.' });
    }
    const target = targets[name];
    if (target === undefined) {
      throw new BootstrapError(`unknown target "${name}".`, { remedy: `use one of ${Object.keys(targets).join(', ')}.` });
    }
    const { node, python, dashboard = false, env } = target(args);
    const interpreter = await prepare(process.env, { python, dashboard });
    const withPython = interpreter === null ? {} : { CAIRN_PYTHON: interpreter };
    return await runProgram(node24, node, { ...withCompileCache(process.env), ...withPython, ...env });
  } catch (error) {
    if (error instanceof BootstrapError) {
      console.error(describeFailure(error));
      return 1;
    }
    if (error instanceof Interrupted) return error.exitCode;
    throw error;
  }
}

/**
 * Sets Node's compile cache, also for the programs that the target starts: with it, the api needs three fifths of the
 * processor time to start.
 * @param {NodeJS.ProcessEnv} env
 * @returns {NodeJS.ProcessEnv}
 */
function withCompileCache(env) {
  return { NODE_COMPILE_CACHE: join(cacheFolder(env), 'compiled'), ...env };
}

/** The user stopped the preparation; what is half done is done again the next time. */
class Interrupted extends Error {
  /** @param {number} exitCode */
  constructor(exitCode) {
    super('interrupted');
    this.exitCode = exitCode;
  }
}

/**
 * Installs what is missing: npm packages, the database client, the dashboard's pages, the Python environment. Quick when nothing is.
 * @param {NodeJS.ProcessEnv} env
 * @param {{ python: boolean, dashboard: boolean }} needs
 * @returns {Promise<string | null>} the Python interpreter, or null when none is ready and none is needed
 */
async function prepare(env, needs) {
  const controller = new AbortController();
  const interrupt = (/** @type {NodeJS.Signals} */ name) => controller.abort(new Interrupted(name === 'SIGINT' ? 130 : 143));
  const names = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
  for (const name of names) process.on(name, interrupt);
  const { signal } = controller;
  try {
    const lacksPages = async () => needs.dashboard && !(await dashboardIsCurrent(root));
    if (!(await packagesAreCurrent(root)) || !(await prismaClientIsCurrent(root)) || (await lacksPages())) {
      const lock = `clone-${createHash('sha256').update(root).digest('hex').slice(0, 16)}.lock`;
      await exclusively(join(cacheFolder(env), 'locks', lock), signal, async () => {
        if (!(await packagesAreCurrent(root))) await installPackages(root, env, signal);
        if (!(await prismaClientIsCurrent(root))) await generatePrismaClient(root, env, signal);
        if (await lacksPages()) await buildDashboard(root, env, signal);
      });
    }
    return needs.python ? await preparePython(root, env, signal) : await readyPython(root, env);
  } finally {
    for (const name of names) process.off(name, interrupt);
  }
}

/**
 * @param {string} name of a benchmark
 * @throws {BootstrapError} listing the existing ones
 */
function benchProgram(name) {
  const path = benchmarks[name];
  if (path !== undefined) return join(root, path);
  throw new BootstrapError(name === '' ? 'name a benchmark.' : `unknown benchmark "${name}".`, {
    remedy: `run \`npm run bench -- NAME\` with one of: ${Object.keys(benchmarks).join(', ')}.`,
  });
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {Record<string, string>}
 * @throws {BootstrapError} when neither a cluster nor an engine is configured
 */
function clusterEnvironment({ KUBECONFIG, DOCKER_HOST }) {
  if (!KUBECONFIG && !DOCKER_HOST) {
    throw new BootstrapError('neither KUBECONFIG nor DOCKER_HOST is set: these tests need a Kubernetes cluster or a Docker engine.', {
      remedy:
        "set KUBECONFIG to the file of a test cluster's administrator, for example one of kind or k3d, or DOCKER_HOST to an engine, such as unix:///var/run/docker.sock; with both, all of them run.",
    });
  }
  return { CAIRN_TEST_CLUSTER: '1' };
}
