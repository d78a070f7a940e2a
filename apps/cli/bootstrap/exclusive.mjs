import { mkdir, open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BootstrapError } from './layout.mjs';

const pollMs = 300;
const touchMs = 5_000;
/** A lock that was not touched for this long belongs to a process that is gone, on this host or another. */
const staleMs = 60_000;
const waitLimitMs = 45 * 60_000;

/**
 * Runs `work` while only this process holds the lock file: two `npm run ...` at once install one after the other.
 * @template T
 * @param {string} lock path of the lock file; its folder is created
 * @param {AbortSignal} signal
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function exclusively(lock, signal, work) {
  await makeCache(dirname(lock));
  await take(lock, signal);
  const timer = setInterval(() => void touch(lock), touchMs);
  timer.unref();
  try {
    return await work();
  } finally {
    clearInterval(timer);
    await rm(lock, { force: true });
  }
}

/** @param {string} folder */
async function makeCache(folder) {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    // Node reports a read-only file system as ENOENT here.
    const why = hasCode(error, 'ENOENT') ? 'its file system is read-only, or its path has a broken link' : String(error);
    throw new BootstrapError(`the cache folder ${folder} cannot be created: ${why}.`, {
      remedy: 'make it writable, or set XDG_CACHE_HOME to a folder that is, then run the same command again.',
      cause: error,
    });
  }
}

/** @param {string} lock @param {AbortSignal} signal */
async function take(lock, signal) {
  const limit = Date.now() + waitLimitMs;
  let reported = false;
  for (;;) {
    signal.throwIfAborted();
    try {
      const file = await open(lock, 'wx');
      await file.writeFile(JSON.stringify({ pid: process.pid, host: hostname() }));
      await file.close();
      return;
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
    }
    const holder = await holderOf(lock);
    if (holder === 'gone') {
      await rm(lock, { force: true });
      continue;
    }
    if (Date.now() > limit) {
      throw new BootstrapError(`another preparation (${holder}) has held ${lock} for ${waitLimitMs / 60_000} minutes.`, {
        remedy: 'stop that process, or remove the file if it is not a preparation of Cairn, then run the same command again.',
      });
    }
    if (!reported) process.stderr.write(`cairn: waiting for another preparation to end (${holder})\n`);
    reported = true;
    await sleep(pollMs, undefined, { signal });
  }
}

/**
 * Describes the holder of the lock, or returns `gone`.
 * @param {string} lock
 * @returns {Promise<string>}
 */
async function holderOf(lock) {
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(lock, 'utf8'), stat(lock)]);
    if (Date.now() - mtimeMs > staleMs) return 'gone';
    // Created and not written yet.
    if (text === '') return 'a process that just started';
    const { pid, host } = JSON.parse(text);
    return host === hostname() && !isAlive(pid) ? 'gone' : `process ${pid} on ${host}`;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 'a process that just ended';
    throw error;
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, 'EPERM');
  }
}

/** @param {string} lock */
async function touch(lock) {
  try {
    await utimes(lock, new Date(), new Date());
  } catch (error) {
    // Removed by hand: the work continues, and another process may start its own.
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

/** @param {unknown} error @param {string} code */
export function hasCode(error, code) {
  return error instanceof Error && 'code' in error && error.code === code;
}
