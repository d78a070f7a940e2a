import { createHash } from 'node:crypto';
import { lstat, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type ListName, listName } from '@cairn/contract';
import { sha256Json } from '@cairn/runtime';
import { eachChunk } from './file-chunks.ts';
import type { ImageSplit } from './image-path.ts';
import { findImportedLists, importedFolder } from './lists/imported-lists.ts';
import { optionalFiles } from './metadata/files.ts';
import { findMetadata } from './metadata/find-metadata.ts';
import { countryFilesIn } from './metadata/read-countries.ts';
import { listedMd5, md5Of, tarsOfSplit } from './tars/index-tars.ts';

/** SHA-256 and size of a file. */
export type FileDigest = { sha256: string; bytes: number };

/** SHA-256 of a file's bytes, streamed. */
export async function fileDigest(path: string, signal?: AbortSignal): Promise<FileDigest> {
  const sha256 = createHash('sha256');
  const bytes = await eachChunk(path, (chunk) => void sha256.update(chunk), signal);
  return { sha256: sha256.digest('hex'), bytes };
}

/** Entries of one folder looked at together. */
const statsAtATime = 64;

/**
 * The digest of an image folder: SHA-256 over its sorted listing, each file with its size and the time of its last change. The
 * images themselves are not read, so this is a digest of the listing: copying the folder with new times changes it, and a
 * change that keeps a file's size and time does not.
 */
export async function folderDigest(root: string, signal?: AbortSignal): Promise<{ digest: string; files: number; bytes: number }> {
  const hash = createHash('sha256');
  let files = 0;
  let bytes = 0;
  const walk = async (folder: string): Promise<void> => {
    signal?.throwIfAborted();
    const entries = (await readdir(join(root, folder), { withFileTypes: true })).toSorted((a, b) => (a.name < b.name ? -1 : 1));
    for (let from = 0; from < entries.length; from += statsAtATime) {
      const some = entries.slice(from, from + statsAtATime);
      const stats = await Promise.all(some.map((entry) => (entry.isSymbolicLink() ? stat : lstat)(join(root, folder, entry.name))));
      for (const [i, entry] of some.entries()) {
        const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
        const found = stats[i];
        if (found?.isDirectory()) await walk(path);
        else if (found?.isFile()) {
          hash.update(`${path}\0${found.size}\0${Math.floor(found.mtimeMs)}\n`);
          files += 1;
          bytes += found.size;
        }
      }
    }
  };
  await walk('');
  return { digest: hash.digest('hex'), files, bytes };
}

/**
 * The digest of a source of tars: SHA-256 over the names and md5s. The md5 comes from the md5 file where there is one;
 * otherwise the tar is read. That a tar fits its md5 file is checked when it is indexed.
 */
export async function tarsDigest(
  root: string,
  splits: readonly ImageSplit[],
  signal?: AbortSignal,
): Promise<{ digest: string; tars: Record<string, string> }> {
  const tars: Record<string, string> = {};
  for (const split of splits) {
    for (const tar of await tarsOfSplit(root, split)) tars[tar] = (await listedMd5(root, tar)) ?? (await md5Of(join(root, tar), signal));
  }
  return { digest: sha256Json(tars), tars };
}

/**
 * The digest of the metadata that the given lists, and index_expand where there is its file, are made from: SHA-256 over the names, sizes and SHA-256 of the CSV files (and of
 * the countries folder's files, and of imported lists). Where the CSV files lie makes no difference.
 *
 * @throws CairnError `missing_file`, `missing_column`.
 */
export async function metadataDigest(
  source: { metadata: string; countries?: string | undefined; lists: readonly ListName[] },
  signal?: AbortSignal,
): Promise<{ digest: string; files: Record<string, FileDigest> }> {
  const imported = await findImportedLists(source.metadata, listName.options);
  const lists = source.lists.filter((list) => !imported.has(list));
  const wanted = { lists, withCountries: source.countries !== undefined, also: optionalFiles };
  const files: Record<string, FileDigest> = {};
  for (const [list, path] of imported) files[`${importedFolder}/${list}.parquet`] = await fileDigest(path, signal);
  for (const { file, path } of (await findMetadata(source.metadata, wanted, signal)).values())
    files[file.name] = await fileDigest(path, signal);
  if (source.countries !== undefined) {
    for (const name of await countryFilesIn(source.countries, signal))
      files[`countries/${name}`] = await fileDigest(join(source.countries, name), signal);
  }
  return { digest: sha256Json(files), files };
}
