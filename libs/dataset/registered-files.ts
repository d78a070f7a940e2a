import { CairnError, type DatasetFiles, type ListName } from '@cairn/contract';
import type { FileGate } from './file-gate.ts';
import { below } from './folders.ts';
import { importedFolder } from './lists/imported-lists.ts';
import type { ImageRoot } from './lists/manifest.ts';
import { metadataFiles } from './metadata/files.ts';
import { hasMetadata } from './metadata/find-metadata.ts';
import type { TakenMetadata } from './metadata/take-in.ts';

/**
 * Compares the copied metadata with the registered files. Files that the lists do not need must still exist: some lists use them if they
 * exist, and would silently change.
 *
 * @throws CairnError `dataset_changed` naming the file and both digests
 */
export async function requireRegisteredMetadata(
  { metadata: registered }: DatasetFiles,
  { digests }: TakenMetadata,
  lists: readonly ListName[],
  { folder, gate }: { folder: string; gate: FileGate },
): Promise<void> {
  for (const [name, { sha256 }] of Object.entries(digests)) {
    const was = registered[name];
    if (was === undefined) throw changed(name, 'did not exist when the dataset was registered', { registered: null, found: sha256 });
    if (was.sha256 !== sha256)
      throw changed(name, `has the SHA-256 ${sha256} instead of the registered ${was.sha256}`, { registered: was.sha256, found: sha256 });
  }
  const keys = Object.keys(metadataFiles) as (keyof typeof metadataFiles)[];
  for (const [name, { sha256 }] of Object.entries(registered)) {
    if (digests[name] !== undefined || name.startsWith('countries/')) continue;
    const key = keys.find((one) => metadataFiles[one].name === name);
    const isNeeded = key !== undefined || lists.some((list) => name === `${importedFolder}/${list}.parquet`);
    const isThere = key === undefined ? await gate.isFile(below(folder, name)) : await hasMetadata(folder, key, gate);
    if (isNeeded && !isThere) throw changed(name, 'is gone', { registered: sha256, found: null });
  }
}

/**
 * Compares the current images with the registered ones: the listings of folders, the md5s of tars, for the splits that were read.
 *
 * @throws CairnError `dataset_changed` naming the folder or tar and both digests
 */
export function requireRegisteredImages(
  { images: registered }: DatasetFiles,
  now: Record<string, string>,
  { kind, root }: ImageRoot,
): void {
  const what = kind === 'tars' ? 'md5' : 'SHA-256 of its listing (names, sizes, times)';
  for (const [name, digest] of Object.entries(now)) {
    const was = registered[name];
    if (was === digest) continue;
    const message =
      was === undefined ? 'did not exist when the dataset was registered' : `has the ${what} ${digest} instead of the registered ${was}`;
    throw changed(below(root, name), message, { registered: was ?? null, found: digest });
  }
  const splits = new Set(Object.keys(now).map((name) => name.split('/')[0]));
  for (const [name, was] of Object.entries(registered)) {
    if (now[name] === undefined && splits.has(name.split('/')[0]))
      throw changed(below(root, name), 'is gone', { registered: was, found: null });
  }
}

function changed(file: string, what: string, digests: { registered: string | null; found: string | null }): CairnError {
  return new CairnError('dataset_changed', `${file} ${what}: the files of the dataset have changed since it was registered`, {
    details: { file, ...digests },
  });
}
