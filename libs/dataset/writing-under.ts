import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CairnError } from '@cairn/contract';

/** DuckDB gives the system's text and no error number: the one place where a text decides. */
const noSpaceText = /No space left on device|Disk quota exceeded|not enough disk space/i;

function isNoSpace(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')) return true;
  return noSpaceText.test(error.message);
}

/**
 * Runs `work`, which writes under `folder`; running out of space becomes `storage_full` with the folder's name.
 *
 * @throws CairnError `storage_full`; the signal's reason once it has fired; any other error unchanged.
 */
export async function writingUnder<T>(folder: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await work();
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof CairnError || !isNoSpace(error)) throw error;
    throw new CairnError('storage_full', `no space is left for ${folder}: free some space, or choose another folder`, {
      details: { folder },
      cause: error,
    });
  }
}

/**
 * Gives `work` a new folder beside `out` to fill, which it renames to `out` when all is in it: a kill in the middle leaves
 * nothing half made at `out`. What is left of the folder is removed. Throws as {@link writingUnder} does.
 */
export async function makingBeside<T>(out: string, work: (making: string) => Promise<T>, signal?: AbortSignal): Promise<T> {
  return writingUnder(
    out,
    async () => {
      await mkdir(dirname(out), { recursive: true });
      const making = await mkdtemp(`${out}.making-`);
      try {
        return await work(making);
      } finally {
        await rm(making, { recursive: true, force: true });
      }
    },
    signal,
  );
}
