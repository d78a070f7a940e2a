import { spawn } from 'node:child_process';
import { constants } from 'node:os';

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
