import { mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';

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

/** What global-setup.ts provides to every test file. */
export type Provided = {
  /** For an administrator of a PostgreSQL: tests create their own databases with `createDatabase`. */
  postgresUrl: string;
  /** Of a Redis or Valkey that all test files share: each uses its own key prefix. */
  redisUrl: string;
  /** The valkey-server program, for tests that stop and start their own; empty when there is none. */
  valkeyServer: string;
  /** The S3 server's program, for test files that start one with `startS3`; empty when there is none. */
  s3Server: string;
};

declare module 'vitest' {
  interface ProvidedContext extends Provided {}
}

/** @throws Error when vitest runs without global-setup.ts, or with servers from the environment that do not provide it. */
export function provided<Key extends keyof Provided>(key: Key): Provided[Key] {
  const value = inject(key);
  if (!value) throw new Error(`no ${key}: run vitest from the repository's root, whose configuration has the global setup of libs/testing`);
  return value;
}
