import { spawn } from 'node:child_process';
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { hasCode } from './exclusive.mjs';
import { BootstrapError } from './layout.mjs';

const tailLines = 15;
const killAfterMs = 3_000;
const fullDiskPattern = /ENOSPC|No space left on device/i;
const networkPattern =
  /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|network error|NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|name resolution|No matching distribution found/i;

/**
 * Runs an installer. When it fails, its output is kept in a log file and its last lines are quoted.
 * @param {object} step
 * @param {string} step.title what is being installed, for the error: `the npm packages`
 * @param {string} step.command
 * @param {string[]} step.args
 * @param {string} step.cwd
 * @param {NodeJS.ProcessEnv} step.env
 * @param {string} step.log path of the log file
 * @param {string[]} step.folders folders written to, named when a disk is full
 * @param {number} step.timeoutMs
 * @param {AbortSignal} step.signal
 * @param {(line: string) => void} [step.onLine]
 * @throws {BootstrapError} when the command fails, with what to do about it
 */
export async function runLogged(step) {
  const signal = AbortSignal.any([step.signal, AbortSignal.timeout(step.timeoutMs)]);
  signal.throwIfAborted();
  // In its own group: npm handles SIGTERM only when it is done, and neither npm nor pip passes it to its children.
  const child = spawn(step.command, step.args, { cwd: step.cwd, env: step.env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const stop = () => stopGroup(child);
  signal.addEventListener('abort', stop, { once: true });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (/** @type {string} */ text) => {
      output += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) step.onLine?.(line);
    });
  }
  /** @type {Error | undefined} */
  let problem;
  /** @type {number | null} */
  const code = await new Promise((resolve) => {
    child.once('error', (error) => {
      problem = error;
      resolve(null);
    });
    child.once('close', resolve);
  });
  signal.removeEventListener('abort', stop);
  step.signal.throwIfAborted();
  if (code === 0) {
    await rm(step.log, { force: true });
    return;
  }
  const why = signal.aborted
    ? `it took longer than ${Math.round(step.timeoutMs / 60_000)} minutes`
    : code === null
      ? (problem?.message ?? 'it was killed')
      : `exit code ${code}`;
  const tail = output
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-tailLines);
  throw new BootstrapError(`${step.title} could not be installed (${why}).`, {
    remedy: await remedyFor(step.folders, tail),
    log: await keepLog(step.log, output),
    tail,
    cause: problem,
  });
}

/** @param {import('node:child_process').ChildProcess} child the leader of a process group */
function stopGroup(child) {
  const { pid } = child;
  if (pid === undefined) return;
  const kill = (/** @type {NodeJS.Signals} */ name) => {
    try {
      process.kill(-pid, name);
    } catch (error) {
      if (!hasCode(error, 'ESRCH')) throw error;
    }
  };
  kill('SIGTERM');
  const timer = setTimeout(() => kill('SIGKILL'), killAfterMs);
  child.once('close', () => clearTimeout(timer));
}

/**
 * @param {string} path
 * @param {string} output
 * @returns {Promise<string | undefined>} the path, or undefined when the log could not be written: the disk may be full, which
 * the remedy then says, and the last lines are shown in any case
 */
async function keepLog(path, output) {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, output);
    return path;
  } catch {
    return undefined;
  }
}

/**
 * What to do about a failed install. The output is searched because nothing else says: installers give one exit code for
 * all errors, and clean up the disk that they filled.
 * @param {string[]} folders
 * @param {string[]} tail
 */
async function remedyFor(folders, tail) {
  if (tail.some((line) => fullDiskPattern.test(line))) {
    const free = await Promise.all(
      folders.map(async (folder) => `${folder} (${Math.round((await freeBytes(folder)) / 1024 ** 2)} MiB free now)`),
    );
    return `a disk was full; the packages are installed in ${free.join(' and ')}. They take up to 10 GB during the installation and 7 GB afterwards. Free some space, or set XDG_CACHE_HOME to a folder on a larger disk, then run the same command again.`;
  }
  if (tail.some((line) => networkPattern.test(line))) {
    return 'the package registry could not be reached. Check the network, the proxy (HTTPS_PROXY) and the configuration of npm and pip, then run the same command again.';
  }
  return 'read the log, fix the cause, then run the same command again.';
}

