import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { hasCode } from './exclusive.mjs';
import { cacheFolder, node24 } from './layout.mjs';
import { runLogged, startProgress } from './run-logged.mjs';

const limitMs = 5 * 60_000;
/** What the build is made of. The lock file stands for the packages. */
const sources = ['apps/dashboard', 'libs/client', 'libs/contract'];

/** @param {string} root */
const stampPath = (root) => join(root, 'apps', 'dashboard', 'dist', '.cairn-built');

/** @param {string} path below one of the sources */
const isSource = (path) => !/(^|\/)(node_modules|dist|testing)\/|\.test\.tsx?$|\.md$/.test(path);

/**
 * The digest of all that the build depends on.
 * @param {string} root
 * @returns {Promise<string>}
 */
export async function dashboardDigest(root) {
  const paths = ['package-lock.json'];
  for (const folder of sources) {
    const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => relative(root, join(entry.parentPath, entry.name)));
    paths.push(...files.filter(isSource));
  }
  const hash = createHash('sha256');
  for (const path of paths.sort())
    hash
      .update(path)
      .update('\0')
      .update(await readFile(join(root, path)))
      .update('\0');
  return hash.digest('hex');
}

/**
 * True when apps/dashboard/dist was built from the current sources.
 * @param {string} root
 */
export async function dashboardIsCurrent(root) {
  try {
    return (await readFile(stampPath(root), 'utf8')) === (await dashboardDigest(root));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/**
 * Builds the pages that the api serves.
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal} signal
 * @throws {BootstrapError} when they do not compile
 */
export async function buildDashboard(root, env, signal) {
  const progress = startProgress('dashboard', 'building its pages');
  try {
    // A change during the build makes it out of date at once.
    const digest = await dashboardDigest(root);
    await runLogged({
      title: 'the dashboard',
      command: node24,
      args: [join(root, 'node_modules', 'vite', 'bin', 'vite.js'), 'build', '--logLevel', 'warn'],
      cwd: join(root, 'apps', 'dashboard'),
      env,
      log: join(cacheFolder(env), 'logs', 'dashboard.log'),
      folders: [root],
      timeoutMs: limitMs,
      signal,
    });
    await writeFile(stampPath(root), digest);
  } catch (error) {
    progress.fail();
    throw error;
  }
  progress.done('dashboard built');
}
