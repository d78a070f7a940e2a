import { createHash } from 'node:crypto';
import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, type DatasetFiles, isDatasetUrl } from '@cairn/contract';
import { inParallel, sha256Json } from '@cairn/runtime';
import { eachChunk, type FileGate } from './file-gate.ts';
import { below, type ImageSplit, type ListedFile } from './folders.ts';
import { walkSource } from './sources/walk-source.ts';
import { listedMd5, md5Of, tarsOfSplit } from './tars/index-tars.ts';

/** SHA-256 and size of a file. */
export type FileDigest = { sha256: string; bytes: number };

/** SHA-256 of a file's bytes, streamed. */
export async function fileDigest(path: string, signal?: AbortSignal): Promise<FileDigest> {
  const sha256 = createHash('sha256');
  const bytes = await eachChunk(path, (chunk) => void sha256.update(chunk), signal);
  return { sha256: sha256.digest('hex'), bytes };
}

/** Entries of one folder that are read in parallel. */
const statsAtATime = 64;

/** Identifies an unchanged file if no digest of its content is known. */
export function changedMsOf({ mtimeMs }: { mtimeMs: number }): number {
  return Math.floor(mtimeMs);
}

/**
 * The digest of an image folder: SHA-256 over its sorted listing, each file with its size and modification time. The images themselves are
 * not read, so this is a digest of the listing: copying the folder with new times changes it, and a change that keeps a file's size and
 * time does not. `onFiles` receives the files of each folder.
 *
 * @throws CairnError `folder_not_allowed` for a link that leads out, `missing_file` for folders that contain themselves through links
 */
export async function folderDigest(
  root: string,
  {
    gate,
    onFiles,
    signal,
  }: { gate: FileGate; onFiles?: (files: readonly ListedFile[]) => Promise<void>; signal?: AbortSignal | undefined },
): Promise<{ digest: string; files: number; bytes: number }> {
  const remote = await gate.sourceOf(root);
  if (remote !== null) return walkSource(remote, { onFiles, signal });
  const hash = createHash('sha256');
  let files = 0;
  let bytes = 0;
  /** `within` are the real paths of the parent folders, through links. */
  const walk = async (folder: string, within: readonly string[]): Promise<void> => {
    signal?.throwIfAborted();
    const entries = (await readdir(join(root, folder), { withFileTypes: true })).toSorted((a, b) => (a.name < b.name ? -1 : 1));
    for (let from = 0; from < entries.length; from += statsAtATime) {
      const some = entries.slice(from, from + statsAtATime);
      const stats = await Promise.all(
        some.map(async (entry) => {
          const path = join(root, folder, entry.name);
          if (!entry.isSymbolicLink()) return lstat(path);
          await gate.realPath(path);
          return stat(path);
        }),
      );
      const listed: ListedFile[] = [];
      for (const [i, entry] of some.entries()) {
        const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
        const found = stats[i];
        if (found?.isDirectory()) {
          await onFiles?.(listed.splice(0));
          await walk(path, entry.isSymbolicLink() ? [...within, await outside(join(root, path), within)] : within);
        } else if (found?.isFile()) {
          const file = { path, bytes: found.size, changedMs: changedMsOf(found) };
          hash.update(`${path}\0${file.bytes}\0${file.changedMs}\n`);
          listed.push(file);
          files += 1;
          bytes += found.size;
        }
      }
      await onFiles?.(listed);
    }
  };
  await walk('', [await gate.realPath(root)]);
  return { digest: hash.digest('hex'), files, bytes };
}

/** The real path of a linked folder, which must not be or contain one of its parents: the walk would not end. */
async function outside(path: string, within: readonly string[]): Promise<string> {
  const real = await realpath(path);
  if (!within.some((folder) => folder === real || folder.startsWith(`${real}/`))) return real;
  throw new CairnError('missing_file', `${path} leads back to a folder that contains it: remove the link`, { details: { path } });
}

/**
 * The md5 of each tar of the splits: from the md5 file if there is one; otherwise the tar is read. Indexing compares tars with their md5
 * files.
 */
export async function tarMd5s(
  root: string,
  splits: readonly ImageSplit[],
  { gate, signal }: { gate: FileGate; signal?: AbortSignal | undefined },
): Promise<Record<string, string>> {
  const tars: Record<string, string> = {};
  for (const split of splits) {
    const names = await tarsOfSplit(root, split, gate);
    await inParallel(names.values(), isDatasetUrl(root) ? md5FilesAtATime : 1, async (tar) => {
      tars[tar] = (await listedMd5(root, tar, gate)) ?? (await unlistedDigest(root, tar, { gate, signal }));
    });
  }
  return tars;
}

/** Small objects spend their time waiting for requests. */
const md5FilesAtATime = 16;

/** Without an md5 file a tar of this machine is read; one in object storage would be downloaded for nothing, and has an ETag. */
export async function unlistedDigest(
  root: string,
  tar: string,
  how: { gate: FileGate; signal?: AbortSignal | undefined; md5?: string },
): Promise<string> {
  const remote = await how.gate.sourceOf(below(root, tar));
  if (remote === null) return how.md5 ?? md5Of(join(root, tar), how);
  const found = await remote.source.head(remote.path, how.signal);
  return remoteDigest({ bytes: found?.bytes ?? 0, changedMs: found?.changedMs ?? 0, etag: found?.etag ?? null });
}

/** Identifies a tar in object storage that has no md5 file. */
export function remoteDigest({ bytes, changedMs, etag }: { bytes: number; changedMs: number; etag: string | null }): string {
  return `${bytes} bytes, ${etag === null ? `changed at ${new Date(changedMs).toISOString()}` : `ETag ${etag}`}`;
}

/** The digest of a dataset: SHA-256 over those of its metadata and its images. It does not depend on the location of the files. */
export function datasetDigest({ metadata, images }: DatasetFiles): string {
  return sha256Json({ metadata: sha256Json(metadata), images: sha256Json(images) });
}