/**
 * Free bytes of the disk that holds `folder`, or the nearest folder above it that exists.
 * @param {string} folder
 * @returns {Promise<number>}
 */
export async function freeBytes(folder) {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch (error) {
    const parent = join(folder, '..');
    if (parent === folder) throw error;
    return freeBytes(parent);
  }
}

/** Between two plain lines of one step, so that a log of minutes stays short and still shows progress. */
const plainIntervalMs = 20_000;
const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/**
 * Shows one step of the preparation on standard error: a spinner on a terminal, plain lines elsewhere.
 * @param {string} title such as `npm packages`
 * @param {string} expectation how much and how long, printed once at the start
 */
export function startProgress(title, expectation) {
  const stream = process.stderr;
  const plain = !stream.isTTY || process.env.CI !== undefined || process.env.TERM === 'dumb';
  const startedAt = Date.now();
  const seconds = () => Math.round((Date.now() - startedAt) / 1000);
  let detail = '';
  let frame = 0;

  const draw = () => {
    frame += 1;
    const text = `${frames[frame % frames.length]} ${title}: ${detail === '' ? 'working' : detail} (${seconds()} s)`;
    stream.write(`\r\x1b[2K${text.slice(0, Math.max(20, (stream.columns ?? 80) - 1))}`);
  };
  const print = () => stream.write(`cairn: ${title}: ${detail === '' ? 'working' : detail} (${seconds()} s)\n`);

  stream.write(`cairn: ${title}: ${expectation}\n`);
  const timer = setInterval(plain ? print : draw, plain ? plainIntervalMs : 100);
  timer.unref();
  const end = (/** @type {string} */ line) => {
    clearInterval(timer);
    stream.write(`${plain ? '' : '\r\x1b[2K'}cairn: ${line}\n`);
  };

  return {
    /** @param {string} text what is being done now */
    update(text) {
      detail = text;
    },
    /** @param {string} text what was done */
    done(text) {
      end(`${text} (${seconds()} s)`);
    },
    fail() {
      end(`${title}: failed (${seconds()} s)`);
    },
  };
}

/** A signal that arrives again this soon is the same one, sent by the terminal and again by npm. */
const repeatMs = 500;
/** From the request to end until the kill. */
const graceMs = 10_000;

/**
 * Becomes a program as far as Node allows: same terminal, same folder, signals passed on, its exit code (128 + number when a
 * signal ended it) returned.
 *
 * Ctrl-C reaches every process of a terminal's foreground group by itself; passing it on as well would look like an
 * impatient second one, which programs treat as `stop at once`.
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @param {{ output?: number | 'inherit' | 'ignore', signal?: AbortSignal | undefined }} [options] `output`: where its output goes, ours or the descriptor of a
 *   file; `signal` asks it to end, and ends it 10 s later
 * @returns {Promise<number>}
 */
export async function runProgram(command, args, env, { output = 'inherit', signal } = {}) {
  const onTerminal = Boolean(process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY);
  const child = spawn(command, args, { stdio: ['inherit', output, output], env });
  /** @type {Map<string, number>} */
  const lastAt = new Map();
  const forward = (/** @type {NodeJS.Signals} */ name) => {
    const now = Date.now();
    const repeated = now - (lastAt.get(name) ?? 0) < repeatMs;
    lastAt.set(name, now);
    if (repeated || (onTerminal && name === 'SIGINT')) return;
    child.kill(name);
  };
  const names = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
  for (const name of names) process.on(name, forward);
  /** @type {NodeJS.Timeout | undefined} */
  let kill;
  const end = () => {
    child.kill('SIGTERM');
    kill = setTimeout(() => child.kill('SIGKILL'), graceMs);
  };
  signal?.addEventListener('abort', end);
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
    });
  } finally {
    clearTimeout(kill);
    signal?.removeEventListener('abort', end);
    for (const name of names) process.off(name, forward);
  }
}
