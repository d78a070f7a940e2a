import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CairnError } from '@cairn/contract';

/**
 * Writes a file atomically: `write` gets a temporary name in the same folder, which is then renamed. Creates the folder if it is missing.
 * Throws `storage_full` if the disk is full.
 */
export async function wholeFile(path: string, write: (unfinished: string) => Promise<void>): Promise<void> {
  const unfinished = `${path}.unfinished`;
  try {
    await writingTo(path, async () => {
      await mkdir(dirname(path), { recursive: true });
      await write(unfinished);
      await rename(unfinished, path);
    });
  } finally {
    await rm(unfinished, { force: true });
  }
}

/** {@link wholeFile} of a text. */
export function writeWhole(path: string, text: string): Promise<void> {
  return wholeFile(path, (unfinished) => writeFile(unfinished, text));
}

/** Runs `work`, which writes to `place`; a full disk becomes `storage_full`, any other error is unchanged. */
export async function writingTo<T>(place: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof CairnError || !isNoSpace(cause)) throw cause;
    throw new CairnError('storage_full', `No space left to write ${place}. Free some space there; no partial file is kept.`, {
      cause,
    });
  }
}

function isNoSpace(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')) return true;
  // DuckDB gives no code, only the system's text.
  return /No space left on device|Disk quota exceeded/.test(error.message);
}
