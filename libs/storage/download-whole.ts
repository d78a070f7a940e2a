import { rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { CairnError } from '@cairn/contract';
import type { ObjectStore } from './object-store.ts';
import { type StorageAct, storageError } from './storage-error.ts';
import { makeFolder, temporaryPath, writeWhole } from './write-whole.ts';

type Reads = {
  get: ObjectStore['get'];
  guarded: <T>(act: Omit<StorageAct, 'path'>, work: () => Promise<T>) => Promise<T>;
  /** The store, for messages. */
  place: string;
};

/** How a store reads whole objects, from its streams. */
export function wholeReads({ get, guarded, place }: Reads): Pick<ObjectStore, 'getBytes' | 'download'> {
  return {
    async getBytes(key, options = {}) {
      const stream = await get(key, options);
      return guarded({ act: 'Reading', key, signal: options.signal }, async () => {
        const chunks: Buffer[] = [];
        for await (const chunk of stream) chunks.push(chunk);
        return Buffer.concat(chunks);
      });
    },
    async download(key, file, { sha256, signal } = {}) {
      const stream = await get(key, signal === undefined ? {} : { signal });
      return downloadWhole(stream, { key, place, file, sha256, signal });
    },
  };
}

type Download = {
  key: string;
  /** The store, for messages. */
  place: string;
  file: string;
  sha256?: string | undefined;
  signal?: AbortSignal | undefined;
};

/**
 * Writes an object's stream to a local file, which appears complete or not at all.
 * @throws CairnError `corrupt_artifact` when it does not have the expected digest.
 */
async function downloadWhole(stream: Readable, download: Download): Promise<{ bytes: number; sha256: string }> {
  const { key, place, file, signal } = download;
  const act = { act: 'Writing' as const, key, path: dirname(file), signal };
  const guarded = <T>(work: Promise<T>) =>
    work.catch(async (error: unknown) => {
      throw await storageError(error, act);
    });
  try {
    await guarded(makeFolder(dirname(file)));
    const temporary = temporaryPath(dirname(file));
    // Not synced: a local copy that a power failure damages fails its digest and is downloaded again.
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
