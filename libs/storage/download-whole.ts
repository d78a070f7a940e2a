import { rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { CairnError } from '@cairn/contract';
import { storageError } from './storage-error.ts';
import { makeFolder, temporaryPath, writeWhole } from './write-whole.ts';

export type Download = {
  key: string;
  /** The store, for messages. */
  place: string;
  file: string;
  sha256?: string | undefined;
  signal?: AbortSignal | undefined;
};

/**
 * Writes an object's stream to a local file, which appears whole or not at all.
 * @throws CairnError `corrupt_artifact` when it has not the digest asked for.
 */
export async function downloadWhole(stream: Readable, download: Download): Promise<{ bytes: number; sha256: string }> {
  const { key, place, file, signal } = download;
  const act = { act: 'Writing' as const, key, path: dirname(file), signal };
  const guarded = <T>(work: Promise<T>) =>
    work.catch(async (error: unknown) => {
      throw await storageError(error, act);
    });
  try {
    await guarded(makeFolder(dirname(file)));
    const temporary = temporaryPath(dirname(file));
    // Not synced: a local copy that a power failure spoils does not pass its digest and is fetched again.
    const result = await writeWhole(temporary, stream, act, false);
    if (download.sha256 !== undefined && result.sha256 !== download.sha256) {
      await rm(temporary, { force: true });
      throw new CairnError(
        'corrupt_artifact',
        `The object ${key} in ${place} has the sha256 ${result.sha256}, expected ${download.sha256}.`,
        {
          details: { key, path: place, expected: download.sha256, found: result.sha256 },
        },
      );
    }
    await guarded(rename(temporary, file));
    return result;
  } finally {
    stream.destroy();
  }
}
