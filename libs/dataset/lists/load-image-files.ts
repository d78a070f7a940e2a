import { join } from 'node:path';
import type { ListName } from '@cairn/contract';
import { folderDigest } from '../digests.ts';
import type { Database } from '../duckdb.ts';
import type { FileGate } from '../file-gate.ts';
import { memberPath } from '../image-path.ts';
import { splitsNeeded } from './load-tars.ts';

/**
 * Lists the images of the splits that the lists need, as the table image_now: the size of each and the time of its last change. Returns
 * the digest of each split's listing, as it was made when the dataset was registered.
 *
 * @throws CairnError as {@link folderDigest} does; the system's error; the signal's reason
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
    const { digest } = await folderDigest(join(imageRoot, split), {
      gate,
      signal,
      onFiles: async (files) => {
        for (const { path, bytes, changedMs } of files) {
          const id = path.slice(path.lastIndexOf('/') + 1, -'.jpg'.length);
          if (path === memberPath(id)) rows.push([split, id, bytes, changedMs]);
        }
        if (rows.length >= rowsAtATime) await flush();
      },
    });
    await flush();
    digests[split] = digest;
  }
  return digests;
}

const rowsAtATime = 20_000;
