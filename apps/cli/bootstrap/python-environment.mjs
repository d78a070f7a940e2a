import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { exclusively, hasCode } from './exclusive.mjs';
import { BootstrapError, cacheFolder, hostEnvironment } from './layout.mjs';
import { freeBytes, runLogged, startProgress } from './run-logged.mjs';

const limitMs = 60 * 60_000;
const marker = 'cairn-complete.json';
const constraints = 'docker/trainer/constraints.txt';
const requirements = ['docker/trainer/requirements.txt', 'docker/trainer/requirements-dev.txt', constraints];
/** What an install needs at least: the CPU build of torch and the rest. With CUDA, which the default index has, it is 6 GB. */
const minFreeBytes = 1024 ** 3;

/**
 * The Python environment of the trainer, kept in the user's cache folder under the hash of its requirements and shared by
 * all clones with the same requirements.
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<string | null>} the interpreter's path, or null without a complete environment
 */
export async function readyPython(root, env) {
  if (env.CAIRN_PYTHON !== undefined && env.CAIRN_PYTHON !== '') return env.CAIRN_PYTHON;
  const folder = join(cacheFolder(env), 'python');
  const key = await environmentKey(root);
  /** @type {string[]} */
  let names;
  try {
    names = await readdir(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
  for (const name of names.filter((one) => one.startsWith(`${key}-py`)).sort()) {
    const python = join(folder, name, 'bin', 'python');
    // `python` is a link to the interpreter it was created from, which may have been removed since.
    if (existsSync(join(folder, name, marker)) && existsSync(python)) return python;
  }
  return null;
}

/**
 * Creates the environment if it is missing. It is built in its final place (a virtual environment cannot be moved) and
 * counts only once it has the marker, which is written last; the remains of an interrupted build are removed first.
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal} signal
 * @returns {Promise<string>} the interpreter's path
 * @throws {BootstrapError} when no Python fits or an install fails
 */
export async function preparePython(root, env, signal) {
  const ready = await readyPython(root, env);
  if (ready !== null) return ready;
  const cache = cacheFolder(env);
  return exclusively(join(cache, 'locks', 'python.lock'), signal, async () => {
    const meanwhile = await readyPython(root, env);
    return meanwhile ?? build(root, env, signal);
  });
}

/**
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal} signal
 */
async function build(root, env, signal) {
  const cache = cacheFolder(env);
  const progress = startProgress('Python packages', 'torch and what it needs: about 6 GB and some minutes, once');
  /** @type {string | undefined} */
  let folder;
  try {
    const free = await freeBytes(cache);
    if (free < minFreeBytes) {
      throw new BootstrapError(`${cache} has only ${Math.round(free / 1024 ** 2)} MiB free; the Python packages take up to 6 GB.`, {
        remedy: 'free some space, or set XDG_CACHE_HOME to a folder on a larger disk, then run the same command again.',
      });
    }
    const interpreter = await findInterpreter(env, signal);
    const [major, minor] = interpreter.version;
    folder = join(cache, 'python', `${await environmentKey(root)}-py${major}.${minor}`);
    await rm(folder, { recursive: true, force: true });
    progress.update(`virtual environment of Python ${interpreter.version.join('.')}`);
    await fill(folder, interpreter, { root, env, signal, update: progress.update });
    progress.done(`Python packages installed in ${folder}`);
    return join(folder, 'bin', 'python');
  } catch (error) {
    progress.fail();
    // Gigabytes that would never be used.
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/**
 * @param {string} folder
 * @param {Interpreter} interpreter
 * @param {{ root: string, env: NodeJS.ProcessEnv, signal: AbortSignal, update: (text: string) => void }} context
 */
async function fill(folder, interpreter, { root, env, signal, update }) {
  const temporary = join(folder, 'tmp');
  const python = join(folder, 'bin', 'python');
  await mkdir(temporary, { recursive: true });
  const run = (/** @type {string} */ title, /** @type {string} */ command, /** @type {string[]} */ args) =>
    runLogged({
      title,
      command,
      args,
      cwd: root,
      env: pipEnvironment(env, temporary),
      log: join(cacheFolder(env), 'logs', 'python.log'),
      folders: [folder],
      timeoutMs: limitMs,
      signal,
      onLine: (line) => {
        const text = describePipLine(line);
        if (text !== null) update(text);
      },
    });
  await run('the Python environment', interpreter.path, ['-I', '-m', 'venv', ...(interpreter.ensurepip ? [] : ['--without-pip']), folder]);
  if (!interpreter.ensurepip) await run('pip', interpreter.path, ['-I', '-u', '-m', 'pip', '--python', python, 'install', 'pip']);
  const options = ['--no-input', '--progress-bar', 'off', '--disable-pip-version-check'];
  const list = join(root, 'docker/trainer/requirements-dev.txt');
  await run('the Python packages', python, ['-I', '-u', '-m', 'pip', 'install', ...options, '-c', join(root, constraints), '-r', list]);
  update('importing torch');
  await run('a torch that can be imported', python, ['-I', '-c', 'import torch; print(torch.__version__)']);
  await rm(temporary, { recursive: true, force: true });
  await writeFile(join(folder, marker), `${JSON.stringify({ python: interpreter.version.join('.'), madeFrom: interpreter.path })}\n`);
}

/**
 * Identifies an environment: the bytes of the requirement files (one includes the other), their constraints, and the platform, for a home
 * folder that several machines share.
 * @param {string} root
 */
export async function environmentKey(root) {
  const hash = createHash('sha256');
  for (const path of requirements) hash.update(await readFile(join(root, path))).update('\0');
  return `${hash.digest('hex').slice(0, 16)}-${process.platform}-${process.arch}`;
}

/**
 * The user's pip configuration (indexes, proxies, certificates) is kept; only settings that would install the packages outside of
 * the environment are removed. Wheels are unpacked next to it: /tmp is often too small for torch.
 * @param {NodeJS.ProcessEnv} env
 * @param {string} temporary
 */
function pipEnvironment(env, temporary) {
  /** @type {NodeJS.ProcessEnv} */
  const kept = { ...hostEnvironment(env), TMPDIR: temporary };
  for (const name of ['PIP_USER', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_PYTHON', 'PYTHONHOME', 'PYTHONPATH']) delete kept[name];
  return kept;
}

/**
 * A line of pip's output as progress for the user; null for the others.
 * @param {string} line
 */
export function describePipLine(line) {
  const download = /^\s*(?:Downloading|Using cached) (?:\S*\/)?([A-Za-z0-9._]+?)-\d\S* \(([\d.]+ [kMG]B)\)/.exec(line);
  if (download !== null) return `${line.includes('Using cached') ? 'cached' : 'downloading'} ${download[1]} (${download[2]})`;
  const collect = /^Collecting ([A-Za-z0-9._-]+)/.exec(line);
  if (collect !== null) return `looking up ${collect[1]}`;
  return line.startsWith('Installing collected packages') ? 'unpacking the packages' : null;
}

const run = promisify(execFile);
const probeTimeoutMs = 20_000;
/** The pinned packages have no wheels for older versions. */
const oldest = [3, 10];
/** The newest minor version for which the pinned packages have wheels; a newer one is tried last. */
const newest = [3, 14];
/** The pinned torchvision rejects it. */
const refused = [3, 14, 1];
const commands = ['python3', 'python3.13', 'python3.12', 'python3.11', 'python3.10', 'python3.14', 'python'];

const probe = `
import importlib.util, json, sys
has = lambda name: importlib.util.find_spec(name) is not None
print(json.dumps({"version": list(sys.version_info[:3]), "path": sys.executable, "venv": has("venv"), "ensurepip": has("ensurepip"), "pip": has("pip")}))
`;

/**
 * @typedef {{ command: string, version: [number, number, number], path: string, venv: boolean, ensurepip: boolean, pip: boolean }} Interpreter
 */

/**
 * Finds a Python that can create a virtual environment: the first on PATH that is new enough and not too new, preferring one
 * with `ensurepip` (a separate package on Debian) over one that lends its own pip.
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal} signal
 * @returns {Promise<Interpreter>}
 * @throws {BootstrapError} naming what was found instead
 */
async function findInterpreter(env, signal) {
  const found = (await Promise.all(commands.map((command) => probeInterpreter(command, env, signal)))).filter((one) => one !== null);
  return chooseInterpreter(found);
}

/**
 * @param {Interpreter[]} found in order of preference
 * @returns {Interpreter}
 */
export function chooseInterpreter(found) {
  const fit = found.filter((one) => compare(one.version, oldest) >= 0 && one.version.join() !== refused.join());
  const known = fit.filter((one) => compare(one.version, newest) <= 0);
  const able = [...known, ...fit].filter((one) => one.venv);
  const best = able.find((one) => one.ensurepip) ?? able.find((one) => one.pip);
  if (best !== undefined) return best;
  const names = [...new Set(found.map((one) => `Python ${one.version.join('.')} (${one.path})`))].join(', ');
  const first = fit[0];
  if (first !== undefined) {
    const minor = `python${first.version[0]}.${first.version[1]}-venv`;
    throw new BootstrapError(`${names} cannot make virtual environments: its modules venv and ensurepip are not installed.`, {
      remedy: `install them (Debian and Ubuntu: sudo apt-get install ${minor}, or python3-venv), then run the same command again.`,
    });
  }
  const exception = found.some((one) => one.version.join() === refused.join()) ? `, but not ${refused.join('.')},` : '';
  throw new BootstrapError(`Python ${oldest.join('.')} or newer${exception} is needed; found ${names === '' ? 'none' : names}.`, {
    remedy: `install Python ${oldest.join('.')} to ${newest.join('.')} so that \`python3\` starts it, or set CAIRN_PYTHON to an interpreter that has the packages of docker/trainer/requirements-dev.txt.`,
  });
}

/**
 * @param {string} command
 * @param {NodeJS.ProcessEnv} env
 * @param {AbortSignal} signal
 * @returns {Promise<Interpreter | null>} null when the command does not exist or is not a working Python 3
 */
async function probeInterpreter(command, env, signal) {
  try {
    const { stdout } = await run(command, ['-I', '-c', probe], { env: hostEnvironment(env), timeout: probeTimeoutMs, signal });
    return { command, ...JSON.parse(stdout) };
  } catch {
    // Not on PATH, a version manager's shim without the version, or Python 2: not a candidate, whatever the reason.
    signal.throwIfAborted();
    return null;
  }
}

/** @param {number[]} version @param {number[]} bound major and minor @returns {number} */
function compare(version, bound) {
  return (version[0] ?? 0) - (bound[0] ?? 0) || (version[1] ?? 0) - (bound[1] ?? 0);
}
