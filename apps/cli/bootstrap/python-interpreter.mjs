import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { BootstrapError } from './bootstrap-error.mjs';
import { hostEnvironment } from './layout.mjs';

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
export async function findInterpreter(env, signal) {
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
