import { mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const prefix = 'cairn-test-';
const neededBytes = 2 * 2 ** 30;

/**
 * A fresh folder for the data of test servers, in memory where there is room, because their many small files are slow on a
 * disk. It is removed by `removeRunFolder`, or, when the tests are killed, by the next run's `sweepRunFolders`.
 */
export async function makeRunFolder(): Promise<string> {
  return mkdtemp(join(await baseFolder(), `${prefix}${process.pid}-`));
}

export async function removeRunFolder(folder: string): Promise<void> {
  // A server that has just ended may still be removing one of its files.
  await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
}

/** Removes the folders of processes that no longer run. Returns how many. */
export async function sweepRunFolders(): Promise<number> {
  const base = await baseFolder();
  const stale = (await readdir(base)).filter((name) => {
    const pid = /^cairn-test-(\d+)-/.exec(name)?.[1];
    return pid !== undefined && !isAlive(Number(pid));
  });
  await Promise.all(stale.map((name) => removeRunFolder(join(base, name))));
  return stale.length;
}

async function baseFolder(): Promise<string> {
  const memory = await statfs('/dev/shm').catch(() => undefined);
  return memory !== undefined && memory.bavail * memory.bsize >= neededBytes ? '/dev/shm' : tmpdir();
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
