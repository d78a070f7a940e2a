import { join } from 'node:path';
import { CairnError, type ListName } from '@cairn/contract';
import { folderDigest } from '../digests.ts';
import type { Database } from '../duckdb.ts';
import type { FileGate } from '../file-gate.ts';
import { memberPath } from '../image-path.ts';
import { splitsNeeded } from './load-tars.ts';

/**
 * Lists the images of the splits that the lists need, as the table image_now: their sizes and modification times. Returns the digest of
 * each split's listing, computed as for registration.
 *
 * @throws CairnError as {@link folderDigest} does, `storage_failed` for a split that lost all its files; the system's error; the signal's reason
 */
export async function loadImageFiles(
  database: Database,
  imageRoot: string,
  lists: readonly ListName[],
  { gate, signal }: { gate: FileGate; signal?: AbortSignal | undefined },
): Promise<Record<string, string>> {
  await database.run('create table image_now (split varchar, image_id varchar, file_bytes bigint, file_changed_ms bigint)');
  const digests: Record<string, string> = {};
  for (const split of splitsNeeded(lists)) {
    let rows: [string, string, number, number][] = [];
    const flush = async (): Promise<void> => {
      await database.append('image_now', rows);
      rows = [];
    };
    const { digest, files } = await folderDigest(join(imageRoot, split), {
      gate,
      signal,
      onFiles: async (listed) => {
        for (const { path, bytes, changedMs } of listed) {
          const id = path.slice(path.lastIndexOf('/') + 1, -'.jpg'.length);
          if (path === memberPath(id)) rows.push([split, id, bytes, changedMs]);
        }
        if (rows.length >= rowsAtATime) await flush();
      },
    });
    await flush();
    // Registration rejects empty splits, so a file system is not mounted.
    if (files === 0) throw new CairnError('storage_failed', `${join(imageRoot, split)} has no files any more: mount it again`);
    digests[split] = digest;
  }
  return digests;
}

const rowsAtATime = 20_000;
